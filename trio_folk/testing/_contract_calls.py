"""The contract, part one: calls, their values, their errors, and that none gets another's answer."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import trio

from .._errors import ApplicationError, FrameTooLarge
from ..abc import Runtime, WorkerHandle
from ._contract_base import LONG, ContractBase, needs

__all__ = ["CallContract"]

LARGE = 5 * 1024 * 1024
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**32,
    1.5,
    "text",
    "\N{SNOWMAN}",
    [1, [2, []]],
    {"a": {"b": None}},
    [None],
]


class CallContract(ContractBase):
    """Named methods."""

    @needs("echo")
    async def test_values_come_back_as_they_went(self) -> None:
        """Every kind of value that all languages share."""
        runtime = self.make_runtime()
        answers: list[Any] = []
        async with self.ready(runtime) as handle:
            await self.call_each(runtime, handle, VALUES, answers)
        assert answers == VALUES

    @needs("add")
    async def test_parameters_become_arguments(self) -> None:
        """A map by keyword, an array by position, anything else as the one argument."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            assert await self.call(runtime, handle, "add", [1, 2]) == 3
            assert await self.call(runtime, handle, "add", {"b": 4, "a": 3}) == 7
            assert await self.call(runtime, handle, "add", 5) == 6

    @needs("fail")  # a worker without it, as `FaultyRuntime` has, may take any method
    async def test_an_unknown_method_is_said_to_be_unknown(self) -> None:
        """Error -32601, and the worker is unharmed."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            error = await self._error(runtime, handle, "no_such_method")
            assert error.code == -32601
            assert await self.call(runtime, handle, "echo", 1) == 1

    @needs("add")
    async def test_arguments_that_do_not_fit_are_said_not_to_fit(self) -> None:
        """Error -32602, and the worker is unharmed."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            assert (await self._error(runtime, handle, "add", [1, 2, 3])).code == -32602
            assert (await self._error(runtime, handle, "add", {"z": 1})).code == -32602
            assert await self.call(runtime, handle, "echo", 1) == 1

    @needs("fail")
    async def test_a_method_that_fails_tells_what_of(self) -> None:
        """Error -32603, with the type, the traceback, and the worker's id; the error pickles with all of it."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            error = await self._error(runtime, handle, "fail", {"message": "on purpose"})
            assert error.code == -32603
            assert error.message
            assert error.remote_type
            assert isinstance(error.remote_traceback, str)
            assert (error.worker, error.pid, error.generation) == (str(handle.id), handle.pid, 3)
            assert await self.call(runtime, handle, "echo", 1) == 1
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))

    @needs("blob", "unspeakable")
    async def test_a_result_that_cannot_be_sent_is_an_error(self) -> None:
        """Too large, or of a type that no message holds: -32603, and the worker is unharmed."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            assert (await self._error(runtime, handle, "unspeakable")).code == -32603
            assert (await self._error(runtime, handle, "blob", self.max_frame)).code == -32603
            assert await self.call(runtime, handle, "echo", 1) == 1

    async def test_what_cannot_be_sent_is_refused_at_once(self) -> None:
        """Before there is a worker: FrameTooLarge, or a TypeError that says where the trouble sits."""
        runtime = self.make_runtime()
        with pytest.raises(FrameTooLarge):
            runtime.prepare("echo", b"x" * self.max_frame)
        with pytest.raises(TypeError, match="'b'"):
            runtime.prepare("echo", {"a": 1, "b": object()})

    @needs("echo")
    async def test_large_values_travel_both_ways(self) -> None:
        """Larger than any buffer on the way."""
        runtime = self.make_runtime()
        size = min(LARGE, self.max_frame // 2)
        async with self.ready(runtime) as handle:
            text = "0123456789abcdef" * (size // 16)
            assert await self.call(runtime, handle, "echo", text) == text
            assert await self.call(runtime, handle, "echo", "small") == "small"

    @needs("echo")
    async def test_many_calls_are_answered_in_turn(self) -> None:
        """Each with its own answer."""
        runtime = self.make_runtime()
        answers: list[Any] = []
        async with self.ready(runtime) as handle:
            await self.call_each(runtime, handle, range(500), answers)
        assert answers == list(range(500))

    @needs("echo")
    async def test_two_workers_do_not_mix_their_answers(self) -> None:
        """Side by side, under the same load."""
        runtime = self.make_runtime()
        answers: list[list[Any]] = [[], []]
        async with self.started(runtime, workers=2) as handles, trio.open_nursery() as nursery:
            for number, handle in enumerate(handles):
                await handle.ready()
                values = [f"{number}:{each}" for each in range(100)]
                nursery.start_soon(self.call_each, runtime, handle, values, answers[number])
        assert answers == [[f"{number}:{each}" for each in range(100)] for number in range(2)]

    @needs("sleep")
    async def test_as_many_calls_at_once_as_announced(self) -> None:
        """As many others pass a long one, side by side, and none gets another's answer; perhaps it is none."""
        runtime = self.make_runtime()
        answers: list[list[Any]] = []
        async with self.ready(runtime) as handle, trio.open_nursery() as nursery:
            nursery.start_soon(self.call, runtime, handle, "sleep", [LONG])
            async with trio.open_nursery() as callers:
                for caller in range(1, handle.concurrency):
                    answers.append([])
                    values = [f"{caller}:{each}" for each in range(100)]
                    callers.start_soon(self.call_each, runtime, handle, values, answers[-1])
            nursery.cancel_scope.cancel()
        assert answers == [
            [f"{caller}:{each}" for each in range(100)] for caller in range(1, len(answers) + 1)
        ]

    async def _error(
        self, runtime: Runtime, handle: WorkerHandle, method: str, params: Any = None
    ) -> ApplicationError:
        with pytest.raises(ApplicationError) as caught:
            await self.call(runtime, handle, method, params)
        return caught.value
