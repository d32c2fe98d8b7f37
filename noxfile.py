"""The checks, one session each; ``nox`` alone runs the first four.

A check that nobody can run at home is found broken on somebody else's machine: everything that this project
asks of a change is one of these sessions, and runs in a fresh environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["check", "types", "tests", "coverage"]
nox.options.error_on_missing_interpreters = False  # a Python that is not here is skipped, in so many words
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.11", "3.12", "3.13"]
TEXTS = ["trio_folk", "tests", "docs", "examples", "bench", "newsfragments", "noxfile.py", "README.md"]
TYPES = ["mypy >= 1.18", "pyright >= 1.1.400"]
PEERS = ["trio-parallel", "anyio", "loky", "joblib", "pebble", "mpire"]
DOCS = ["sphinx >= 8", "sphinxcontrib-trio >= 1.1.2", "myst-parser >= 4", "furo", "towncrier >= 24.8"]


def show_pyenv() -> None:
    """Let pyenv show each Python that we test on: it hides those that PYENV_VERSION does not name."""
    if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:
        listing = subprocess.run(["pyenv", "versions", "--bare"], stdout=subprocess.PIPE, text=True).stdout
        wanted = [name for name in listing.split() if name.rpartition(".")[0] in PYTHONS]
        if wanted:
            os.environ["PYENV_VERSION"] = ":".join(sorted(wanted))


show_pyenv()


@nox.session
def check(session: nox.Session) -> None:
    """Lint, format, spelling, layers: seconds."""
    session.install("ruff >= 0.12", "codespell >= 2.4", "-e", ".[test]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell", *(name for name in TEXTS if Path(name).exists()))
    session.run("pytest", "tests/house/test_house_layers.py")


@nox.session
def types(session: nox.Session) -> None:
    """Three readers of the same types: mypy, pyright, and pyright as a user of the installed package."""
    session.install(*TYPES, "-e", ".[test]")
    session.run("mypy", "--strict")
    session.run("pyright")
    _verify_types(session)


def _verify_types(session: nox.Session) -> None:
    """Fail unless every public name's type is known. Pyright cannot see through an editable install."""
    session.install("--force-reinstall", "--no-deps", ".")
    found = session.run(
        *("pyright", "--verifytypes", "trio_folk", "--ignoreexternal", "--outputjson"),
        silent=True,
        success_codes=[0, 1],
    )
    report = json.loads(str(found))["typeCompleteness"]
    score = report["completenessScore"]
    doubts = [(symbol["name"], note) for symbol in report["symbols"] for note in symbol["diagnostics"]]
    for name, note in doubts if score < 1 else []:
        session.warn(f"{name}: {note['message'].splitlines()[0]}")
    session.log(f"type completeness {score:.1%}")
    if score < 1:
        session.error("the type of a public name is not known, or checkers may differ on it: see above")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, on each Python that is here."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """All tests, with branches and children counted; fails under the floor set in pyproject.toml."""
    session.install("coverage[toml] >= 7.10", "-e", ".[test]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, every warning an error; its snippets and the examples are run as printed."""
    session.install(*DOCS, "-e", ".[test]")
    shutil.rmtree("docs/_build", ignore_errors=True)
    session.run("sphinx-build", "-q", "-n", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("pytest", "tests/examples")
    session.run("towncrier", "build", "--draft", "--version", "draft", silent=True)


@nox.session
def typing_extra(session: nox.Session) -> None:
    """What users of the `typing` extra pass is accepted: the same type tests, with trio-typing installed."""
    session.install(*TYPES, "-e", ".[test,typing]")
    # Our own rooms are checked without these stubs; here only what users see of them counts.
    files = ["tests/typing/public_api.py", "tests/typing_extra"]
    session.run("mypy", "--strict", "--follow-imports=silent", *files)


@nox.session
def ray(session: nox.Session) -> None:
    """Workers on Ray: the contract and the faults on two nodes of this machine, then the cost beside bare actors."""
    session.install("-e", ".[test,ray]")
    session.run("pytest", "tests/on_ray", "tests/runtimes/test_runtimes_ray.py", *session.posargs)
    session.run("python", "bench/on_ray.py")


@nox.session
def explore(session: nox.Session) -> None:
    """Our own API, cancelled at every point: workers as tasks over ten seeds, then forked and spawned processes."""
    session.install("-e", ".[test]")
    for runtime, seeds in (("task", 10), ("fork", 1), ("pipe", 1)):
        options = (f"--runtime={runtime}", f"--seeds={seeds}")
        session.run("python", "tests/explore/full.py", *options, *session.posargs)


@nox.session
def http(session: nox.Session) -> None:
    """A site under load while its workers are killed and reloaded, and a gigabyte each way; wants wrk."""
    session.install("-e", ".[test]")
    session.run("pytest", "tests/http")
    session.run("python", "tests/http/http_load.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, beside the peers; on an idle machine, or the numbers mean nothing."""
    session.install(*PEERS, "numpy", "matplotlib", "opentelemetry-sdk", "-e", ".[tracing,metrics]")
    # `nox -s bench -- reload` draws docs/pictures/reload.svg anew; `-- cancels` has no peers either
    apart = session.posargs[:1] in (["reload"], ["cancels"])
    program = f"bench/{session.posargs[0] if apart else 'run'}.py"
    # without arguments: everything, into docs/benchmarks.md
    session.run("python", program, *(session.posargs[apart:] if session.posargs else ["--page"]))
