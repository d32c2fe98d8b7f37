"""Large buffers: what arrives as what, what is never overwritten, what is reused, refused, and left."""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import buffers_jobs as jobs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import (
    ForkRuntime,
    FrameTooLarge,
    PipeRuntime,
    ProtocolError,
    WorkerDied,
    WorkerPool,
    open_pool,
)
from trio_folk.abc import Birth, Runtime, WorkerId
from trio_folk.runtimes import _buffers
from trio_folk.testing import assert_nothing_left

# Imported before any test: both start threads, which are not left by a pool.
numpy: Any
arrow: Any
try:
    import numpy
except ImportError:
    numpy = None
try:
    import pyarrow as arrow
except ImportError:
    arrow = None

needs_numpy = pytest.mark.skipif(numpy is None, reason="needs numpy")

HERE = str(Path(__file__).parent)
BOUND = 60
MIB = 1 << 20
LARGE = 600_000  # bytes; more than the threshold, and no round number

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create(2)")


def python(**settings: Any) -> PipeRuntime:
    return PipeRuntime.python(env={"PYTHONPATH": HERE}, **settings)


@asynccontextmanager
async def one_worker(runtime: Runtime | None = None) -> AsyncIterator[WorkerPool]:
    """A pool of one, all of whose calls go to the same worker."""
    with trio.fail_after(BOUND):
        async with open_pool(runtime or python(), slots=1) as pool:
            yield pool


class Holder:
    """A class of the user's whose pickle hands out its memory."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Holder, (pickle.PickleBuffer(self.memory),)


# -- what arrives


@pytest.mark.parametrize("make", [python, lambda **more: ForkRuntime(env={"PYTHONPATH": HERE}, **more)])
@pytest.mark.parametrize(
    ("transfer", "of_bytes", "of_bytearray", "of_memoryview"),
    [
        ("auto", ("bytes", False), ("bytearray", True), ("memoryview", False)),
        ("view", ("memoryview", False), ("memoryview", False), ("memoryview", False)),
        ("copy", ("bytes", False), ("bytearray", True), ("memoryview", True)),
    ],
)
async def test_each_transfer_gives_the_types_it_promises(
    make: Callable[..., Runtime], transfer: str, of_bytes: Any, of_bytearray: Any, of_memoryview: Any
) -> None:
    """In the worker and back here."""
    memory = bytes(range(250)) * (LARGE // 250)
    async with one_worker(make(transfer=transfer)) as pool:
        for value, expected in (
            (memory, of_bytes),
            (bytearray(memory), of_bytearray),
            (memoryview(bytearray(memory)), of_memoryview),
        ):
            assert tuple(await pool.run_sync(jobs.kind, value)) == expected
            back = await pool.run_sync(jobs.echo, value)
            assert jobs.kind(back) == expected
            assert back == value


@needs_numpy
@pytest.mark.parametrize(("transfer", "writable"), [("auto", False), ("view", False), ("copy", True)])
async def test_arrays_arrive_as_views_unless_copies_are_asked_for(transfer: str, writable: bool) -> None:
    """numpy's arrays, of any shape and order."""
    async with one_worker(python(transfer=transfer)) as pool:
        for array in (numpy.arange(100_000.0), numpy.ones((300, 500), order="F"), numpy.arange(10)):
            back = await pool.run_sync(jobs.echo, array)
            assert numpy.array_equal(back, array)
            assert back.flags.f_contiguous == array.flags.f_contiguous
        array = numpy.arange(100_000.0)
        assert await pool.run_sync(jobs.kind, array) == ("ndarray", writable)
        assert jobs.kind(await pool.run_sync(jobs.echo, array)) == ("ndarray", writable)


@pytest.mark.skipif(arrow is None, reason="needs pyarrow")
async def test_arrow_tables_arrive() -> None:
    """Their buffers are shared; what they say is the same."""
    table = arrow.table({"a": list(range(100_000)), "b": [str(n) for n in range(100_000)]})
    async with one_worker() as pool:
        assert (await pool.run_sync(jobs.echo, table)).equals(table)


async def test_members_of_a_tuple_list_or_dict_are_shared_too() -> None:
    """One level deep, several at once, beside what is small; the types stay."""
    first, second = b"a" * LARGE, bytearray(b"b") * (LARGE + 1)
    async with one_worker() as pool:
        for value in ((first, 1, second), [second, None, first], {"x": first, 2: second, "y": "z"}):
            back = await pool.run_sync(jobs.echo, value)
            assert back == value
            assert type(back) is type(value)
        nested = [[first], {"deep": (second,)}]  # these go through the frame
        assert await pool.run_sync(jobs.echo, nested) == nested


