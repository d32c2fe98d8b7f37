"""The parent's end of a task channel, over a socketpair whose other end the test holds."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_folk import ProtocolError
from trio_folk._wire import MessageDecoder, Notify, Request, Response, encode_notify, encode_response
from trio_folk.abc import NotStarted
from trio_folk.runtimes._channel import ChannelBroken, TaskChannel
from trio_folk.runtimes._jobs import MethodJob, WireJob
from trio_folk.runtimes._python import PythonJob
from trio_folk.runtimes._waiting import CallWait

LIMIT = 1024 * 1024
BOUND = 10
SMALL = 4096  # bytes: what the socket takes is then a fraction of a large call
LARGE = "x" * (LIMIT // 4)


class Peer:
    """A worker's end, played by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = MessageDecoder(LIMIT)
        self.told: list[Notify] = []

    def requests(self) -> list[Request]:
        """What has come since the last look; definitions are kept apart."""
        messages = []
        try:
            while data := self.sock.recv(65536):
                messages += self.decoder.feed(data)
        except BlockingIOError:
            pass
        self.told += [each for each in messages if isinstance(each, Notify)]
        return [each for each in messages if isinstance(each, Request)]

    def answer(self, *requests: Request) -> None:
        """All of them in one write, each with its own parameters."""
        self.send(b"".join(encode_response(each.msgid, None, each.params) for each in requests))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    async def one(self) -> Request:
        """The next request, alone."""
        await wait_all_tasks_blocked()
        (request,) = self.requests()
        return request


async def request(channel: TaskChannel, job: WireJob) -> Response:
    """As the handle does it."""
    reply = channel.send(job)
    return await channel.wait(reply) if isinstance(reply, CallWait) else reply


class Ends:
    """A channel, its peer, and what the channel said of its end."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.setblocking(False)
        theirs.setblocking(False)
        self.peer = Peer(theirs)
        self.said: list[ProtocolError | None] = []
        self.channel = TaskChannel(self.ours, LIMIT, self.said.append)
        self.answers: dict[object, object] = {}

    async def call(self, what: object, key: object = None) -> None:
        """Keeps the answer, or the class of the error."""
        await self.run(MethodJob("echo", what, LIMIT), what if key is None else key)

    async def run(self, job: WireJob, key: object) -> None:
        try:
            self.answers[key] = (await request(self.channel, job)).result
        except (NotStarted, ChannelBroken, ProtocolError) as error:
            self.answers[key] = type(error)


@pytest.fixture
async def ends(nursery: trio.Nursery) -> AsyncIterator[Ends]:
    made = Ends()
    with made.ours, made.peer.sock:
        nursery.start_soon(made.channel.pump)
        await wait_all_tasks_blocked()
        yield made
        made.channel.give_up()
        await wait_all_tasks_blocked()


@pytest.fixture
def narrow(ends: Ends) -> Ends:
    """A channel whose socket takes little at a time."""
    ends.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    return ends


async def until_sent(ends: Ends, calls: int) -> list[Request]:
    """Read as a slow worker does, until so many requests have come."""
    got: list[Request] = []
    with trio.fail_after(BOUND):
        while len(got) < calls:
            await trio.lowlevel.wait_readable(ends.peer.sock)
            got += ends.peer.requests()
    return got


# -- answers


async def test_a_reply_reaches_the_caller_whose_msgid_it_carries(ends: Ends) -> None:
    """Answered in the opposite order, in one write."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "abc":
                nursery.start_soon(ends.call, what)
            await wait_all_tasks_blocked()
            ends.peer.answer(*reversed(ends.peer.requests()))
    assert ends.answers == {"a": "a", "b": "b", "c": "c"}
    assert ends.channel.running == 0


async def test_a_reply_may_come_in_pieces(ends: Ends) -> None:
    """Byte by byte."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, "whole")
            request = await ends.peer.one()
            for byte in encode_response(request.msgid, None, "whole"):
                ends.peer.send(bytes([byte]))
                await wait_all_tasks_blocked()
    assert ends.answers == {"whole": "whole"}


async def test_the_reading_is_handed_on_when_the_reader_has_its_reply(ends: Ends) -> None:
    """The first caller reads for all; after it the next one does, and the next."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "abc":
                nursery.start_soon(ends.call, what)
                await wait_all_tasks_blocked()
            for request in ends.peer.requests():
                ends.peer.answer(request)
                await wait_all_tasks_blocked()
                assert request.params in ends.answers


