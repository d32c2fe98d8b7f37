"""The contract, part two: Python functions, their arguments, results and exceptions, by pickle."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Any

import pytest

from .._errors import FrameTooLarge, RemoteError
from ..abc import Runtime, WorkerHandle
from . import _contract_jobs as jobs
from ._contract_base import ContractBase, needs

__all__ = ["PythonContract"]

_LARGE = 5 * 1024 * 1024


class PythonContract(ContractBase):
    """`Runtime.prepare_python`, where `Traits.python` is true; and where it is not, that it says so."""

    async def run(self, runtime: Runtime, handle: WorkerHandle, fn: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the worker."""
        return await handle.execute(runtime.prepare_python(fn, args, {}))

    @needs(python=False)
    async def test_functions_are_refused_where_they_cannot_run(self) -> None:
        """A TypeError, when the call is prepared."""
        runtime = self.make_runtime()
        with pytest.raises(TypeError):
            runtime.prepare_python(operator.add, (1, 2), {})

    @needs(python=True)
    async def test_functions_get_their_arguments_and_return_their_results(self) -> None:
        """By position and by keyword, of any type that pickles; the same function again and again."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            for number in range(50):
                assert await self.run(runtime, handle, operator.add, number, 1) == number + 1
            job = runtime.prepare_python(jobs.keywords, ((1, {2}),), {"x": b"y"})
            assert await handle.execute(job) == (((1, {2}),), {"x": b"y"})

    @needs(python=True)
    async def test_a_chunk_gives_each_item_its_own_outcome(self) -> None:
        """As many items as it says that it holds; a runtime that knows no chunks says so with None."""
        runtime = self.make_runtime()
        items = [(number,) for number in (4, 2, 0, 1)]
        job = runtime.prepare_chunk(jobs.divide, items, seconds=60, stop=False)
        if job is None:
            return
        async with self.ready(runtime) as handle:
            reply = await handle.execute(job)
            assert 1 <= len(reply.values) <= job.count <= len(items)
            for place, (number,) in enumerate(items[: len(reply.values)]):
                if number:
                    assert reply.values[place] == 1 / number
                else:
                    assert isinstance(reply.failures.pop(place), ZeroDivisionError)
            assert not reply.failures
            assert reply.seconds >= 0

    @needs(python=True)
    async def test_large_arguments_and_results_travel(self) -> None:
        """Five MiB each way."""
        runtime = self.make_runtime()
        size = min(_LARGE, self.max_frame // 2)
        async with self.ready(runtime) as handle:
            assert await self.run(runtime, handle, bytes.upper, b"x" * size) == b"X" * size

    @needs(python=True)
    async def test_large_bytes_arrive_as_what_they_were(self) -> None:
        """However they travel: alone, and as members of a tuple. A memoryview arrives as one."""
        runtime = self.make_runtime()
        size = min(_LARGE, self.max_frame // 4)
        async with self.ready(runtime) as handle:
            for value in (b"x" * size, bytearray(b"y" * size), (b"x" * size, 1, bytearray(size))):
                back = await self.run(runtime, handle, jobs.echo, value)
                assert back == value
                assert type(back) is type(value)
            view = memoryview(b"v" * size)
            back = await self.run(runtime, handle, jobs.echo, view)
            assert isinstance(back, memoryview)
            assert back == view

    @needs(python=True)
    async def test_results_that_are_held_are_never_overwritten(self) -> None:
        """By no later call, and not when the worker has ended. The same for arguments that a worker keeps."""
        runtime = self.make_runtime()
        size = min(_LARGE, self.max_frame // 4)
        async with self.ready(runtime) as handle:
            held = [
                await self.run(runtime, handle, jobs.echo, memoryview(bytes([n]) * size)) for n in range(5)
            ]
            assert await self.run(runtime, handle, jobs.keep, memoryview(b"k" * size)) == b"k"
            for number in range(5):
                await self.run(runtime, handle, jobs.echo, memoryview(bytes([number + 100]) * size))
            assert await self.run(runtime, handle, jobs.kept) == b"k"
        assert [(view[0], view[-1]) for view in held] == [(n, n) for n in range(5)]

    @needs(python=True)
    async def test_workers_that_share_memory_take_more_than_a_frame(self) -> None:
        """Those that announce ``buffers``, both ways."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            if "buffers" in handle.features:
                value = b"x" * (self.max_frame + 1)
                assert await self.run(runtime, handle, jobs.echo, value) == value

    @needs(python=True)
    async def test_an_exception_is_raised_as_itself(self) -> None:
        """With the worker's traceback as a note; a group too."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with pytest.raises(ValueError, match="on purpose") as caught:
                await self.run(runtime, handle, jobs.raise_value_error, "on purpose")
            assert "raise_value_error" in "".join(caught.value.__notes__)
            with pytest.raises(ExceptionGroup) as group:
                await self.run(runtime, handle, jobs.raise_group)
            assert [type(each) for each in group.value.exceptions] == [ValueError, KeyError]
            assert await self.run(runtime, handle, operator.add, 1, 1) == 2

    @pytest.mark.parametrize(
        ("fn", "kind"),
        [
            (jobs.raise_system_exit, "SystemExit"),
            (jobs.raise_picky, "Picky"),
            (jobs.raise_trios, "trio.TooSlowError"),
            (jobs.raise_ours, "WorkerDied"),
            (jobs.raise_group_with_trios, "ExceptionGroup"),
        ],
    )
    @needs(python=True)
    async def test_what_must_not_travel_becomes_a_remote_error(
        self, fn: Callable[..., Any], kind: str
    ) -> None:
        """What cannot be pickled, what is no Exception, and what the caller could take for its own."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with pytest.raises(RemoteError) as caught:
                await self.run(runtime, handle, fn)
            error = caught.value
            assert error.remote_type.endswith(kind)
            assert fn.__name__ in error.remote_traceback
            assert error.worker == str(handle.id)
            assert await self.run(runtime, handle, operator.add, 1, 1) == 2

    @needs(python=True)
    async def test_a_result_that_cannot_be_pickled_is_a_remote_error(self) -> None:
        """It names the function; the worker is unharmed."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            with pytest.raises(RemoteError, match="return_a_lock"):
                await self.run(runtime, handle, jobs.return_a_lock)
            assert await self.run(runtime, handle, operator.add, 1, 1) == 2

    @needs(python=True)
    async def test_arguments_that_cannot_be_sent_are_refused_at_once(self) -> None:
        """Before there is a worker: unpicklable, or larger than a frame."""
        runtime = self.make_runtime()
        with pytest.raises(TypeError, match="keywords"):
            runtime.prepare_python(jobs.keywords, (threading.Lock(),), {})
        with pytest.raises(FrameTooLarge):
            runtime.prepare_python(jobs.keywords, ("x" * self.max_frame,), {})

    @needs(python=True)
    async def test_functions_and_methods_share_a_worker(self) -> None:
        """One after the other, on the same one."""
        runtime = self.make_runtime()
        async with self.ready(runtime) as handle:
            for number in range(20):
                assert await self.call(runtime, handle, "echo", number) == number
                assert await self.run(runtime, handle, operator.neg, number) == -number

    @needs(python=True)
    async def test_functions_are_new_to_each_worker(self) -> None:
        """What one worker was told, the next one is told again."""
        runtime = self.make_runtime()
        job = runtime.prepare_python(operator.neg, (3,), {})
        async with self.started(runtime, workers=2) as handles:
            for handle in handles:
                await handle.ready()
                assert await handle.execute(job) == -3
