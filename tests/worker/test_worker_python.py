"""The feature ``python``: functions by number, arguments and results by pickle."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import worker_jobs
from worker_child import packed_call

from trio_folk._errors import ProtocolError
from trio_folk._wire import MAX_FRAME, MessageDecoder, Request, Response
from trio_folk.worker import Worker
from trio_folk.worker._dispatch import answer
from trio_folk.worker._python import Functions


def run(params: Any, functions: Functions | None = None, limit: int = MAX_FRAME) -> Response:
    frame = answer(Worker(), functions or Functions(), Request(7, "folk.call", params), limit)
    (response,) = MessageDecoder(limit).feed(frame)
    assert isinstance(response, Response)
    return response


def failed(params: Any, functions: Functions | None = None) -> dict[str, Any]:
    response = run(params, functions)
    assert response.result is None
    assert isinstance(response.error, dict)
    return response.error


def test_function_is_called_by_value_and_by_number() -> None:
    """Both forms take positional and keyword arguments and pickle the result."""
    functions = Functions()
    functions.define([3, pickle.dumps(worker_jobs.multiply)])
    assert pickle.loads(run(packed_call(worker_jobs.multiply, 6, right=7)).result) == 42
    assert pickle.loads(run(packed_call(3, 6, right=7), functions).result) == 42


def test_number_told_again_means_the_newer_function() -> None:
    """Numbers are the parent's to reuse."""
    functions = Functions()
    functions.define([3, pickle.dumps(len)])
    assert pickle.loads(run(packed_call(3, [1, 2]), functions).result) == 2
    functions.define([3, pickle.dumps(sum)])
    assert pickle.loads(run(packed_call(3, [1, 2]), functions).result) == 3


def test_function_that_cannot_be_imported_is_tried_once_and_told_each_time() -> None:
    """The message names the remedy; the exception does not travel, for it is not the function's."""
    functions = Functions()
    functions.define([1, b"cno_such_module\nfunction\n."])
    first, second = failed(packed_call(1), functions), failed(packed_call(1), functions)
    assert first == second
    assert first["code"] == -32603
    assert "No module named 'no_such_module'" in first["message"]
    assert "importable in the worker" in first["message"]
    assert first["data"]["type"] == "ModuleNotFoundError"
    assert "pickle" not in first["data"]


def test_failed_import_is_not_repeated() -> None:
    """A module that fails half-way may have had effects; once is enough."""
    functions = Functions()
    functions.define([1, b"cworker_jobs\nfail_to_load\n(tR."])
    worker_jobs.SEEN.clear()
    for _ in range(3):
        assert "not today" in failed(packed_call(1), functions)["message"]
    assert worker_jobs.SEEN == ["tried"]


def test_callable_that_is_falsy_is_loaded_once() -> None:
    """Its state lives as long as its number."""
    functions = Functions()
    functions.define([1, pickle.dumps(worker_jobs.Empty())])
    assert [pickle.loads(run(packed_call(1), functions).result) for _ in range(3)] == [1, 2, 3]


def test_nothing_is_unpickled_before_its_call() -> None:
    """A definition that is never called costs and breaks nothing."""
    Functions().define([1, b"not a pickle"])


def test_unknown_number_is_refused() -> None:
    """The parent forgot to define it."""
    assert failed(packed_call(9))["message"] == "no function was defined under the number 9"


@pytest.mark.parametrize("params", [None, [], [1], [b"x"], ["x", b"y"], [1, "y"], {"fn": 1}, [1, b"", b""]])
def test_malformed_calls_are_invalid_params(params: Any) -> None:
    """And never anything worse."""
    assert failed(params)["code"] == -32602


@pytest.mark.parametrize("params", [None, [1], ["x", b""], [1, "x"], {}])
def test_malformed_definition_breaks_the_protocol(params: Any) -> None:
    """There is no reply that could say so."""
    with pytest.raises(ProtocolError):
        Functions().define(params)


def test_exception_travels_as_itself_with_its_traceback_beside_it() -> None:
    """Data holds its type, its text, and its pickle."""
    error = failed(packed_call(worker_jobs.raise_it, LookupError("here", 5)))
    again = pickle.loads(error["data"]["pickle"])
    assert type(again) is LookupError
    assert again.args == ("here", 5)
    assert error["data"]["type"] == "LookupError"
    assert "in raise_it" in error["data"]["traceback"].splitlines()[1]


def test_exception_that_does_not_load_again_travels_as_text() -> None:
    """Checked here, where it can still be told; not in the parent, where it would be lost."""
    cause = worker_jobs.raise_it
    # The instance cannot be sent as an argument either, so the function makes it.
    error = failed(packed_call(eval, "raise_it(Stubborn('a', 'b'))", vars_of_jobs()))
    assert "pickle" not in error["data"]
    assert error["data"]["type"] == "worker_jobs.Stubborn"
    assert cause.__name__ in error["data"]["traceback"]


def test_base_exceptions_do_not_travel_as_themselves() -> None:
    """An exit over there must not be an exit over here."""
    error = failed(packed_call(worker_jobs.raise_it, SystemExit(3)))
    assert error["data"]["type"] == "SystemExit"
    assert "pickle" not in error["data"]


def test_result_that_cannot_be_pickled_is_told_with_the_functions_name() -> None:
    """The worker survives it."""
    message = failed(packed_call(worker_jobs.make_lambda))["message"]
    assert message.startswith("the result of make_lambda could not be pickled: ")


def test_arguments_that_raise_when_unpickled_are_told_as_such() -> None:
    """They are neither the function's failure nor the parent's exception."""
    error = failed(packed_call(worker_jobs.multiply, worker_jobs.Rancid()))
    assert error["message"] == "the arguments of multiply could not be unpickled in the worker: rancid"
    assert "pickle" not in error["data"]


def test_async_function_is_refused_with_the_remedy() -> None:
    """No coroutine is left unawaited."""
    message = failed(packed_call(worker_jobs.asynchronous))["message"]
    assert message.startswith("asynchronous is async, and run_sync takes synchronous functions")


def test_pickled_result_longer_than_a_frame_is_refused() -> None:
    """As any other result."""
    response = run(packed_call(bytes, 5000), limit=2048)
    assert "the result of bytes is too large" in response.error["message"]


def vars_of_jobs() -> dict[str, Any]:
    return {"raise_it": worker_jobs.raise_it, "Stubborn": worker_jobs.Stubborn}