@pytest.mark.parametrize("size", [0, 10, LARGE])
async def test_memoryviews_travel_whatever_their_size_and_shape(size: int) -> None:
    """Pickle refuses them. Of several dimensions, of other items than bytes, with gaps."""
    flat = memoryview(bytearray(range(256)) * (size // 256 + 1))
    async with one_worker() as pool:
        for view in (flat[:size], flat.cast("H"), flat.cast("B", (2, len(flat) // 2)), flat[::2]):
            back = await pool.run_sync(jobs.echo, view)
            assert back == view
            assert back.readonly
            assert (back.format, back.shape) == (view.format, view.shape)


def test_a_memoryview_that_cannot_be_rebuilt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of items that no memoryview can be cast to; it says what to do."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(TypeError, match="cast it to bytes"):
        python().prepare_python(jobs.echo, (memoryview((ctypes.c_short.__ctype_be__ * 4)()),), {})


async def test_own_classes_share_what_their_pickles_hand_out() -> None:
    """PickleBuffer is all that it takes."""
    async with one_worker() as pool:
        back = await pool.run_sync(jobs.echo, Holder(b"h" * LARGE))
        assert isinstance(back.memory, memoryview)
        assert back.memory.readonly
        assert back.memory == b"h" * LARGE


async def test_values_beyond_a_frame_travel() -> None:
    """40 MiB, where a frame has 16."""
    async with one_worker() as pool:
        value = os.urandom(MIB) * 40
        assert await pool.run_sync(jobs.echo, value) == value
        assert await pool.run_sync(jobs.total, b"\x01" * 40 * MIB) == 40 * MIB


@pytest.mark.parametrize("chunk", ["auto", 4])
async def test_large_items_of_a_map_are_calls_of_their_own(chunk: Any) -> None:
    """Among small ones, beyond a frame, and back: each through shared memory. What says nothing of its size too."""
    values = [
        b"a" * 20 * MIB,
        b"b",
        bytearray(b"c" * LARGE),
        [b"d" * 20 * MIB],
        memoryview(b"e" * LARGE),
        b"f",
    ]
    async with one_worker() as pool:
        async with pool.map(jobs.echo, values * 2, chunk=chunk) as results:
            back = [each async for each in results]
        assert back == values * 2
        assert [type(each) for each in back[:6]] == [bytes, bytes, bytearray, list, memoryview, bytes]
        assert pool._core.counts.succeeded == 12  # an item is counted once, in whatever it travelled


@pytest.mark.parametrize("large", [b"a" * LARGE, bytearray(LARGE), memoryview(b"c" * LARGE)])
def test_a_large_item_is_not_put_into_a_chunk(large: Any) -> None:
    """Whoever prepares it is told so at once; where nothing is shared it goes into the frame."""
    items = [(large,), (1,)]
    assert python().prepare_chunk(jobs.echo, items, seconds=1, stop=False) is None
    chunk = python(max_shared=0).prepare_chunk(jobs.echo, items, seconds=1, stop=False)
    assert chunk is not None
    assert chunk.count == 2


# -- what is held is not overwritten


async def test_results_that_are_held_stay_as_they_are() -> None:
    """Through twenty further calls, a death of the worker, and the end of the pool."""
    runtime = python(max_shared=64 * MIB)
    async with one_worker(runtime) as pool:
        held = [await pool.run_sync(jobs.filled, byte, LARGE) for byte in range(20)]
        pid = await pool.run_sync(os.getpid)
        os.kill(pid, 9)
        while True:
            try:
                assert await pool.run_sync(os.getpid) != pid
                break
            except WorkerDied:
                continue
        held += [await pool.run_sync(jobs.filled, byte, LARGE) for byte in range(20, 30)]
    assert [(view[0], view[-1], len(view)) for view in held] == [(byte, byte, LARGE) for byte in range(30)]
    assert jobs.count() >= 30
    held.clear()
    assert jobs.count() == 0


async def test_a_slice_keeps_the_whole_from_being_overwritten() -> None:
    """Also one that numpy made of it."""
    async with one_worker() as pool:
        piece = (await pool.run_sync(jobs.filled, 7, LARGE))[1000:1010]
        for byte in range(10):
            await pool.run_sync(jobs.filled, byte, LARGE)
        assert piece == b"\x07" * 10


async def test_arguments_that_the_worker_keeps_stay_as_they_are() -> None:
    """Until it lets go: then their memory is used again."""
    async with one_worker() as pool:
        for byte in range(5):
            await pool.run_sync(jobs.keep, memoryview(bytes([byte]) * LARGE))
        for _ in range(10):
            assert await pool.run_sync(jobs.total, memoryview(b"\xff" * LARGE)) == LARGE
        assert await pool.run_sync(jobs.kept_bytes) == [(byte, byte) for byte in range(5)]
        before = jobs.count()
        await pool.run_sync(jobs.let_go)
        for byte in range(5):
            await pool.run_sync(jobs.keep, memoryview(bytes([byte]) * LARGE))
        assert jobs.count() == before


async def test_a_failed_call_keeps_nothing() -> None:
    """Its traceback held the argument; the next call has the same memory."""
    async with one_worker() as pool:
        for _ in range(5):
            with pytest.raises(ValueError, match=str(LARGE)):
                await pool.run_sync(jobs.raise_with, memoryview(bytes(LARGE)))
        assert jobs.count() == 1


async def test_a_forked_child_of_the_worker_tells_nothing() -> None:
    """What it lets go of is its copy: the worker still has its own."""
    async with one_worker() as pool:
        await pool.run_sync(jobs.keep, memoryview(b"\x05" * LARGE))
        assert await pool.run_sync(jobs.fork_and_forget, memoryview(b"\x06" * LARGE)) == 0
        await pool.run_sync(jobs.total, memoryview(b"\x07" * LARGE))
        assert await pool.run_sync(jobs.kept_bytes) == [(5, 5)]


# -- what is reused, bounded and left


async def test_segments_are_used_again() -> None:
    """One for arguments and one for results serve any number of calls; no descriptor stays."""
    async with one_worker() as pool:
        open_before = len(os.listdir("/proc/self/fd"))
        for size in range(LARGE, LARGE + 30):
            assert await pool.run_sync(jobs.echo, bytes(size)) == bytes(size)
        assert jobs.count() == 2
        assert await pool.run_sync(jobs.count) == 2
        assert len(os.listdir("/proc/self/fd")) == open_before


async def test_what_finds_no_room_goes_through_the_frame() -> None:
    """Results that are held fill the worker's share; arguments that it keeps fill ours."""
    async with one_worker(python(max_shared=2 * MIB)) as pool:
        results = [await pool.run_sync(jobs.filled, byte, LARGE) for byte in range(6)]
        assert [view[0] for view in results] == list(range(6))
        assert jobs.count() == 2
        for byte in range(6):
            await pool.run_sync(jobs.keep, memoryview(bytes([byte]) * LARGE))
        assert await pool.run_sync(jobs.kept_bytes) == [(byte, byte) for byte in range(6)]


async def test_what_fits_nowhere_is_refused_and_says_what_to_do() -> None:
    """Before it takes a slot where that is known; the worker is unharmed."""
    async with one_worker(python(max_shared=24 * MIB)) as pool:
        pid = await pool.run_sync(os.getpid)
        with pytest.raises(FrameTooLarge, match="max_shared"):
            await pool.run_sync(jobs.total, bytes(25 * MIB))
        await pool.run_sync(jobs.keep, memoryview(bytes(20 * MIB)))
        with pytest.raises(FrameTooLarge, match="let go of"):
            await pool.run_sync(jobs.total, bytes(20 * MIB))
        await pool.run_sync(jobs.let_go)
        assert await pool.run_sync(jobs.total, bytes(20 * MIB)) == 20 * MIB
        assert await pool.run_sync(os.getpid) == pid


async def test_segments_of_other_sizes_make_room() -> None:
    """What is idle never keeps a value out."""
    async with one_worker(python(max_shared=24 * MIB)) as pool:
        for size in (12, 1, 5, 20, 3, 22):
            assert await pool.run_sync(jobs.echo, bytes(size * MIB)) == bytes(size * MIB)


@needs_numpy
async def test_without_shared_memory_everything_is_as_before() -> None:
    """``max_shared=0``."""
    async with one_worker(python(max_shared=0)) as pool:
        back = await pool.run_sync(jobs.echo, (bytes(LARGE), numpy.ones(100_000), memoryview(b"abc")))
        assert back[0] == bytes(LARGE)
        assert back[1].flags.writeable
        assert back[2] == b"abc"
        with pytest.raises(FrameTooLarge):
            await pool.run_sync(jobs.total, bytes(25 * MIB))
        assert jobs.count() == 0


async def test_idle_segments_go_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides; what somebody holds stays, and goes when it is let go of."""
    monkeypatch.setattr(_buffers, "IDLE", 0.2)
    async with one_worker() as pool:
        held = await pool.run_sync(jobs.echo, memoryview(bytes(LARGE)))
        assert jobs.count() == 2
        while jobs.count() > 1:
            await trio.sleep(0.02)
        assert held == bytes(LARGE)
        del held
        while jobs.count():
            await trio.sleep(0.02)
        while await pool.run_sync(jobs.count):
            await trio.sleep(0.02)
        assert await pool.run_sync(jobs.echo, bytes(LARGE)) == bytes(LARGE)


async def test_nothing_is_left_of_a_pool() -> None:
    """No mapping, no descriptor, no file."""
    async with assert_nothing_left():
        async with one_worker() as pool:
            await pool.run_sync(jobs.echo, bytes(LARGE))
        assert jobs.count() == 0


async def test_nothing_is_inherited_by_what_the_worker_starts() -> None:
    """Not even by a program that asks for everything."""
    async with one_worker() as pool:
        await pool.run_sync(jobs.keep, memoryview(bytes(LARGE)))
        inherited = await pool.run_sync(jobs.descriptors_of_a_child, bytes(LARGE))
        assert not [name for name in inherited if "memfd" in name]


async def test_a_cancelled_call_gives_its_memory_back() -> None:
    """With a worker that ended the call in time, and with one that had to be ended."""
    async with one_worker() as pool:
        for _ in range(3):
            with trio.move_on_after(0.05):
                await pool.run_sync(jobs.nap, memoryview(bytes(LARGE)), 0.2)
        assert await pool.run_sync(jobs.total, memoryview(bytes(LARGE))) == LARGE
        assert jobs.count() == 1
        with trio.move_on_after(0.05):
            await pool.run_sync(jobs.nap, memoryview(bytes(LARGE)), 30)
        assert await pool.run_sync(jobs.total, memoryview(bytes(LARGE))) == LARGE
        assert jobs.count() == 1


async def test_cancelling_the_copy_sends_nothing() -> None:
    """64 MiB take many steps; the worker hears of none."""
    async with one_worker() as pool:
        pid = await pool.run_sync(os.getpid)
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.run_sync(jobs.total, bytes(64 * MIB))
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run_sync, jobs.total, bytes(64 * MIB))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert await pool.run_sync(jobs.total, bytes(LARGE)) == LARGE
        assert pid


async def test_the_loop_goes_on_while_much_is_copied() -> None:
    """Another task gets many turns during one large call."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with one_worker() as pool, trio.open_nursery() as nursery:
        await pool.run_sync(jobs.total, bytes(LARGE))
        nursery.start_soon(count_turns)
        value = bytes(64 * MIB)
        await trio.lowlevel.checkpoint()
        turns = 0
        await pool.run_sync(jobs.total, value)
        assert turns >= 15
        nursery.cancel_scope.cancel()


async def test_several_calls_at_once_have_segments_of_their_own() -> None:
    """A worker that runs calls in threads."""
    runtime = PipeRuntime.python("trio_folk.testing.contract_worker:async_worker", env={"PYTHONPATH": HERE})
    async with one_worker(runtime) as pool, trio.open_nursery() as nursery:

        async def check(byte: int) -> None:
            for _ in range(5):
                back = await pool.run_sync(jobs.echo, memoryview(bytes([byte]) * LARGE))
                assert back == bytes([byte]) * LARGE

        for byte in range(8):
            nursery.start_soon(check, byte)


async def test_calls_that_a_worker_holds_keep_their_segments_apart() -> None:
    """A busy worker is given several calls; some are taken back behind a long one, and run afterwards."""
    async with open_pool(python(), slots=2) as pool, trio.open_nursery() as nursery:

        async def check(byte: int) -> None:
            with trio.fail_after(BOUND):
                await pool.run_sync(jobs.nap, b"", 0.05 if byte % 20 == 0 else 0)
                back = await pool.run_sync(jobs.echo, memoryview(bytes([byte]) * LARGE))
                assert back == bytes([byte]) * LARGE

        for byte in range(100):
            nursery.start_soon(check, byte)


async def test_ctypes_is_imported_with_the_first_large_buffer() -> None:
    """It costs ten milliseconds, which no other worker pays."""
    async with one_worker() as pool:
        assert "ctypes" not in await pool.run_sync(jobs.modules)
        await pool.run_sync(jobs.total, bytes(LARGE))
        assert "ctypes" in await pool.run_sync(jobs.modules)


@pytest.mark.parametrize(
    ("setting", "value"), [("transfer", "move"), ("max_shared", -1), ("max_shared", 1.5)]
)
def test_settings_that_make_no_sense_are_refused(setting: str, value: object) -> None:
    """By name, when the runtime is made."""
    for make in (PipeRuntime.python, ForkRuntime):
        with pytest.raises(ValueError, match=setting):
            make(**{setting: value})


# -- workers that break the rules

LIES = {
    "a file": "fd = os.open('/dev/zero', os.O_RDONLY); announce(1, PAGE, fd)",
    "not sealed": "announce(1, PAGE, memfd(PAGE, 0))",
    "may shrink": "announce(1, PAGE, memfd(PAGE, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL))",
    "smaller than told": "announce(1, 4 * PAGE, memfd(PAGE))",
    "larger than allowed": "announce(1, 1 << 40, memfd(1 << 40))",
    "announced twice": "announce(1, PAGE, memfd(PAGE)); announce(1, PAGE, memfd(PAGE))",
    "no number": "announce(-1, PAGE, memfd(PAGE))",
    "no descriptor": "control.sendall(encode_notify('folk.segment', {'segment': 1, 'size': PAGE}))",
    "no params": "socket.send_fds(control, [encode_notify('folk.segment', 7)], [memfd(PAGE)])",
    "a segment never announced": "loan = [5, [0, 10, 0]]",
    "beyond its end": "announce(1, PAGE, memfd(PAGE)); loan = [1, [PAGE - 5, 10, 0]]",
    "before its beginning": "announce(1, PAGE, memfd(PAGE)); loan = [1, [-5, 10, 0]]",
    "of no known kind": "announce(1, PAGE, memfd(PAGE)); loan = [1, [0, 10, 3]]",
    "no loan": "loan = 'x'",
    "no kinds": "announce(1, PAGE, memfd(PAGE)); loan = [1, [0, 10]]",
    "dropped unknown": "control.sendall(encode_notify('folk.dropped', [4]))",
}
LIAR = """\
#!{python}
import fcntl, mmap, os, pickle, socket, sys
sys.path[:0] = {path!r}
from trio_folk._wire import MessageDecoder, Request, encode_notify, encode_response
PAGE = mmap.PAGESIZE
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
task, control = socket.socket(fileno=3), socket.socket(fileno=4)

def memfd(size, seals=SEALS):
    fd = os.memfd_create("trio_folk", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd

def announce(number, size, fd):
    socket.send_fds(control, [encode_notify("folk.segment", {{"segment": number, "size": size}})], [fd])

control.sendall(encode_notify("control.ready", {{"folk": {{"features": ["python", "buffers"]}}}}))
decoder = MessageDecoder()
while data := task.recv(65536):
    for message in decoder.feed(data):
        if isinstance(message, Request):
            loan = None
            {lie}
            result = pickle.dumps(b"") if loan is None else [pickle.dumps(b""), loan]
            task.sendall(encode_response(message.msgid, None, result))
"""


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_worker_that_lies_about_segments_is_ended(tmp_path: Path, lie: str) -> None:
    """Nothing of it is mapped or kept; the pool is told what it did."""
    script = tmp_path / "liar"
    script.write_text(LIAR.format(python=sys.executable, path=sys.path, lie=lie))
    script.chmod(0o755)
    runtime = PipeRuntime.python(executable=str(script))
    async with assert_nothing_left():
        with trio.fail_after(BOUND):
            async with trio.open_nursery() as nursery:
                handle = await nursery.start(runtime.spawn, Birth(WorkerId("p", 0, 1)))
                await handle.ready()
                job = runtime.prepare_python(jobs.echo, (bytes(LARGE),), {})
                with suppress(ProtocolError, WorkerDied):
                    await handle.execute(job)
                await handle.ended.wait()
                assert "broke the protocol" in handle.reason
    assert jobs.count() == 0
