"""A served pool is seen and steered from outside, by its own client, and nothing is left of it."""

from __future__ import annotations

import os
import socket
import stat
from functools import partial
from pathlib import Path

import pytest
import trio
from admin_kit import BOUND, CONFIG, folder, hear, raw, served

from trio_folk import AlreadyBound, FolkError, InvalidEndpoint, PoolClosed, WorkerDied, admin, open_pool
from trio_folk._wire import Response, encode_notify, encode_request, pack
from trio_folk.admin import _door
from trio_folk.admin._pace import Pace, Reader
from trio_folk.admin._pulse import Pulse
from trio_folk.admin._terms import VERBS
from trio_folk.testing import Fault, FaultyRuntime, Script


async def test_pool_is_seen() -> None:
    """Its name, its numbers, its slots, and how the last worker of each ended."""
    runtime = FaultyRuntime(
        lambda birth: Script(at_call={1: Fault.dies()} if birth.id.incarnation == 1 else {})
    )
    with folder() as at:
        async with served(path := f"{at}/a.admin", runtime) as pool:
            client = await admin.connect(path)
            assert (client.pid, client.pools) == (os.getpid(), ("thumbs",))
            overview = await client.overview()
            assert overview["methods"] == [*VERBS]
            [summary] = overview["pools"]
            assert (summary["name"], summary["slots"], summary["ready"], summary["wanted"]) == (
                "thumbs",
                3,
                3,
                3,
            )
            with pytest.raises(WorkerDied):
                await pool.execute("echo")
            await pool.wait_ready(3)
            [record] = await client.statistics()
            assert (record["died"], record["deaths"], record["budget"]["failed"]) == (1, 1, 1)
            [died] = [slot for slot in record["slots"] if slot["last_end"]]
            assert died["worker"] == f"thumbs/{died['number']}.2"
            assert died["last_end"]["worker"] == f"thumbs/{died['number']}.1"
            assert not died["last_end"]["planned"]
            assert 0 <= died["last_end"]["ago"] < BOUND


async def test_pool_is_steered() -> None:
    """Recycle, scale, reload and drain do what the pool's own methods do, and say the same."""
    with folder() as at:
        async with served(path := f"{at}/a.admin") as pool:
            client = await admin.connect(path)
            assert await client.recycle(1) == "thumbs/1.2"
            [record] = await client.statistics("thumbs")
            assert record["slots"][1]["last_end"]["planned"]
            assert await client.scale(1) == 1
            report = await client.reload()
            assert (report["generation"], len(report["slots"])) == (1, 1)
            assert await client.scale(None) == 3
            await pool.wait_ready(3)
            assert await client.drain() is True
            with pytest.raises(PoolClosed):
                await pool.execute("echo")
            with pytest.raises(PoolClosed):
                await client.reload()


async def test_mistakes_are_told_as_the_pool_tells_them() -> None:
    """Whoever asks for what makes no sense learns what would, and nothing was done."""
    with folder() as at:
        async with served(path := f"{at}/a.admin") as pool:
            client = await admin.connect(path)
            with pytest.raises(ValueError, match="the slots 0 to 2, and not 7"):
                await client.recycle(7)
            with pytest.raises(ValueError, match="can have 1 to 3 workers, not 0"):
                await client.scale(0)
            with pytest.raises(ValueError, match="there is no pool 'thumb'; there are: thumbs"):
                await client.statistics("thumb")
            with pytest.raises(TypeError, match="takes pool, slot, and not 'slots'"):
                await client.call("admin.recycle", {"slots": 1})
            with pytest.raises(TypeError, match="slots is missing"):
                await client.call("admin.scale", {})
            with pytest.raises(TypeError, match="takes a map"):
                await client.call("admin.drain", "thumbs")
            with pytest.raises(FolkError, match=r"there is no method 'admin.stop'"):
                await client.call("admin.stop")
            with pytest.raises(ValueError, match=r"interval is from 0.1 to 3600 seconds, not 0"):
                async with client.watch(interval=0):
                    pass
            assert pool.statistics().recycled == 0


async def test_errors_have_their_codes() -> None:
    """Those of JSON-RPC, for clients in other languages: no such method, invalid parameters, failed."""
    with folder() as at:
        async with served(path := f"{at}/a.admin") as pool, raw(path) as stream:
            await stream.send_all(encode_request(1, "admin.nothing", pack(None)))
            await stream.send_all(encode_request(2, "admin.scale", pack({"slots": "many"})))
            answers = {each.msgid: each.error["code"] for each in await hear(stream, 2)}
            await pool.drain()
            await stream.send_all(encode_request(3, "admin.scale", pack({"slots": 1})))
            [failed] = await hear(stream)
            assert isinstance(failed, Response)
            assert answers | {3: failed.error["code"]} == {1: -32601, 2: -32602, 3: -32603}


