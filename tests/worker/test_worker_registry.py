"""Worker: which names lead to which functions, and which names are refused."""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest

from trio_folk.worker import Worker
from trio_folk.worker._worker import ready_params


def test_decorators_give_the_function_back_under_each_form_of_name() -> None:
    """All forms register, and the function stays what it was."""
    worker = Worker()

    def plain() -> None: ...
    def positional() -> None: ...
    def keyword() -> None: ...
    def called() -> None: ...

    assert worker.method(plain) is plain
    assert worker.method("second")(positional) is positional
    assert worker.method(name="third", raw=True)(keyword) is keyword
    assert worker.method()(called) is called
    assert dict(worker.methods) | {"echo": None} == {
        "echo": None,
        "plain": plain,
        "second": positional,
        "third": keyword,
        "called": called,
    }


def test_second_method_of_a_name_is_refused_and_both_are_named() -> None:
    """The message says where each of the two stands."""
    worker = Worker()

    @worker.method("shrink")
    def first() -> None: ...

    def second() -> None: ...

    with pytest.raises(ValueError, match=r"'shrink': .*first \(.*\) and .*second \(.*\)"):
        worker.method("shrink")(second)
    assert worker.methods["shrink"] is first


@pytest.mark.parametrize("name", ["echo", "folk.call", ""])
def test_names_that_are_not_free_are_refused(name: str) -> None:
    """`echo` and the protocol's own names cannot be taken."""
    with pytest.raises(ValueError):
        Worker().method(name)(len)


def test_lambda_needs_a_name() -> None:
    """Nobody could call `<lambda>`."""
    with pytest.raises(ValueError, match="needs a name"):
        Worker().method(lambda: None)


def test_what_cannot_be_called_is_no_method() -> None:
    """A number under the decorator is a TypeError."""
    with pytest.raises(TypeError, match="not 3"):
        Worker().method("three")(3)  # type: ignore[type-var]


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.0, "2", 65537])
def test_concurrency_that_makes_no_sense_is_refused(concurrency: Any) -> None:
    """It counts calls."""
    with pytest.raises(ValueError, match="from 1 to"):
        Worker(concurrency)


def test_methods_cannot_be_changed_through_the_view() -> None:
    """Registration has one door."""
    with pytest.raises(TypeError):
        Worker().methods["x"] = len  # type: ignore[index]


def test_repr_shows_concurrency_and_methods() -> None:
    """The repr is what a log needs."""
    worker = Worker(concurrency=4)
    worker.method("shrink")(len)
    assert repr(worker) == "<Worker concurrency=4, methods: echo, shrink>"


def test_only_async_methods_and_concurrency_need_trio() -> None:
    """Partials and callable objects are looked through; a plain function needs nothing."""

    async def job(x: int) -> None: ...

    class Called:
        async def __call__(self) -> None: ...

    def needs(fn: Any) -> bool:
        worker = Worker()
        worker.method("x")(fn)
        return worker.needs_trio

    assert needs(job)
    assert needs(functools.partial(functools.partial(job), 1))
    assert needs(Called())
    assert needs(Called().__call__)
    assert not needs(len)
    assert not needs(test_only_async_methods_and_concurrency_need_trio)
    assert Worker(concurrency=2).needs_trio


def test_ready_params_announce_what_the_worker_can() -> None:
    """The pid, the version of the extensions, the features, the concurrency."""
    features = ["python", "cancel", "meta", "stream", "progress", "feed"]
    assert ready_params(Worker(3)) == {
        "pid": os.getpid(),
        "folk": {"v": 1, "features": features, "concurrency": 3},
    }


def test_only_one_call_at_a_time_is_said_to_be_in_order() -> None:
    """And not in the parent's process, where no thread reads the control channel."""

    def features(*args: int, **kwargs: bool) -> set[str]:
        return set(ready_params(Worker(*args), **kwargs)["folk"]["features"])  # type: ignore[index]

    assert features() >= {"order", "revoke"}
    assert not features(2) & {"order", "revoke"}
    assert not features(in_process=True) & {"order", "revoke"}