async def test_the_reading_is_handed_on_when_the_reader_is_cancelled(ends: Ends) -> None:
    """What it read, and what it had begun to read, is not lost."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await ends.call("cancelled")

            nursery.start_soon(cancelled)
            await wait_all_tasks_blocked()
            nursery.start_soon(ends.call, "other")
            await wait_all_tasks_blocked()
            _, other = ends.peer.requests()
            frame = encode_response(other.msgid, None, "other")
            ends.peer.send(frame[:3])
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            ends.peer.send(frame[3:])
    assert ends.answers == {"other": "other"}
    assert ends.channel.abandoned


async def test_the_reading_is_handed_on_by_who_found_the_answers_of_others(ends: Ends) -> None:
    """Whoever was handed the reading had its reply taken in by a newcomer: a third must not wait for ever."""
    requests: list[Request] = []

    class Prompt(MethodJob):
        """Its answer, and b's, are there as soon as it is sent."""

        def encode(self, msgid: int, limit: int, remaining: float | None = None) -> bytes:
            ends.peer.answer(requests[1], Request(msgid, "echo", "d"))
            return super().encode(msgid, limit)

    async def a_and_at_once_d() -> None:
        await ends.call("a")  # hands the reading to b, who has not run when d is sent
        await ends.run(Prompt("echo", "d", LIMIT), "d")

    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a_and_at_once_d)
            for what in "bc":
                await wait_all_tasks_blocked()
                nursery.start_soon(ends.call, what)
            await wait_all_tasks_blocked()
            requests += ends.peer.requests()
            ends.peer.answer(requests[0])
            await wait_all_tasks_blocked()
            assert ends.answers == {"a": "a", "b": "b", "d": "d"}
            ends.peer.answer(requests[2])
    assert ends.answers["c"] == "c"


async def test_msgids_wrap_and_skip_zero(ends: Ends) -> None:
    """After 2**32 - 1 comes 1."""
    ends.channel._last_msgid = 2**32 - 2
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "abc":
                nursery.start_soon(ends.call, what)
            await wait_all_tasks_blocked()
            requests = ends.peer.requests()
            assert sorted(each.msgid for each in requests) == [1, 2, 2**32 - 1]
            ends.peer.answer(*requests)
    assert ends.answers == {"a": "a", "b": "b", "c": "c"}


# -- sending


async def test_frames_of_several_callers_are_never_mixed(narrow: Ends) -> None:
    """Each frame takes many writes; all arrive whole, and are answered."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for key in range(5):
                nursery.start_soon(narrow.call, f"{key}{LARGE}", key)
            for request in await until_sent(narrow, 5):
                narrow.peer.sock.setblocking(True)
                await trio.to_thread.run_sync(narrow.peer.answer, request)
                narrow.peer.sock.setblocking(False)
    assert narrow.answers == {key: f"{key}{LARGE}" for key in range(5)}


async def test_replies_are_read_while_a_call_is_still_being_sent(narrow: Ends) -> None:
    """A worker that answers before it reads on is not left waiting."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(narrow.call, "small")
            small = await narrow.peer.one()
            nursery.start_soon(narrow.call, LARGE, "large")
            await wait_all_tasks_blocked()
            narrow.peer.answer(small)
            await wait_all_tasks_blocked()
            assert narrow.answers == {"small": "small"}
            (large,) = await until_sent(narrow, 1)
            assert len(large.params) == len(LARGE)
            nursery.cancel_scope.cancel()


async def test_calls_are_sent_in_the_order_in_which_they_came(narrow: Ends) -> None:
    """Nobody overtakes those that wait for their turn: the last one sent is the one that a death leaves unread."""

    async def large_and_at_once_another() -> None:
        await narrow.call(LARGE, "large")
        await narrow.call("comes later")

    narrow.channel._switched = math.inf  # fairness would let the other one run in between
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(large_and_at_once_another)
            await wait_all_tasks_blocked()
            nursery.start_soon(narrow.call, "waits")
            await wait_all_tasks_blocked()
            narrow.peer.send(encode_response(1, None, "answered before it was read"))
            requests = await until_sent(narrow, 3)
            nursery.cancel_scope.cancel()
    assert [each.params[:11] for each in requests] == [LARGE[:11], "waits", "comes later"]