async def test_notify_is_not_answered() -> None:
    """And what comes after it is."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"), raw(path) as stream:
            await stream.send_all(
                encode_notify("admin.drain", {}) + encode_request(1, "admin.list", pack([]))
            )
            [answer] = await hear(stream)
            assert isinstance(answer, Response)
            assert not answer.result["pools"][0]["draining"]


async def test_events_come_as_they_happen() -> None:
    """With the pool's name; and they end when the pool does."""
    with folder() as at:
        async with trio.open_nursery() as nursery:
            async with open_pool(FaultyRuntime(), config=CONFIG, name="thumbs") as pool:
                await pool.wait_ready(3)
                path = await nursery.start(partial(admin.serve, pool, f"{at}/a.admin"))
                client = await admin.connect(path)
                stream = client.events()
                events = await stream.__aenter__()
                await client.recycle(2)
            heard = [event async for event in events]
            await stream.__aexit__(None, None, None)
            nursery.cancel_scope.cancel()
        assert [(event["kind"], event["worker"]) for event in heard][:2] == [
            ("retiring", "thumbs/2.1"),
            ("condemned", "thumbs/2.1"),
        ]
        assert {event["pool"] for event in heard} == {"thumbs"}
        assert heard[-1]["kind"] in ("ended", "condemned")
        assert heard[-1]["dropped"] == 0


async def test_pace_is_that_of_the_calls(autojump_clock: trio.testing.MockClock) -> None:
    """Six callers, three slots, calls of 2 s: 1.5 a second, and by Little's law 2 s each, after 2 s of waiting."""
    async with open_pool(FaultyRuntime(), config=CONFIG) as pool, trio.open_nursery() as nursery:
        pulse = Pulse(pool)

        async def call() -> None:
            while True:
                await pool.execute("sleep", 2)

        nursery.start_soon(pulse.run)
        for _ in range(6):
            nursery.start_soon(call)
        await trio.sleep(1)
        with pulse.watched():
            reader = Reader(pulse.mark())
            assert reader.read(pulse.mark())["latency"] is None
            await trio.sleep(20)
            pace = reader.read(pulse.mark())
        nursery.cancel_scope.cancel()
    assert pace["rate"] == pytest.approx(1.5, rel=0.1)
    assert pace["latency"] == pytest.approx(2, rel=0.1)
    assert pace["wait"] == pytest.approx(2, rel=0.1)


def test_calls_longer_than_the_spans_between_readings_are_not_shortened() -> None:
    """Four slots, calls of 10 s that end one after another, read every second: most spans have no end at all."""
    pace = Pace(0.0, 0)
    reader = Reader(pace.mark)
    read = [reader.read(pace.look(second, int(second / 2.5), 4, 0)) for second in range(1, 101)]
    told = [each["latency"] for each in read if each["latency"] is not None]
    assert len(told) == 40
    assert sum(told) / len(told) == pytest.approx(10)
    assert sum(each["rate"] or 0 for each in read) / len(read) == pytest.approx(0.4)


async def test_nothing_is_sampled_while_nobody_watches(autojump_clock: trio.testing.MockClock) -> None:
    """A clock that jumps when all tasks wait would stand still between samples; here it jumps at once."""
    async with open_pool(FaultyRuntime(), config=CONFIG) as pool, trio.open_nursery() as nursery:
        pulse = Pulse(pool)
        nursery.start_soon(pulse.run)
        await trio.sleep(10)
        before = pulse._pace.mark
        await trio.sleep(10)
        assert pulse._pace.mark is before
        with pulse.watched():
            await trio.sleep(1)
        assert pulse._pace.mark is not before
        nursery.cancel_scope.cancel()


async def test_several_pools_are_told_apart_by_name() -> None:
    """What changes a pool must name it; what looks at them shows all."""
    with folder() as at:
        async with (
            open_pool(FaultyRuntime(), slots=1, name="a") as first,
            open_pool(FaultyRuntime(), slots=2, name="b") as second,
            trio.open_nursery() as nursery,
        ):
            path = await nursery.start(partial(admin.serve, [first, second], f"{at}/x.admin"))
            client = await admin.connect(path)
            assert client.pools == ("a", "b")
            assert [len(record["slots"]) for record in await client.statistics()] == [1, 2]
            with pytest.raises(ValueError, match="several pools are served, name one of them: a, b"):
                await client.drain()
            assert await client.recycle(1, "b") == "b/1.2"
            with pytest.raises(ValueError, match="two pools have the same name"):
                await admin.serve([first, first], f"{at}/y.admin")
            nursery.cancel_scope.cancel()


