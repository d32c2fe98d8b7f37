"""The import budget: what a ready worker has imported, beyond a bare interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

from worker_child import BOUND, ROOT, Child, packed_call

HEAVY = {
    "attr",
    "attrs",
    "dataclasses",
    "difflib",
    "enum",
    "inspect",
    "logging",
    "pickle",
    "pkgutil",
    "re",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "traceback",
    "trio",
    "typing",
}
ALLOWED = {
    *("__future__", "struct", "_struct", "datetime", "_datetime", "math"),  # the last three: msgpack's
    *("_contextvars", "_socket"),
    *("msgpack", "msgpack.exceptions", "msgpack.ext", "msgpack._cmsgpack"),
    "worker_light",
}


def bare() -> set[str]:
    """What an interpreter has that was started in the same way, with whatever ``site`` brings."""
    script = "import json, runpy, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=BOUND, check=True
    )
    return set(json.loads(run.stdout))


def added(child: Child) -> set[str]:
    here = set(child.call("modules")) - bare()
    # Cython's shared state, which msgpack brings, has a name with a version.
    return {name for name in here if not name.startswith(("trio_folk", "_cython_", "cython_"))}


def test_ready_worker_has_imported_nothing_heavy() -> None:
    """No typing, no threads, no trio: only os, struct and msgpack."""
    with Child("worker_light:worker") as child:
        new = added(child.ready())
    assert not new & HEAVY
    assert new <= ALLOWED


def test_ready_worker_has_imported_two_rooms_of_ours() -> None:
    """`_errors` and `_wire` beside its own; and not the loop that it does not run."""
    with Child("worker_light:worker") as child:
        ours = {name for name in child.ready().call("modules") if name.startswith("trio_folk")}
    rooms = {name.split(".")[1] for name in ours if "." in name}
    assert rooms == {"_errors", "_version", "_wire", "worker"}
    assert "trio_folk.worker._async" not in ours


def test_costs_come_with_their_first_use() -> None:
    """pickle with the first function, traceback with the first error."""
    with Child("worker_light:worker") as child:
        assert not added(child.ready()) & {"pickle", "traceback"}
        child.call("folk.call", packed_call(len, []))
        assert {"pickle"} <= added(child) | bare()
        assert "traceback" not in added(child)
        child.error("fail")
        assert {"traceback"} <= added(child) | bare()


def test_the_package_itself_imports_no_trio() -> None:
    """`import trio_folk` is cheap; a public name costs what it needs when it is asked for."""
    script = (
        "import sys, trio_folk; assert 'trio' not in sys.modules and 'typing' not in sys.modules;"
        "trio_folk.FolkError; assert 'trio' not in sys.modules;"
        "assert set(trio_folk.__all__) <= set(dir(trio_folk));"
        "assert trio_folk.FolkError is trio_folk._errors.FolkError;"
        "trio_folk.FolkEror"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=BOUND, cwd=ROOT
    )
    assert run.stderr.splitlines()[-1] == (
        "AttributeError: module 'trio_folk' has no attribute 'FolkEror'. Did you mean: 'FolkError'?"
    )
