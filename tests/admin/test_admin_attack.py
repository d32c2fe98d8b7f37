"""An admin socket under attack: bytes of any kind, clients that are slow, silent or many, and another user.

After each, the pool is what it was, and the next honest client is served.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import tracemalloc
from contextlib import suppress
from functools import partial
from typing import Any

import msgpack
import pytest
import trio
from admin_kit import BOUND, CONFIG, folder, hear, hear_end, raw, served
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_folk import BackendRefused, admin, open_pool
from trio_folk._wire import Notify, Response, encode_request, pack
from trio_folk.admin._desk import Desk
from trio_folk.admin._session import Session
from trio_folk.admin._terms import (
    EVENTS,
    IDLE_TIMEOUT,
    MOST_CLIENTS,
    REFUSED,
    REQUEST_FRAME,
    SEND_TIMEOUT,
    VERBS,
    WATCH,
    WINDOW,
)
from trio_folk.testing import FaultyRuntime

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4)
)
HARMLESS = [verb for verb in VERBS if not verb.endswith(("drain", "events", "watch"))]
PARAMS = st.dictionaries(st.sampled_from(["pool", "slot", "slots", "interval", "x"]), VALUES, max_size=3)


def frame(value: Any) -> bytes:
    payload: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return struct.pack(">I", len(payload)) + payload


async def converse(data: bytes, cuts: list[int]) -> tuple[list[Any], Any]:
    """Send all that in pieces over a connection in memory, then end it; what came back, and the pool's numbers."""
    async with open_pool(FaultyRuntime(), config=CONFIG) as pool:
        await pool.wait_ready(3)
        ours, theirs = trio.testing.memory_stream_pair()
        session = Session(Desk([pool], dict), theirs)
        with trio.fail_after(BOUND):
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    await session.run()
                    await theirs.aclose()

                nursery.start_soon(run)
                with suppress(trio.BrokenResourceError):
                    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                        await ours.send_all(data[start:end])
                await trio.testing.wait_all_tasks_blocked()
                await ours.send_eof()
                heard = await hear_end(ours)  # type: ignore[arg-type]
        return heard, pool.statistics()


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), where=st.lists(st.floats(0, 1), max_size=3))
def test_any_bytes_end_the_connection_and_nothing_else(data: bytes, where: list[float]) -> None:
    """Whatever they are and however they are cut; nothing was done to the pool."""
    cuts = sorted(int(share * len(data)) for share in where)
    _, pool = trio.run(converse, data, cuts)
    assert (pool.ready, pool.recycled, pool.generation) == (3, 0, 0)


@settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(HARMLESS) | st.text(max_size=20),
    params=PARAMS | VALUES,
    msgid=st.integers(0, 2**32 - 1),
)
def test_any_request_has_one_answer(method: str, params: Any, msgid: int) -> None:
    """A result or an error with a code and a sentence, and the connection goes on."""
    with suppress(UnicodeEncodeError, OverflowError):
        data = frame([0, msgid, method, params]) + frame([0, 7, "admin.list", {}])
        heard, _ = trio.run(converse, data, [])
        answers = [each for each in heard if isinstance(each, Response)]
        assert sorted(each.msgid for each in answers) == sorted([msgid, 7])
        for answer in answers:
            if answer.error is not None:
                assert isinstance(answer.error["code"], int)
                assert answer.error["message"]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(value=VALUES | st.lists(VALUES, max_size=5))
def test_any_value_as_a_message_is_refused_or_answered(value: Any) -> None:
    """Responses to nobody, notifies, arrays too long: none stops the next client."""
    with suppress(UnicodeEncodeError, OverflowError):
        _, pool = trio.run(converse, frame(value), [])
        assert pool.ready == 3


@pytest.mark.parametrize("length", [REQUEST_FRAME + 1, 16 * 2**20, 2**32 - 1])
async def test_frame_that_is_too_long_is_refused_before_room_is_made(length: int) -> None:
    """The claim alone ends the connection."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"), raw(path) as stream:
            await trio.testing.wait_all_tasks_blocked(0.05)
            tracemalloc.start()
            await stream.send_all(struct.pack(">I", length))
            with trio.fail_after(IDLE_TIMEOUT / 2):  # at once, and not as one that is silent
                assert await hear_end(stream) == []
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 2**20


async def test_arrays_that_claim_to_be_large_take_no_room() -> None:
    """A header of five bytes is no reason for memory, as deep as they nest."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"), raw(path) as stream:
            payload = b"\x94\x00\x01\xaaadmin.list" + b"\xdd\xff\xff\xff\xff" * 1000
            tracemalloc.start()
            await stream.send_all(struct.pack(">I", len(payload)) + payload)
            assert await hear_end(stream) == []
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 4 * 2**20


# -- clients that are slow, silent, or many


async def attended(client: trio.abc.HalfCloseableStream, theirs: trio.abc.Stream, **options: Any) -> float:
    """How long a session lasts, in trio's time, that this client does not end."""
    async with open_pool(FaultyRuntime(), config=CONFIG) as pool:
        began = trio.current_time()
        await Session(Desk([pool], dict), theirs).run()
        return trio.current_time() - began


async def test_silent_client_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    """One that says nothing at all."""
    ours, theirs = trio.testing.memory_stream_pair()
    assert await attended(ours, theirs) == pytest.approx(IDLE_TIMEOUT)


