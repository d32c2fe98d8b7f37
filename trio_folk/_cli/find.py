"""From a target as it is typed to the function that it names, or to one sentence that says why not.

It runs in a worker: what a module does when it is imported must not happen to the command line.

Knows modules and names. Does not know items or results.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..worker import Worker
from ..worker._failures import did_you_mean, message_of, traceback_text

__all__ = ["NoTarget", "find", "source_files"]


class NoTarget(Exception):
    """There is no such function; says so in one sentence, with the traceback of an import that failed."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.traceback = traceback


def find(target: str) -> Callable[..., Any] | tuple[Worker, str]:
    """The function that a target names, or a worker and the name of its method.

    Raises:
        NoTarget: there is none.
    """
    module, path = _split(target)
    found: Any = module
    while path:
        if isinstance(found, Worker):
            return found, _method(found, path, target)
        name, _, path = path.partition(".")
        try:
            found = getattr(found, name)
        except AttributeError:
            near = did_you_mean(name, [each for each in dir(found) if not each.startswith("__")])
            where = f"the module {module.__name__!r}" if found is module else repr(found)
            raise NoTarget(f"{where} has no attribute {name!r}{near}") from None
    if isinstance(found, Worker):
        names = ", ".join(f"'{target}.{name}'" for name in sorted(found.methods))
        raise NoTarget(f"{target!r} is a worker: name one of its methods, {names}")
    if not callable(found):
        raise NoTarget(f"{target!r} is {found!r:.80}, which cannot be called")
    function: Callable[..., Any] = found
    return function


def source_files(target: str, function: Callable[..., Any]) -> list[str]:
    """The files of the module that a target names, and of the one that its function is from, where they have any."""
    name = target.partition(":")[0]
    while name not in sys.modules:
        name = name.rpartition(".")[0]
    modules = [sys.modules[name], sys.modules.get(getattr(function, "__module__", None) or name)]
    files = [getattr(module, "__file__", None) for module in modules]
    return sorted({file for file in files if file})


def _method(worker: Worker, name: str, target: str) -> str:
    if name not in worker.methods:
        near = did_you_mean(name, worker.methods) or f"; it has {', '.join(sorted(worker.methods))}"
        raise NoTarget(f"the worker of {target!r} has no method {name!r}{near}")
    return name


def _split(target: str) -> tuple[ModuleType, str]:
    """The module, imported, and the rest of the name."""
    module_name, colon, path = target.partition(":")
    names = module_name.split(".")
    if not all(name.isidentifier() for name in names) or not (path if colon else len(names) > 1):
        raise NoTarget(f"a target is written 'module:function', e.g. 'os.path:getsize', not {target!r}")
    if colon:
        return _import(module_name), path
    for length in range(len(names) - 1, 0, -1):
        prefix = ".".join(names[:length])
        try:
            return _import(prefix), ".".join(names[length:])
        except NoTarget as failure:
            missing = failure.__cause__
            if length == 1 or not isinstance(missing, ModuleNotFoundError) or missing.name != prefix:
                raise
    raise AssertionError("there was at least one prefix")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SystemExit as exit_:
        raise NoTarget(
            f"the module {name!r} called sys.exit({exit_.code!r}) while it was imported"
        ) from exit_
    except Exception as error:
        users = error.__traceback__
        while users is not None and _is_of_import(users.tb_frame.f_code.co_filename):
            users = users.tb_next  # not the import machinery, which is between us and the module
        shown = users is not None or isinstance(error, SyntaxError)
        told = traceback_text(error, users) if shown else ""
        raise NoTarget(
            f"the module {name!r} could not be imported: {message_of(error)}{_near(error)}", told
        ) from error


def _is_of_import(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


def _near(error: Exception) -> str:
    """The module that was probably meant, among those that lie beside it."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    parent, dot, last = error.name.rpartition(".")
    try:
        where = sys.modules[parent].__path__ if dot else None
        beside = {module.name for module in pkgutil.iter_modules(where)}
    except (KeyError, AttributeError, OSError):
        return ""
    if not dot:
        beside |= set(sys.builtin_module_names)
    return did_you_mean(f"{parent}{dot}{last}", [f"{parent}{dot}{name}" for name in beside])
