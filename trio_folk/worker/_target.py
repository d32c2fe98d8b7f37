"""The target: from ``module:object`` to a Worker, or to one sentence that says why not.

A typing error in a target used to show as a boot timeout half a minute later. Here it becomes a message at
once, with the name that was probably meant, and the traceback of the import where one failed.

Knows modules and names. Does not know descriptors or messages.
"""

from __future__ import annotations

import sys

from ._failures import did_you_mean, encodable, message_of, qualified_name, traceback_text
from ._worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

__all__ = ["TargetError", "import_named", "load_named", "load_target"]


class TargetError(Exception):
    """The target is not a Worker; says so in one sentence."""

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = encodable(message)
        self.traceback = traceback


def load_target(target: str) -> Worker:
    """The Worker that ``module:object`` names.

    Raises:
        TargetError: there is none.
    """
    found = load_named(target)
    if not isinstance(found, Worker):
        module = sys.modules[target.partition(":")[0]]
        message = f"{target!r} is {_article(found)}, not a trio_folk.worker.Worker{_workers_of(module)}"
        raise TargetError("TypeError", message)
    return found


def load_named(target: str) -> object:
    """What ``module:object`` names, whatever that is.

    Raises:
        TargetError: there is no such thing.
    """
    module_name, _, path = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        message = f"a target is written 'module:object', e.g. 'myapp.jobs:worker', not {target!r}"
        raise TargetError("ValueError", message)
    module = import_named(module_name)
    found: object = module
    for name in path.split("."):
        found = _attribute(found, name, module, target)
    return found


def import_named(name: str) -> ModuleType:
    """The module of this name.

    Raises:
        TargetError: it could not be imported.
    """
    try:
        __import__(name)
        return sys.modules[name]
    except BaseException as exc:  # SystemExit too: a script without a __main__ guard ends in sys.exit()
        users = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
        message = f"the module {name!r} could not be imported: {message_of(exc)}{_near_module(exc)}"
        if isinstance(exc, SystemExit):
            message = f"the module {name!r} called sys.exit({exc.code!r}) while it was imported"
        raise TargetError(qualified_name(type(exc)), message, traceback_text(exc, users)) from None


def _near_module(exc: BaseException) -> str:
    """The module that was probably meant, among those that lie beside it."""
    if not isinstance(exc, ModuleNotFoundError) or exc.name is None:
        return ""
    import pkgutil

    parent, dot, last = exc.name.rpartition(".")
    where = getattr(sys.modules.get(parent), "__path__", []) if dot else None
    try:
        beside = {module.name for module in pkgutil.iter_modules(where)}
    except Exception:
        return ""  # an importer on sys.path that cannot list; the message stands without a suggestion
    if not dot:
        beside.update(sys.builtin_module_names)
    return did_you_mean(f"{parent}{dot}{last}", [f"{parent}{dot}{name}" for name in beside])


def _attribute(owner: object, name: str, module: ModuleType, target: str) -> object:
    try:
        return getattr(owner, name)
    except TargetError:
        raise  # a module of ours, which has a target of its own
    except Exception as exc:
        where = f"the module {module.__name__!r}" if owner is module else f"{target!r}: {_article(owner)}"
        names: Iterable[str] = [each for each in dir(owner) if not each.startswith("__")]
        hint = did_you_mean(name, names) or _workers_of(module)
        users = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
        told = traceback_text(exc, users) if users is not None else ""  # a module's own __getattr__ raised
        raise TargetError(
            qualified_name(type(exc)), f"{where} has no attribute {name!r}{hint}", told
        ) from None


def _workers_of(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, Worker))
    targets = ", ".join(f"'{module.__name__}:{name}'" for name in names)
    return f"; did you mean {targets}?" if targets else ""


def _article(value: object) -> str:
    kind = type(value).__name__
    return f"an {kind}" if kind[:1] in "aeiouAEIOU" else f"a {kind}"