async def test_a_definition_is_sent_before_its_first_use_whoever_is_cancelled(narrow: Ends) -> None:
    """The call that would have brought it was withdrawn before its turn; the next brings it."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def withdrawn() -> None:
                with scope:
                    await narrow.run(PythonJob(len, ("withdrawn",), {}, LIMIT), "withdrawn")

            nursery.start_soon(narrow.call, LARGE, "large")
            await wait_all_tasks_blocked()
            nursery.start_soon(withdrawn)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert not narrow.channel.abandoned
            nursery.start_soon(narrow.run, PythonJob(len, ("next",), {}, LIMIT), "next")
            requests = await until_sent(narrow, 2)
            nursery.cancel_scope.cancel()
    assert [each.method for each in requests] == ["echo", "folk.call"]
    assert [each.method for each in narrow.peer.told] == ["folk.define"]
    assert narrow.peer.told[0].params[0] == requests[1].params[0]


async def test_a_definition_is_sent_once(ends: Ends) -> None:
    """The second call names the function by its number."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for key in range(2):
                nursery.start_soon(ends.run, PythonJob(len, ("x",), {}, LIMIT), key)
            await wait_all_tasks_blocked()
            assert len(ends.peer.requests()) == 2
            nursery.cancel_scope.cancel()
    assert len(ends.peer.told) == 1


async def test_a_call_cancelled_half_sent_abandons_the_channel(narrow: Ends) -> None:
    """What is half sent cannot be taken back; those that waited for their turn were never sent."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await narrow.call(LARGE, "large")
                assert narrow.channel.abandoned
                narrow.channel.close()  # as its owner must, before anybody else runs

            nursery.start_soon(cancelled)
            await wait_all_tasks_blocked()
            nursery.start_soon(narrow.call, "waits")
            await wait_all_tasks_blocked()
            scope.cancel()
    assert narrow.answers == {"waits": NotStarted}
    assert narrow.peer.requests() == []


async def test_a_call_that_does_not_fit_harms_nobody(ends: Ends) -> None:
    """The frame is refused before it is sent; the channel serves on."""

    class TooLarge(MethodJob):
        def encode(self, msgid: int, limit: int, remaining: float | None = None) -> bytes:
            return super().encode(msgid, 3)

    with trio.fail_after(BOUND):
        with pytest.raises(ProtocolError):
            await request(ends.channel, TooLarge("echo", "x", LIMIT))
        assert (ends.channel.abandoned, ends.channel.open, ends.channel.running) == (False, True, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, "next")
            ends.peer.answer(await ends.peer.one())
    assert ends.answers == {"next": "next"}


# -- the end


async def test_an_end_of_file_while_idle_means_not_started(ends: Ends) -> None:
    """It is seen before the call is sent."""
    ends.peer.sock.close()
    with pytest.raises(NotStarted):
        await request(ends.channel, MethodJob("echo", 1, LIMIT))
    assert ends.said == [None]


async def test_bytes_that_lie_there_while_idle_answer_no_call(ends: Ends) -> None:
    """A reply that nobody waits for: the call goes elsewhere, and the worker broke the protocol."""
    ends.peer.send(encode_response(1, None, "early"))
    with pytest.raises(NotStarted):
        await request(ends.channel, MethodJob("echo", 1, LIMIT))
    assert len(ends.said) == 1
    assert isinstance(ends.said[0], ProtocolError)


async def test_an_end_of_file_ends_every_call_that_runs(ends: Ends) -> None:
    """Each may have run; the end is told once."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "abc":
                nursery.start_soon(ends.call, what)
            await wait_all_tasks_blocked()
            assert len(ends.peer.requests()) == 3
            ends.peer.sock.close()
    assert set(ends.answers.values()) == {ChannelBroken}
    assert ends.said == [None]


async def test_a_death_with_requests_unread_frees_the_newest_alone(ends: Ends) -> None:
    """The kernel says that something was not read; only of the last call is it sure."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "abc":
                nursery.start_soon(ends.call, what)
                await wait_all_tasks_blocked()
            ends.peer.sock.recv(1)
            ends.peer.sock.close()
    assert ends.answers == {"a": ChannelBroken, "b": ChannelBroken, "c": NotStarted}


async def test_what_was_answered_before_a_death_is_delivered(ends: Ends) -> None:
    """The one that was answered has its value; the other one may have run."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "ab":
                nursery.start_soon(ends.call, what)
                await wait_all_tasks_blocked()
            first, _ = ends.peer.requests()
            ends.peer.answer(first)
            ends.peer.sock.close()
    assert ends.answers == {"a": "a", "b": ChannelBroken}


