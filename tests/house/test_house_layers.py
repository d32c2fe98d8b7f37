"""The tree is layered: a room imports only the rooms named on its own line, and the table reads downwards.

Every import counts: at module level, inside a function, under TYPE_CHECKING, and by a literal name through
`importlib.import_module`. A hidden knot is still a knot.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "trio_folk"

MAY_IMPORT = {
    "_version": "",
    "_errors": "",
    "abc": "_errors",
    "_wire": "_errors",
    "worker": "_errors _wire",
    "_process": "_errors abc",
    "_spawn": "_errors abc",
    "runtimes": "_errors abc _wire worker _process",
    "_pool": "_errors abc _spawn",
    "broker": "_version _errors abc _wire _process _spawn _pool",
    "telemetry": "_version _errors abc _pool",
    "admin": "_errors _wire _spawn _pool broker",
    "__init__": "_version _errors abc _spawn runtimes _pool",
    "http": "_errors abc runtimes _pool",
    "testing": "_version _errors abc _wire worker _process _spawn runtimes _pool __init__",
    "_cli": "_version _errors abc _wire worker _process _spawn runtimes broker admin _pool __init__ http",
    "__main__": "_cli",
}

# Which rooms may import a package, and in how many of their files. Rooms not named here may not.
# The first eight are optional: each is named in one file of a room, which says what to do where it is missing.
ONLY_IN = {
    "rich": {"_cli": 1},
    "cloudpickle": {"runtimes": 1},
    "ray": {"runtimes": 1},
    "watchfiles": {"_pool": 1},
    "prometheus_client": {"telemetry": 1},
    "h11": {"telemetry": 1},
    "opentelemetry": {"worker": 1, "telemetry": 1},  # both ends of a trace
    "hypercorn": {"http": 1},
    "msgpack": {"_wire": math.inf},
    "ctypes": {
        "_process": math.inf,
        "worker": 1,
    },  # there with the first large buffer: it costs ten milliseconds
    "trio": {
        "abc": math.inf,
        "worker": 6,  # its asynchronous loop, and what belongs to it: plain functions must not pay for trio
        "_process": math.inf,
        "_spawn": math.inf,
        "runtimes": math.inf,
        "broker": math.inf,
        "_pool": math.inf,
        "admin": math.inf,
        "http": math.inf,
        "telemetry": math.inf,
        "__init__": math.inf,
        "testing": math.inf,
        "_cli": math.inf,
    },
}


def modules(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def room_of(package: Path, path: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def imports(package: Path, path: Path) -> Iterator[str]:
    """The absolute dotted name of everything that a file imports, however deeply nested."""
    here = (package.name, *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                stem = [*here[:-level]] if level else []
                stem += [module] if module else []
                yield from (".".join([*stem, alias.name]) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def knots(package: Path) -> list[str]:
    """Each import between rooms that the table does not allow."""
    found = []
    for path in modules(package):
        room = room_of(package, path)
        for name in imports(package, path):
            root, _, rest = name.partition(".")
            if root != package.name:
                continue
            target = rest.split(".")[0]
            target = target if target in MAY_IMPORT else "__init__"  # `from trio_folk import open_pool`
            if target != room and target not in MAY_IMPORT.get(room, "").split():
                found.append(f"{path.relative_to(package)} imports {name}")
    return found


def strays(package: Path) -> list[str]:
    """Each file that imports a package which is not to be named there, or in so many files."""
    homes: dict[tuple[str, str], list[str]] = {}
    for path in modules(package):
        for name in {name.split(".")[0] for name in imports(package, path)} & ONLY_IN.keys():
            homes.setdefault((name, room_of(package, path)), []).append(str(path.relative_to(package)))
    return [
        f"{name} in {', '.join(files)}"
        for (name, room), files in homes.items()
        if len(files) > ONLY_IN[name].get(room, 0)
    ]


def test_table_reads_downwards() -> None:
    """A room stands only on rooms above its own line, so the table has no circle."""
    above: set[str] = set()
    for room, allowed in MAY_IMPORT.items():
        assert set(allowed.split()) <= above, room
        above.add(room)


def test_every_room_has_a_line() -> None:
    """A new room needs its line in the table before it can be built."""
    assert {room_of(PACKAGE, path) for path in modules(PACKAGE)} <= MAY_IMPORT.keys()


def test_every_home_is_a_room() -> None:
    """A misspelt room in the second table would forbid in silence, or allow nothing at all."""
    assert {room for homes in ONLY_IN.values() for room in homes} <= MAY_IMPORT.keys()


def test_rooms_import_only_what_their_line_allows() -> None:
    """No file of the package imports a room that its own room's line does not name."""
    assert knots(PACKAGE) == []


def test_only_the_shared_pool_of_the_broker_knows_pools() -> None:
    """The rest of that room starts daemons of any kind."""
    knowing = {
        path.name
        for path in modules(PACKAGE / "broker")
        if any(name.startswith("trio_folk._pool") for name in imports(PACKAGE, path))
    }
    assert knowing == {"_shared_client.py", "_shared_server.py", "_shared_terms.py"}


def test_packages_stay_in_their_homes() -> None:
    """Optional packages are named in one file; msgpack, ctypes and trio keep to their rooms."""
    assert strays(PACKAGE) == []


def test_root_imports_only_the_version_when_it_is_imported() -> None:
    """The public names are lazy: of ours, only the version is read when the root is imported."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    eager = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    assert eager == ["_version"]


FORBIDDEN = {
    "module level": "from trio_folk._pool import core",
    "relative": "from .._pool.core import WorkerPool",
    "relative, the room itself": "from .. import _pool",
    "plain import": "import trio_folk._pool.core",
    "function-local": "def f():\n    from .._pool import core",
    "TYPE_CHECKING": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .._pool import core",
    "by name": "import importlib\nimportlib.import_module('trio_folk._pool.core')",
    "the root": "from trio_folk import open_pool",
}


def plant(folder: Path, **files: str) -> Path:
    """A tiny package; ``_wire__decoder`` is the file _wire/decoder.py."""
    package = folder / "trio_folk"
    for name, text in files.items():
        path = package / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_forbidden_import_is_found(tmp_path: Path, text: str) -> None:
    """However an upward import is written, this test sees it: it can fail."""
    assert len(knots(plant(tmp_path, _wire__decoder=text))) == 1


@pytest.mark.parametrize("text", ["from .._errors import FolkError", "from . import frames", "import json"])
def test_allowed_import_is_not_found(tmp_path: Path, text: str) -> None:
    """Downward imports, the room's own files and the standard library are no knots."""
    assert knots(plant(tmp_path, _wire__decoder=text)) == []


def test_stranger_on_the_same_level_is_found(tmp_path: Path) -> None:
    """Rooms on one level are strangers."""
    assert knots(plant(tmp_path, _process__launch="from ..worker import Worker")) != []


def test_package_outside_its_home_is_found(tmp_path: Path) -> None:
    """A package in a room that the table does not name for it is found, by its submodules too."""
    assert strays(plant(tmp_path, _wire__decoder="import trio.testing")) == ["trio in _wire/decoder.py"]


def test_optional_package_in_a_second_file_is_found(tmp_path: Path) -> None:
    """An optional package in two files of its own room is one too many."""
    once = "def f():\n    import rich.progress"
    assert strays(plant(tmp_path / "one", _cli__bar=once)) == []
    assert strays(plant(tmp_path / "two", _cli__bar=once, _cli__doctor=once)) != []
