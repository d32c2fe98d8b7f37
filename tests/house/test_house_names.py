"""Every public name is there, says what it gives, and says what cancelling it leaves behind."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import trio_folk
from trio_folk._errors import FolkError

ROOMS = ("", ".abc", ".worker", ".testing", ".broker", ".admin", ".http", ".telemetry")
PUBLIC = [f"trio_folk{room}" for room in ROOMS]
SAMPLES: dict[str, Any] = {
    "message": "it broke",
    "code": -32603,
    "data": {"type": "ValueError", "traceback": "Traceback: ..."},
    "remote_type": "myapp.Broken",
    "remote_traceback": "Traceback: ...",
    "worker": "thumbs/3.12",
    "pid": 4711,
    "exit_code": 9,
    "signal": "SIGKILL",
    "generation": 7,
    "stderr": ("first line", "last line"),
    "stage": "call",
    "hint": "do this",
    "retry_after": 12.5,
    "remaining": 2,
    "failures": (),  # exceptions are equal only to themselves: test_spawn_errors sends some
    "path": "/run/app/backend.spawn.lock",
    "endpoint": "/run/app/backend.sock",
    "reason": "version",
    "since": 1.75e9,
    "program": "python app.py",
}

each_module = pytest.mark.parametrize("name", PUBLIC)


def everything() -> None:
    """Import every module of the package: classes are found through their parents only once they exist."""
    for module in pkgutil.walk_packages(trio_folk.__path__, "trio_folk."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public names of a module with what they are, and the public methods of its classes."""
    for name in module.__all__:
        thing = getattr(module, name)
        yield name, thing
        if inspect.isclass(thing):
            for member in (member for member in vars(thing) if not member.startswith("_")):
                yield f"{name}.{member}", getattr(thing, member)


def errors(parent: type[FolkError] = FolkError) -> Iterator[type[FolkError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from errors(child)


def documented(thing: Any) -> bool:
    """Whether this kind of thing carries a docstring of its own; aliases, constants and values do not."""
    return inspect.isclass(thing) or inspect.isroutine(thing) or isinstance(thing, property)


def cancellable(thing: Any) -> bool:
    """Whether one awaits it: a coroutine function, or an asynchronous context manager made of a generator."""
    bare = inspect.unwrap(thing) if callable(thing) else thing
    return inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare)


@each_module
def test_public_names_resolve(name: str) -> None:
    """Whatever `__all__` names is there, once, and `dir` shows it."""
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [entry for entry in module.__all__ if not hasattr(module, entry)] == []
    assert set(module.__all__) <= set(dir(module))


def test_unknown_name_is_an_attribute_error() -> None:
    """The lazy root refuses what it does not have in the words of any other module."""
    with pytest.raises(AttributeError, match="trio_folk"):
        trio_folk.no_such_name  # noqa: B018


@each_module
def test_public_things_have_docstrings(name: str) -> None:
    """`help()` of any public class, function, method or property says something."""
    things = public(importlib.import_module(name))
    assert [path for path, thing in things if documented(thing) and not inspect.getdoc(thing)] == []


@each_module
def test_public_coroutines_say_what_cancelling_them_leaves(name: str) -> None:
    """Each public coroutine's docstring has a sentence that begins with ``Cancellation``."""
    things = [(path, thing) for path, thing in public(importlib.import_module(name)) if cancellable(thing)]
    said = re.compile(r"(?:^|\.)\s*Cancellation\b", re.MULTILINE)
    assert [path for path, thing in things if not said.search(inspect.getdoc(thing) or "")] == []


def test_root_is_lazy() -> None:
    """Importing the package loads neither trio nor any other dependency: a worker would pay for them."""
    code = (
        "import trio_folk, sys; print(*{'trio', 'attr', 'attrs', 'outcome', 'msgpack'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == []


def test_there_are_errors_in_every_room_that_has_them() -> None:
    """The walk below finds the errors outside `_errors` too, or it would pass over them in silence."""
    everything()
    found = {error.__name__ for error in errors()}
    assert {"WorkerDied", "InvalidFrame", "PoolBusy", "QueueTimeout", "ExecTimeout"} <= found


def test_every_error_survives_pickling_whole() -> None:
    """Type, text, arguments and all attributes come back: errors travel between processes and into logs."""
    everything()
    for kind in errors():
        wanted = inspect.signature(kind).parameters
        error = kind(**{name: SAMPLES[name] for name in wanted})
        for name, value in SAMPLES.items():
            if name in vars(error):  # attributes that a subclass does not take are set afterwards
                setattr(error, name, value)
        error.add_note("a note")
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            back = pickle.loads(pickle.dumps(error, protocol))
            assert type(back) is kind
            assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error)), kind


def test_every_error_shows_what_it_knows() -> None:
    """The text of each error has its message, its worker, its hint and its last lines of stderr."""
    everything()
    for kind in errors():
        error = kind(**{name: SAMPLES[name] for name in inspect.signature(kind).parameters})
        error.worker, error.hint, error.stderr = SAMPLES["worker"], SAMPLES["hint"], SAMPLES["stderr"]
        for text in ("it broke", "thumbs/3.12", "do this", "last line"):
            assert text in str(error), kind
