"""Python calls by pickle: what goes by number, what by value, what is refused, and what comes back as what."""

from __future__ import annotations

import functools
import operator
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import runtimes_jobs as jobs
import trio
from runtimes_jobs import OwnError, Point

from trio_folk import ApplicationError, FrameTooLarge, RemoteError, TaskRuntime, WorkerDied
from trio_folk._wire import MAX_FRAME, MessageDecoder
from trio_folk.abc import Birth, WorkerHandle, WorkerId
from trio_folk.runtimes._jobs import Told
from trio_folk.runtimes._python import PythonJob

BOUND = 60
ROOT = str(Path(__file__).parents[2])


def job(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> PythonJob:
    return PythonJob(fn, args, kwargs, MAX_FRAME)


def sent(each: PythonJob, told: Told) -> list[Any]:
    return MessageDecoder().feed(each.preface(told, MAX_FRAME) + each.encode(1, MAX_FRAME))


def target(each: PythonJob) -> int | bytes:
    """What the request names the function by: a number, or its pickle."""
    named: int | bytes = sent(each, Told())[-1].params[0]
    return named


@pytest.fixture
def no_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)


@pytest.fixture
def of_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """A function of ``__main__``."""

    def double(x: int) -> int:
        return 2 * x

    double.__module__, double.__qualname__ = "__main__", "double"
    monkeypatch.setattr(sys.modules["__main__"], "double", double, raising=False)
    return double


@asynccontextmanager
async def task_worker() -> AsyncIterator[WorkerHandle]:
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(TaskRuntime().spawn, Birth(WorkerId("p", 0, 1)))
            await handle.ready()
            yield handle
            nursery.cancel_scope.cancel()


# -- which function


@pytest.mark.parametrize(
    "fn", [operator.add, jobs.interpreter, len, Point], ids=["C function", "function", "builtin", "class"]
)
def test_functions_of_modules_go_by_number(fn: Callable[..., Any]) -> None:
    """The same one has the same number each time, and is defined once a worker."""
    told = Told()
    define, request = sent(job(fn), told)
    assert (define.method, request.method) == ("folk.define", "folk.call")
    number, pickled = define.params
    assert pickle.loads(pickled) is fn
    assert request.params[0] == number == target(job(fn))
    assert [each.method for each in sent(job(fn), told)] == ["folk.call"]


def test_each_function_has_its_own_number() -> None:
    """However many there are."""
    numbers = {target(job(fn)) for fn in (operator.add, operator.sub, operator.mul, len, Point)}
    assert len(numbers) == 5


@pytest.mark.parametrize(
    "fn",
    [
        functools.partial(operator.add, 1),
        operator.itemgetter(0),
        Point(1, 2).moved,
        Point.origin,
        [1].append,
        lambda x: x,
    ],
    ids=["partial", "callable object", "bound method", "class method", "method of a list", "lambda"],
)
def test_what_may_change_travels_with_each_call(fn: Callable[..., Any]) -> None:
    """Its state is that of the moment of the call."""
    assert isinstance(target(job(fn)), bytes)


def test_a_function_is_not_asked_whether_it_equals_another() -> None:
    """Objects that are compared by value, or cannot be hashed, are callables too."""

    class Callable_:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> int:
            return 1

    assert isinstance(target(job(Callable_())), bytes)


def test_what_is_no_function_is_refused() -> None:
    """A TypeError that says what it was."""
    with pytest.raises(TypeError, match="takes a function, not 3"):
        job(3)  # type: ignore[arg-type]


async def test_all_kinds_of_callables_run() -> None:
    """Each with its state; closures and lambdas by value."""
    seven = 7
    async with task_worker() as handle:
        assert await handle.execute(job(functools.partial(operator.sub, 10), 3)) == 7
        assert await handle.execute(job(Point(1, 2).moved, 1)) == Point(2, 3)
        assert await handle.execute(job(Point.origin)) == Point(0, 0)
        assert await handle.execute(job(Point, 4, y=5)) == Point(4, 5)
        assert await handle.execute(job(lambda x: x + seven, 1)) == 8


# -- by value, or not