async def test_cancelled_client_cancels_what_it_asked_for() -> None:
    """The request ends with its connection: a plugin's method sees the cancellation."""
    seen = trio.Event()
    began = trio.Event()

    class Slow(admin.Plugin):
        name = "slow"

        def methods(self):
            return {"wait": self.wait}

        async def wait(self, params: object) -> None:
            began.set()
            try:
                await trio.sleep_forever()
            finally:
                seen.set()

    with folder() as at:
        async with open_pool(FaultyRuntime(), slots=1) as pool, admin.open_plugins(pool, [Slow()]) as plugins:
            async with trio.open_nursery() as nursery:
                serve = partial(admin.serve, pool, f"{at}/a.admin", plugins=plugins)
                client = await admin.connect(await nursery.start(serve))
                async with trio.open_nursery() as asking:
                    asking.start_soon(client.call, "slow.wait")
                    await began.wait()
                    asking.cancel_scope.cancel()
                with trio.fail_after(BOUND):
                    await seen.wait()
                nursery.cancel_scope.cancel()


# -- the socket's file


async def test_socket_is_this_users_alone() -> None:
    """0600, in a directory that is made 0700 where it is missing."""
    with folder() as at:
        async with served(path := f"{at}/new/a.admin"):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert stat.S_IMODE(os.stat(f"{at}/new").st_mode) == 0o700
        assert os.listdir(f"{at}/new") == ["a.admin.lock"]


async def test_live_socket_is_never_taken() -> None:
    """The second program is told, and the first is still reached."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"):
            async with open_pool(FaultyRuntime(), slots=1) as other:
                with pytest.raises(AlreadyBound):
                    await admin.serve(other, path)
            assert (await admin.connect(path)).pools == ("thumbs",)


async def test_stale_socket_is_replaced() -> None:
    """One that a dead program left behind."""
    with folder() as at:
        path = f"{at}/a.admin"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        assert admin.find_sockets(at) == []
        async with served(path):
            assert (await admin.connect(path)).pools == ("thumbs",)


async def test_deleted_socket_is_put_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what somebody else has put there is left alone, with one complaint; who listens hears on."""
    monkeypatch.setattr(_door, "MEND_EVERY", 0.01)
    with folder() as at:
        async with served(path := f"{at}/a.admin"):
            client = await admin.connect(path)
            async with client.events() as events:
                os.unlink(path)
                while not os.path.exists(path):
                    await trio.sleep(0.01)
                assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
                assert await client.recycle(0) == "thumbs/0.2"
                assert (await anext(events))["worker"] == "thumbs/0.1"
            os.unlink(path)
            Path(path).touch()
            while "cannot be put back" not in caplog.text:
                await trio.sleep(0.01)
            await trio.sleep(0.1)
            assert caplog.text.count("cannot be put back") == 1
            os.unlink(path)
            while not os.path.exists(path):
                await trio.sleep(0.01)


async def test_what_is_no_socket_is_left_alone() -> None:
    """A file, or a link to somebody's socket."""
    with folder() as at:
        for path, make in (
            (f"{at}/file", lambda p: open(p, "w").close()),
            (f"{at}/link", partial(os.symlink, "x")),
        ):
            make(path)
            async with open_pool(FaultyRuntime(), slots=1) as pool:
                with pytest.raises(InvalidEndpoint):
                    await admin.serve(pool, path)
            assert os.path.lexists(path)


async def test_sockets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the directory where they are by default; the only one is meant where none is named."""
    with folder() as at:
        monkeypatch.setenv("TRIO_FOLK_DIRECTORY", at)
        with pytest.raises(FolkError, match="no program serves a pool here"):
            await admin.connect()
        async with open_pool(FaultyRuntime(), slots=1, name="../a b") as pool, trio.open_nursery() as nursery:
            path = await nursery.start(admin.serve, pool)
            assert admin.find_sockets() == [path] == [f"{at}/-a-b.admin"]
            assert (await admin.connect()).pools == ("../a b",)
            async with open_pool(FaultyRuntime(), slots=1, name="b") as second:
                await nursery.start(admin.serve, second)
                with pytest.raises(FolkError, match="several programs serve pools"):
                    await admin.connect()
            nursery.cancel_scope.cancel()


async def test_serving_that_is_cancelled_before_it_began_leaves_nothing() -> None:
    """Wherever it is cancelled: no file but the lock's, no descriptor, no hang."""
    with folder() as at:
        async with open_pool(FaultyRuntime(), slots=1) as pool:
            for checkpoints in range(8):
                with trio.move_on_after(BOUND) as bound:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(admin.serve, pool, f"{at}/a.admin")
                        for _ in range(checkpoints):
                            await trio.lowlevel.checkpoint()
                        nursery.cancel_scope.cancel()
                assert not bound.cancelled_caught
                assert set(os.listdir(at)) <= {"a.admin.lock"}


async def test_program_that_has_gone_is_told() -> None:
    """To a client that comes, and to one that listens."""
    with folder() as at:
        async with served(path := f"{at}/a.admin"):
            client = await admin.connect(path)
        with pytest.raises(FolkError, match="no pool answers"):
            await client.statistics()
        with pytest.raises(FolkError, match="no pool answers"):
            await admin.connect(path)
