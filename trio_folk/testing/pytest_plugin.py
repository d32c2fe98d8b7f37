"""The pytest plugin: pools and runtimes as fixtures, exploration as a mark, and a ceiling that shows the tasks.

Loaded by pytest wherever this package is installed, so it imports nothing until a test asks for it.

    @pytest.mark.every_cancellation_point(seeds=range(5))
    async def test_transfer(folk_pool): ...

    @pytest.mark.folk_timeout(10)
    async def test_that_may_hang(): ...

Works with pytest-trio, which async fixtures such as `folk_pool` need elsewhere.

Knows pytest. Does not know how tests are explored, nor how a run is broken.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Generator
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .._pool import WorkerPool
    from ..abc import Runtime

__all__ = ["folk_pool", "folk_runtime"]

_TEST = pytest.StashKey[Any]()
_MARK = "every_cancellation_point"
_RUNTIMES = ("task", "pipe", "fork")
_SLOTS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("trio_folk", "trio_folk: worker pools")
    group.addoption(
        "--folk-runtime",
        choices=_RUNTIMES,
        default="task",
        help="what the folk_runtime fixture is: workers as tasks of this process (the default), or real processes",
    )
    parser.addini("folk_worker", 'the worker of the folk_runtime fixture: "module:object"', default="")
    parser.addini("folk_timeout", "seconds that a test may take before its tasks are shown", default="")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        f"{_MARK}(**options): run the async test once for each point where it can be cancelled",
        "folk_timeout(seconds): end the test after so many seconds, and show its tasks",
        "folk_worker(target): the worker of the folk_runtime fixture, as 'module:object' or a Worker",
        "folk_pool(**options): options of open_pool for the folk_pool fixture",
    ):
        config.addinivalue_line("markers", line)


@pytest.fixture
def folk_runtime(request: pytest.FixtureRequest) -> Runtime:
    """A runtime for the worker that the mark or the setting ``folk_worker`` names; functions only, without.

    Its workers are tasks of this process, unless ``--folk-runtime`` says ``pipe`` or ``fork``.
    """
    from .. import runtimes

    mark = request.node.get_closest_marker("folk_worker")
    target = mark.args[0] if mark is not None else request.config.getini("folk_worker") or None
    kind = request.config.getoption("--folk-runtime")
    if kind == "task":
        return runtimes.TaskRuntime(target)
    if not (target is None or isinstance(target, str)):
        pytest.skip(f"folk_worker is an object of this process: --folk-runtime={kind} needs 'module:object'")
    return runtimes.PipeRuntime.python(target) if kind == "pipe" else runtimes.ForkRuntime(target)


@pytest.fixture
async def folk_pool(request: pytest.FixtureRequest, folk_runtime: Runtime) -> AsyncIterator[WorkerPool]:
    """A pool of two workers of `folk_runtime`; the mark ``folk_pool`` takes other options of `open_pool`.

    Cancellation: leaves it as a cancelled `open_pool` does.
    """
    from .._pool import open_pool

    options: dict[str, Any] = {"slots": _SLOTS}
    for mark in reversed(list(request.node.iter_markers("folk_pool"))):
        options |= mark.kwargs
    async with open_pool(folk_runtime, **options) as pool:
        yield pool


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> object | None:
    """An async fixture of an explored test is made anew for each run: here only what it will be made of is noted."""
    if request.node.get_closest_marker(_MARK) is None:
        return None
    from ._explored import Later

    given = {name: request.getfixturevalue(name) for name in fixturedef.argnames}
    later = Later.maybe(fixturedef.func, given)
    if later is None:
        return None
    if fixturedef.scope != "function":
        pytest.fail(
            f"fixture {fixturedef.argname!r} is made anew for each run, so it must be function-scoped"
        )
    fixturedef.cached_result = (later, fixturedef.cache_key(request), None)  # type: ignore[arg-type]
    return later


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep the test as it was written: pytest-trio puts its own runner in its place."""
    if isinstance(item, pytest.Function) and item.get_closest_marker(_MARK) is not None:
        if not iscoroutinefunction(item.obj):
            pytest.fail(f"{_MARK} is for async tests")
        item.stash[_TEST] = item.obj


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """The innermost wrapper: pytest-trio's runner is in place by now, and gives way."""
    mark = pyfuncitem.get_closest_marker(_MARK)
    if mark is None:
        return (yield)
    from ._explore.summary import CancellationLeak
    from ._explored import explored

    pyfuncitem.obj = explored(pyfuncitem.stash[_TEST], mark.kwargs)
    try:
        return (yield)
    except CancellationLeak as leak:
        text = str(leak)
    pytest.fail(text, pytrace=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    seconds = _ceiling(item)
    if seconds == math.inf:
        return (yield)
    from ._ceiling import Ceiling

    result: object = None
    with Ceiling(seconds) as ceiling:
        result = yield
    if ceiling.report:
        pytest.fail(ceiling.report, pytrace=False)
    return result


def _ceiling(item: pytest.Item) -> float:
    mark = item.get_closest_marker("folk_timeout")
    given = mark.args[0] if mark is not None else item.config.getini("folk_timeout")
    return float(given) if given not in ("", None) else math.inf