def test_functions_of_main_go_by_value(of_main: Callable[[int], int]) -> None:
    """Whoever unpickles it needs no ``__main__``."""
    pickled = target(job(of_main, 1))
    assert isinstance(pickled, bytes)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)(21))"
    done = subprocess.run([sys.executable, "-c", code], input=pickled, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"42\n"


@pytest.mark.parametrize("what", ["main", "lambda", "closure"])
def test_without_cloudpickle_both_remedies_are_named(
    no_cloudpickle: None, of_main: Callable[[int], int], what: str
) -> None:
    """Move it to a module, or install the extra."""
    bound = 3
    fn = {"main": of_main, "lambda": lambda x: x, "closure": lambda x: x + bound}[what]
    with pytest.raises(TypeError) as caught:
        job(fn, 1)
    message = str(caught.value)
    assert "top level of a module" in message
    assert "trio-folk[closures]" in message
    assert fn.__qualname__ in message


def test_without_cloudpickle_things_of_main_are_refused_as_arguments(
    no_cloudpickle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker could not import their class."""

    class Mine:
        pass

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    monkeypatch.setattr(sys.modules["__main__"], "Mine", Mine, raising=False)
    with pytest.raises(TypeError, match="something of __main__"):
        job(len, [Mine()])


def test_without_cloudpickle_the_mere_word_main_is_no_harm(no_cloudpickle: None) -> None:
    """Text that says ``__main__`` names nothing of it."""
    each = job(len, 'if __name__ == "__main__":')
    args, _ = pickle.loads(sent(each, Told())[-1].params[1])
    assert args == ('if __name__ == "__main__":',)


def test_unpicklable_arguments_name_the_function_and_the_remedies(no_cloudpickle: None) -> None:
    """Not the argument's repr, which may be long."""
    with pytest.raises(TypeError, match=r"^the arguments of len .*trio-folk\[closures\]"):
        job(len, threading.Lock())


def test_what_cloudpickle_cannot_pickle_either_is_refused_by_name() -> None:
    """The sentence says whose arguments they are."""
    with pytest.raises(
        TypeError, match=r"^the arguments of len cannot be sent to a worker, not even by value"
    ):
        job(len, threading.Lock())


def test_arguments_beyond_a_frame_are_refused() -> None:
    """FrameTooLarge, before there is a worker."""
    with pytest.raises(FrameTooLarge, match="frame"):
        PythonJob(len, (b"x" * 2048,), {}, 1024)


@pytest.mark.parametrize("closures", [True, False])
def test_a_script_runs_its_own_functions_where_it_can(tmp_path: Path, closures: bool) -> None:
    """A real ``__main__``, real workers; its module body runs once, whatever happens."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, trio\n"
        f"sys.path.insert(0, {ROOT!r})\n"
        + ("" if closures else "sys.modules['cloudpickle'] = None\n")
        + "import trio_folk\n"
        "print('body')\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "async def main():\n"
        "    async with trio_folk.open_pool(trio_folk.PipeRuntime.python(), slots=1) as pool:\n"
        "        try:\n"
        "            print(await pool.run_sync(double, 21))\n"
        "        except TypeError as error:\n"
        "            print('refused' if 'trio-folk[closures]' in str(error) else error)\n"
        "trio.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, check=True, timeout=BOUND
    )
    assert done.stdout.split() == ["body", "42" if closures else "refused"]


# -- what comes back


def failure(error: object, *, kind: str = "builtins.X") -> dict[str, Any]:
    """An error map as the worker's half makes it."""
    data: dict[str, Any] = {"type": kind, "traceback": "Traceback: in the worker"}
    if error is not None:
        data["pickle"] = error if isinstance(error, bytes) else pickle.dumps(error)
    return {"code": -32603, "message": "it failed", "data": data}


def test_an_exception_comes_back_as_itself() -> None:
    """With its attributes, its notes, and the worker's traceback as one more."""

    async def run() -> None:
        async with task_worker() as handle:
            await handle.execute(job(jobs.raise_own))

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(run)
    (error,) = caught.value.exceptions
    assert isinstance(error, OwnError)
    assert error.args == ("own",)
    assert error.__notes__[0] == "from the function"
    assert "raise_own" in error.__notes__[1]


class _TriosChild(trio.TooSlowError):
    pass


class _OursChild(WorkerDied):
    pass


@pytest.mark.parametrize(
    "error",
    [
        trio.TooSlowError(),
        trio.BrokenResourceError(),
        _TriosChild(),
        WorkerDied("x"),
        _OursChild("x"),
        ApplicationError(-1, "x"),
        ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [trio.TooSlowError()])]),
        ExceptionGroup("g", [WorkerDied("x")]),
    ],
    ids=repr,
)
def test_errors_of_trio_and_ours_never_pass_for_the_callers(error: Exception) -> None:
    """Nor their subclasses, nor a group that holds one."""
    made = job(jobs.raise_own).error(failure(error))
    assert type(made) is RemoteError
    assert made.remote_traceback == "Traceback: in the worker"


@pytest.mark.parametrize(
    "pickled",
    [
        b"no pickle",
        b"",
        pickle.dumps("no exception"),
        pickle.dumps(SystemExit(1)),
        pickle.dumps(KeyboardInterrupt()),
        b"cno_such_module\nNoSuchClass\n.",
        pickle.dumps(BaseExceptionGroup("g", [KeyboardInterrupt()])),
    ],
    ids=["garbage", "empty", "text", "SystemExit", "KeyboardInterrupt", "unknown class", "base group"],
)
def test_what_cannot_be_had_back_is_a_remote_error(pickled: bytes) -> None:
    """It still tells the type, the message and the traceback."""
    made = job(jobs.raise_own).error(failure(pickled, kind="their.Error"))
    assert type(made) is RemoteError
    assert made.remote_type == "their.Error"
    assert "raise_own raised their.Error: it failed" in str(made)


def test_a_group_that_may_travel_comes_back_as_itself() -> None:
    """All of it, with one note."""
    made = job(jobs.raise_own).error(failure(ExceptionGroup("g", [ValueError("a"), OwnError("b")])))
    assert isinstance(made, ExceptionGroup)
    assert [type(each) for each in made.exceptions] == [ValueError, OwnError]
    assert len(made.__notes__) == 1


@pytest.mark.parametrize("error", ["text", 7, [1], {}, {"code": "x"}, {"data": 3}], ids=repr)
def test_an_error_of_any_shape_is_an_error(error: object) -> None:
    """A worker that breaks with the convention does not break its caller."""
    assert type(job(len).error(error)) is RemoteError


def test_a_result_that_cannot_be_unpickled_here_is_a_remote_error() -> None:
    """It names the function and says what is needed."""
    with pytest.raises(RemoteError, match="len returned something that cannot be unpickled") as caught:
        job(len).value(b"cno_such_module\nNoSuchClass\n.")
    assert "importable in the parent" in str(caught.value)


def test_a_job_names_its_function() -> None:
    """In its repr, as a person would."""
    assert "operator" not in repr(job(operator.add, 1, 2))
    assert repr(job(operator.add, 1, 2)).startswith("<PythonJob add, ")
    assert msgpack.unpackb(job(len, "x").params)[0]