async def test_what_was_answered_is_delivered_though_the_next_send_fails(ends: Ends) -> None:
    """The death is found by sending: the answer that lies in the socket is still read."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, "a")
            ends.peer.answer(await ends.peer.one())
            ends.peer.sock.close()
            # before the reader wakes
            with pytest.raises(NotStarted):
                await request(ends.channel, MethodJob("echo", "b", LIMIT))
    assert ends.answers == {"a": "a"}


async def test_a_worker_that_reads_no_more_takes_no_call(ends: Ends) -> None:
    """It shut its reading side: nothing can be sent, although no end of file comes. The end is told."""
    ends.peer.sock.shutdown(socket.SHUT_RD)
    with pytest.raises(NotStarted):
        await request(ends.channel, MethodJob("echo", 1, LIMIT))
    assert ends.said == [None]


async def test_what_the_dead_still_said_is_read_after_the_death(ends: Ends) -> None:
    """`close_after_death` reads what is there, and waits for nothing, for a child may hold the socket."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "ab":
                nursery.start_soon(ends.call, what)
                await wait_all_tasks_blocked()
            first, _ = ends.peer.requests()
            ends.peer.answer(first)
            ends.channel.close_after_death()
    assert ends.answers == {"a": "a", "b": ChannelBroken}


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1", id="not MessagePack"),
        pytest.param(b"\xff\xff\xff\xff", id="oversize"),
        pytest.param(b"\x00\x00\x00\x00", id="zero length"),
        pytest.param(encode_response(77, None, "whose?"), id="wrong msgid"),
        pytest.param(encode_notify("hello", None), id="a notification"),
    ],
)
async def test_nonsense_ends_every_call_with_what_it_was(ends: Ends, nonsense: bytes) -> None:
    """ProtocolError for all; nothing is read after it."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "ab":
                nursery.start_soon(ends.call, what)
            await wait_all_tasks_blocked()
            ends.peer.send(nonsense)
            ends.peer.answer(*ends.peer.requests())
    assert all(issubclass(answer, ProtocolError) for answer in ends.answers.values())  # type: ignore[arg-type]
    assert len(ends.said) == 1
    with pytest.raises(NotStarted):
        await request(ends.channel, MethodJob("echo", 1, LIMIT))


@pytest.mark.parametrize("together", [True, False])
async def test_nonsense_after_an_answer_spares_the_one_that_was_answered(ends: Ends, together: bool) -> None:
    """Whether it comes in the same read or the next."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "ab":
                nursery.start_soon(ends.call, what)
                await wait_all_tasks_blocked()
            first, _ = ends.peer.requests()
            answer = encode_response(first.msgid, None, "a")
            if together:
                ends.peer.send(answer + b"\x00\x00\x00\x00")
            else:
                ends.peer.send(answer)
                await wait_all_tasks_blocked()
                ends.peer.send(b"\x00\x00\x00\x00")
    assert ends.answers["a"] == "a"
    assert issubclass(ends.answers["b"], ProtocolError)  # type: ignore[arg-type]


async def test_a_second_answer_never_reaches_another_call(ends: Ends) -> None:
    """In one write with the first: the channel ends, and the next call goes elsewhere."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, "a")
            request = await ends.peer.one()
            ends.peer.answer(request, request)
        await ends.call("b")
    assert ends.answers == {"a": "a", "b": NotStarted}


@pytest.mark.parametrize("parked", [False, True])
async def test_closing_ends_the_calls_and_reads_nothing_more(ends: Ends, parked: bool) -> None:
    """The reader and those for whom it reads; what lies in the socket is left there."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "ab" if parked else "a":
                nursery.start_soon(ends.call, what)
                await wait_all_tasks_blocked()
            ends.peer.answer(*ends.peer.requests())
            ends.channel.close()
    assert set(ends.answers.values()) == {ChannelBroken}
    assert ends.said == []
    assert ends.ours.recv(100)


async def test_a_half_close_lets_the_answer_come(ends: Ends) -> None:
    """The worker sees the end of file, and answers what it has."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, "a")
            request = await ends.peer.one()
            ends.channel.half_close()
            assert ends.peer.sock.recv(1) == b""
            ends.peer.answer(request)
    assert ends.answers == {"a": "a"}
    ends.peer.sock.close()
    ends.channel.half_close()  # the worker was faster