async def test_client_that_sends_a_byte_now_and_then_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Bytes give it no more time; only a whole request does."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def drip() -> None:
        with suppress(trio.BrokenResourceError):
            for byte in encode_request(1, "admin.list", pack({})):
                await ours.send_all(bytes([byte]))
                await trio.sleep(IDLE_TIMEOUT / 10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        assert await attended(ours, theirs) == pytest.approx(IDLE_TIMEOUT)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("method", [WATCH, "admin.list"])
async def test_client_that_does_not_read_is_dropped(
    autojump_clock: trio.testing.MockClock, method: str
) -> None:
    """Of a stream that has room for one frame only."""
    ours, theirs = trio.testing.lockstep_stream_pair()

    async def ask() -> None:
        await ours.send_all(encode_request(1, method, pack({})))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        assert await attended(ours, theirs) == pytest.approx(SEND_TIMEOUT)


async def test_subscriber_may_be_silent(autojump_clock: trio.testing.MockClock) -> None:
    """While something of it is open it has all the time; it is heard of when it goes."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def listen() -> None:
        await ours.send_all(encode_request(1, EVENTS, pack({})))
        await trio.sleep(20 * IDLE_TIMEOUT)
        await ours.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        assert await attended(ours, theirs) == pytest.approx(20 * IDLE_TIMEOUT)


async def test_client_with_too_many_requests_is_dropped() -> None:
    """Its window is known; whoever breaks it is broken."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"), raw(path) as stream:
            for number in range(WINDOW + 1):
                await stream.send_all(encode_request(number + 1, EVENTS, pack({})))
            assert len(await hear_end(stream)) <= WINDOW
            assert (await admin.connect(path)).pools == ("thumbs",)


async def test_one_client_too_many_is_told_to_come_back() -> None:
    """The others stay; when one leaves there is room."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"):
            crowd = [await trio.open_unix_socket(path) for _ in range(MOST_CLIENTS)]
            for stream in crowd:
                await stream.send_all(encode_request(1, "admin.list", pack({})))
                assert len(await hear(stream)) == 1
            with pytest.raises(BackendRefused) as refused:
                await admin.connect(path)
            assert (refused.value.reason, refused.value.retry_after) == ("busy", 1.0)
            async with raw(path) as stream:
                [told] = await hear_end(stream)
                assert isinstance(told, Notify)
                assert told.method == REFUSED
            for stream in crowd:
                await stream.aclose()
            with trio.fail_after(BOUND):
                while True:
                    with suppress(BackendRefused):
                        await admin.connect(path)
                        break
                    await trio.sleep(0.01)


async def test_hostile_clients_do_not_disturb_the_pool() -> None:
    """Sixteen of them, and calls go on."""
    with folder() as at:
        async with served(path := f"{at}/a.admin") as pool, trio.open_nursery() as nursery:

            async def pester(number: int) -> None:
                rubbish = [
                    b"\xff" * 5000,
                    struct.pack(">I", 60_000) + b"\xc1",
                    b"",
                    encode_request(1, WATCH, b"\x80"),
                ]
                while True:
                    with suppress(trio.BrokenResourceError, OSError):
                        async with raw(path) as stream:
                            await stream.send_all(rubbish[number % 4])
                            await trio.sleep(0.001)

            for number in range(MOST_CLIENTS):
                nursery.start_soon(pester, number)
            for number in range(200):
                assert await pool.execute("echo", number) == number
            nursery.cancel_scope.cancel()


async def test_bug_in_a_method_ends_its_own_request(caplog: pytest.LogCaptureFixture) -> None:
    """What a plugin raises is the answer, without a traceback; what it returns and nothing can hold, too."""

    class Broken(admin.Plugin):
        name = "broken"

        def methods(self) -> Any:
            return {"fails": self.fails, "odd": self.odd}

        async def fails(self, params: object) -> None:
            raise RuntimeError("it broke")

        async def odd(self, params: object) -> object:
            return {"a": object()}

    with folder() as at:
        async with (
            open_pool(FaultyRuntime(), slots=1) as pool,
            admin.open_plugins(pool, [Broken()]) as plugins,
        ):
            async with trio.open_nursery() as nursery:
                serve = partial(admin.serve, pool, f"{at}/a.admin", plugins=plugins)
                client = await admin.connect(await nursery.start(serve))
                with pytest.raises(Exception, match="it broke"):
                    await client.call("broken.fails")
                with pytest.raises(TypeError, match="cannot be encoded"):
                    await client.call("broken.odd")
                nursery.cancel_scope.cancel()


# -- another user

STRANGER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(30)
    try:
        sock.connect(sys.argv[1])
        sock.sendall(bytes.fromhex(sys.argv[2]))
        print("heard", sock.recv(1000))
    except OSError as error:
        print(type(error).__name__)
"""


async def stranger(path: str) -> str:
    """What another user gets there."""
    request = encode_request(1, "admin.drain", pack({})).hex()
    done = await trio.run_process(
        [sys.executable, "-I", "-S", "-c", STRANGER, path, request], capture_stdout=True, cwd="/"
    )
    return done.stdout.decode().strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_another_user_is_refused() -> None:
    """By the modes; and where somebody has opened those, by the kernel's word on who it is: closed unheard."""
    with folder() as at:
        async with served(path := f"{at}/a.admin") as pool:
            assert await stranger(path) == "PermissionError"
            os.chmod(at, 0o755)
            assert await stranger(path) == "PermissionError", "the socket itself is 0600"
            os.chmod(path, 0o666)
            assert await stranger(path) in ("heard b''", "ConnectionResetError", "BrokenPipeError")
            assert not pool.statistics().draining
            assert (await admin.connect(path)).pools == ("thumbs",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_socket_of_another_user_is_not_talked_to() -> None:
    """Its file says whose it is, before anything is sent."""
    with folder() as at:
        path = f"{at}/a.admin"
        with socket.socket(socket.AF_UNIX) as theirs:
            theirs.bind(path)
            os.chown(path, 65534, 65534)
            theirs.listen()
            with pytest.raises(Exception, match="belongs to uid 65534"):
                await admin.connect(path)
