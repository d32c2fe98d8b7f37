"""Dispatch: every request gets one frame, whatever its method does."""

from __future__ import annotations

from typing import Any

import pytest

from trio_folk._wire import MAX_FRAME, MessageDecoder, Request, Response
from trio_folk.worker import Worker
from trio_folk.worker._dispatch import answer
from trio_folk.worker._python import Functions

worker = Worker()


def run(method: str, params: Any = None, *, limit: int = MAX_FRAME) -> Response:
    frame = answer(worker, Functions(), Request(7, method, params), limit)
    assert len(frame) - 4 <= limit
    (response,) = MessageDecoder(limit).feed(frame)
    assert isinstance(response, Response)
    assert response.msgid == 7
    return response


def failed(method: str, params: Any = None, *, limit: int = MAX_FRAME) -> dict[str, Any]:
    response = run(method, params, limit=limit)
    assert response.result is None
    assert isinstance(response.error, dict)
    return response.error


@worker.method
def show(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@worker.method(raw=True)
def raw(params: Any) -> Any:
    return params


@worker.method
def two(left: int, right: int) -> int:
    return left + right


@worker.method
def nested() -> None:
    two(1)  # type: ignore[call-arg]


class Local(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def thrower(name: str, make: Any) -> None:
    @worker.method(name)
    def throw() -> None:
        raise make()


thrower("value_error", lambda: ValueError("wrong"))
thrower("wordless", lambda: KeyError())
thrower("exits", lambda: SystemExit(3))
thrower("interrupts", lambda: KeyboardInterrupt())
thrower("unprintable", Local)
thrower("surrogate", lambda: ValueError("\udcff\ud800"))
thrower("long", lambda: ValueError("x" * 100_000))


@pytest.mark.parametrize(
    ("params", "arrive"),
    [
        ({"a": 1}, [[], {"a": 1}]),
        ([1, [2]], [[1, [2]], {}]),
        (None, [[], {}]),
        ([], [[], {}]),
        (5, [[5], {}]),
        ("text", [["text"], {}]),
        (b"bytes", [[b"bytes"], {}]),
    ],
)
def test_params_become_arguments_by_their_kind(params: Any, arrive: Any) -> None:
    """A map is keywords, an array positions, nil nothing, the rest one argument."""
    assert run("show", params).result == arrive


@pytest.mark.parametrize("params", [None, [], {}, {"a": 1}, [1], "x", {1: 2}])
@pytest.mark.parametrize("method", ["raw", "echo"])
def test_raw_methods_get_params_as_they_came(method: str, params: Any) -> None:
    """And so does `echo`, which is always there."""
    assert run(method, params).result == params


def test_unknown_method_names_the_one_that_was_meant() -> None:
    """-32601 with the nearest name."""
    error = failed("shwo")
    assert error["code"] == -32601
    assert error["message"] == "method not found: shwo; did you mean 'show'?"


def test_unknown_method_far_from_all_lists_what_there_is() -> None:
    """A worker of the wrong kind shows by its methods."""
    assert ", show, " in failed("zzzzzzzz")["message"]
    assert len(failed("z" * 5000)["message"]) < 1000


@pytest.mark.parametrize("params", [None, [1], [1, 2, 3], {"left": 1, "rigth": 2}, {1: 2}])
def test_params_that_do_not_fit_are_invalid_params(params: Any) -> None:
    """The call itself failed, so nothing of the method ran."""
    error = failed("two", params)
    assert error["code"] == -32602
    assert error["data"]["type"] == "TypeError"


def test_type_error_inside_a_method_is_the_methods_own() -> None:
    """A call inside that does not fit is not the caller's mistake."""
    error = failed("nested")
    assert error["code"] == -32603
    assert "two() missing 1 required positional argument" in error["message"]


def test_error_carries_type_message_and_the_users_traceback_only() -> None:
    """The first frame shown is the method's."""
    error = failed("value_error")
    assert error["code"] == -32603
    assert error["message"] == "wrong"
    assert error["data"]["type"] == "ValueError"
    lines = error["data"]["traceback"].splitlines()
    assert "in throw" in lines[1]
    assert "trio_folk/worker" not in error["data"]["traceback"]
    assert lines[-1] == "ValueError: wrong"


def test_error_without_words_says_its_class() -> None:
    """An empty message helps nobody."""
    assert failed("wordless")["message"] == "KeyError"


@pytest.mark.parametrize(("method", "kind"), [("exits", "SystemExit"), ("interrupts", "KeyboardInterrupt")])
def test_even_exits_become_errors(method: str, kind: str) -> None:
    """The worker survives what would end a program."""
    assert failed(method)["data"]["type"] == kind


def test_fatal_exceptions_of_the_loop_come_out() -> None:
    """A loop inside the user's program leaves Ctrl-C to it."""
    with pytest.raises(KeyboardInterrupt):
        answer(worker, Functions(), Request(1, "interrupts", None), MAX_FRAME, (KeyboardInterrupt,))


def test_exception_that_cannot_be_printed_is_still_told() -> None:
    """A broken __str__ does not turn one failure into two."""
    error = failed("unprintable")
    assert error["message"] == "Local, whose str() raised RuntimeError"
    assert error["data"]["type"].endswith("test_worker_dispatch.Local")


def test_lone_surrogates_in_a_message_are_made_visible() -> None:
    """They have no UTF-8, and an error must always be encodable."""
    assert failed("surrogate")["message"] == "\\udcff\\ud800"


def test_error_longer_than_a_frame_is_cut() -> None:
    """Some answer is better than none."""
    error = failed("long", limit=1024)
    assert error["message"].startswith("xxxx")
    assert "cut" in error["message"]
    assert error["data"] == {"type": "ValueError"}


def test_result_that_cannot_be_encoded_names_its_type_and_place() -> None:
    """The author of the method must find it."""
    worker = Worker()
    worker.method("sets")(lambda: {"deep": [{1}]})
    frame = answer(worker, Functions(), Request(1, "sets", None), MAX_FRAME)
    (response,) = MessageDecoder().feed(frame)
    assert "the result of sets cannot be sent: a set cannot be encoded, at value['deep'][0]" in str(response)


def test_result_longer_than_a_frame_says_length_limit_and_remedy() -> None:
    """A frame of exactly the limit passes, one byte more does not."""
    worker = Worker()
    worker.method("zeros")(bytes)

    def zeros(size: int) -> Response:
        frame = answer(worker, Functions(), Request(1, "zeros", size), 2048)
        (response,) = MessageDecoder(2048).feed(frame)
        assert isinstance(response, Response)
        return response

    overhead = 4 + 3  # array, kind, msgid, nil; then bin 16 and its length
    assert len(zeros(2048 - overhead).result) == 2048 - overhead
    message = zeros(2048 - overhead + 1).error["message"]
    assert "result of zeros is too large: a frame of 2049 bytes is over the limit of 2048" in message
    assert "raise max_frame" in message


def test_function_that_returns_a_coroutine_is_told_to_be_async() -> None:
    """A decorator can hide that a method is async; no coroutine is left unawaited."""

    async def hidden() -> None: ...

    worker = Worker()
    worker.method("hidden")(lambda: hidden())
    frame = answer(worker, Functions(), Request(1, "hidden", None), MAX_FRAME)
    assert b"must be declared with async def" in frame
