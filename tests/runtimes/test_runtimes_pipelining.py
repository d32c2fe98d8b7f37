"""A task channel whose worker begins its calls in their order, and gives back what it has not begun; played by hand."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.runtimes.test_runtimes_channel import BOUND, LARGE, SMALL, Ends
from trio_folk import ProtocolError
from trio_folk.abc import NotStarted
from trio_folk.runtimes._channel import RECALL, ChannelBroken


class Orderly(Ends):
    """A channel to an orderly worker, and what that was asked on its control channel."""

    def __init__(self) -> None:
        super().__init__()
        self.revoked: list[list[int]] = []
        self.cancelled: list[int] = []
        self.answers_told: list[int] = []
        self.grace = 0.0
        self.scopes: dict[object, trio.CancelScope] = {}
        self.channel.revoke = self._revoke
        self.channel.cancel = self._cancel
        self.channel.on_answers = lambda count, seconds: self.answers_told.append(count)

    def _revoke(self, msgids: list[int]) -> bool:
        self.revoked.append(msgids)
        return True

    def _cancel(self, msgid: int) -> float:
        self.cancelled.append(msgid)
        return self.grace

    async def cancellable(self, what: object, key: object = None) -> None:
        with trio.CancelScope() as self.scopes[what]:
            await self.call(what, key)

    async def hold(self, nursery: trio.Nursery, calls: str = "abc") -> None:
        """The worker has been given these calls, each with a scope of its own."""
        for what in calls:
            nursery.start_soon(self.cancellable, what)
            await wait_all_tasks_blocked()


@pytest.fixture
async def ends(nursery: trio.Nursery) -> AsyncIterator[Orderly]:
    made = Orderly()
    with made.ours, made.peer.sock:
        nursery.start_soon(made.channel.pump)
        await wait_all_tasks_blocked()
        yield made
        made.channel.give_up()
        await wait_all_tasks_blocked()


# -- sending


async def test_calls_of_one_tick_leave_in_one_write(ends: Orderly) -> None:
    """The first goes out at once, to wake the worker; the others follow together."""
    ends.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    writes: list[int] = []

    class Counting:
        def send(self, data: bytes) -> int:
            writes.append(len(data))
            return ends.ours.send(data)

    ends.channel._outbox._sock = Counting()  # type: ignore[assignment]
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            for what in "abcdef":
                nursery.start_soon(ends.call, what)
            await wait_all_tasks_blocked()
            assert len(writes) == 2
            ends.peer.answer(*ends.peer.requests())
    assert ends.answers == {what: what for what in "abcdef"}


async def test_a_held_call_that_was_not_sent_is_withdrawn_without_a_word(ends: Orderly) -> None:
    """The socket is full: its frame never leaves, and those behind it do."""
    ends.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, LARGE, "large")
            await wait_all_tasks_blocked()
            await ends.hold(nursery, "ab")
            ends.scopes["a"].cancel()
            await wait_all_tasks_blocked()
            got = []
            while len(got) < 2:
                await trio.lowlevel.wait_readable(ends.peer.sock)
                got += ends.peer.requests()
            assert [each.params[:1] for each in got] == ["x", "b"]
            nursery.cancel_scope.cancel()
    assert ends.revoked in ([], [[3]])


async def test_a_recalled_call_that_was_not_sent_waits_for_the_word_of_the_worker(ends: Orderly) -> None:
    """It was asked for already: withdrawn in silence, it would be given back by the worker to nobody."""
    ends.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.call, LARGE, "large")
            await wait_all_tasks_blocked()
            await ends.hold(nursery, "a")
            assert ends.channel.recall()
            ends.scopes["a"].cancel()
            await wait_all_tasks_blocked()
            assert not ends.scopes["a"].cancelled_caught
            ends.channel.take_back([2], [])
            await wait_all_tasks_blocked()
            assert ends.scopes["a"].cancelled_caught
            nursery.cancel_scope.cancel()


# -- giving back


async def test_what_is_given_back_has_not_started(ends: Orderly) -> None:
    """All but the oldest are asked for; the one that had begun is answered."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery)
            first, second, third = ends.peer.requests()
            assert ends.channel.recall()
            assert ends.revoked == [[second.msgid, third.msgid]]
            assert not ends.channel.recall()  # it was asked already
            ends.channel.take_back([third.msgid], [second.msgid])
            ends.peer.answer(first, second)
    assert ends.answers == {"a": "a", "b": "b", "c": NotStarted}
    assert not ends.channel.abandoned


async def test_a_reply_that_passes_over_recalled_calls_says_that_they_were_given_back(ends: Orderly) -> None:
    """The word for it comes later, on the other channel, and is no news then."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery)
            first, second, third = ends.peer.requests()
            ends.channel.recall()
            ends.peer.answer(first, third)
    assert ends.answers == {"a": "a", "b": NotStarted, "c": "c"}
    ends.channel.take_back([second.msgid], [third.msgid])
    with pytest.raises(ProtocolError, match="nobody asked for"):
        ends.channel.take_back([second.msgid], [])


async def test_a_reply_out_of_turn_breaks_the_protocol(ends: Orderly) -> None:
    """Nobody asked for the one before it: then the order that everything rests on is not kept."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "ab")
            _, second = ends.peer.requests()
            ends.peer.answer(second)
    assert set(ends.answers.values()) == {ProtocolError}


async def test_what_nobody_asked_for_cannot_be_given_back(ends: Orderly) -> None:
    """Not a held call, not the one that runs, nor one that never was."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "ab")
            for msgid in (1, 2, 77):
                with pytest.raises(ProtocolError):
                    ends.channel.take_back([msgid], [])
            ends.peer.answer(*ends.peer.requests())
    assert ends.answers == {"a": "a", "b": "b"}


async def test_the_reader_whose_own_call_is_given_back_hands_the_reading_on(ends: Orderly) -> None:
    """It waits for the socket, where nothing comes, and must be woken all the same."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery)
            first, second, third = ends.peer.requests()
            ends.channel.recall()
            ends.peer.answer(first)
            await wait_all_tasks_blocked()  # b reads now
            ends.channel.take_back([second.msgid], [third.msgid])
            await wait_all_tasks_blocked()
            assert ends.answers == {"a": "a", "b": NotStarted}
            ends.peer.answer(third)
    assert ends.answers["c"] == "c"


async def test_who_was_to_read_next_and_was_given_back_hands_that_on(ends: Orderly) -> None:
    """It is woken to read, and before it runs its call is over."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery)
            first, second, third = ends.peer.requests()
            ends.channel.recall()
            reader = ends.channel._reader
            ends.peer.answer(first)
            while ends.channel._reader is reader:
                await trio.lowlevel.checkpoint()
            assert ends.channel._heir is not None or ends.channel._reader is not None
            ends.channel.take_back([second.msgid], [third.msgid])
            await wait_all_tasks_blocked()
            ends.peer.answer(third)
    assert ends.answers == {"a": "a", "b": NotStarted, "c": "c"}


# -- cancelling what is held


async def test_a_held_call_that_is_cancelled_is_taken_back(ends: Orderly) -> None:
    """The worker has not begun it, and is as it was."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery)
            first, second, third = ends.peer.requests()
            ends.scopes["b"].cancel()
            await wait_all_tasks_blocked()
            assert (ends.revoked, ends.cancelled) == ([[second.msgid]], [])
            ends.channel.take_back([second.msgid], [])
            await wait_all_tasks_blocked()
            assert ends.scopes["b"].cancelled_caught
            ends.peer.answer(first, third)
    assert ends.answers == {"a": "a", "c": "c"}
    assert not ends.channel.abandoned


@pytest.mark.parametrize("answered", [True, False])
async def test_a_held_call_that_turns_out_to_run_is_cancelled_as_one(ends: Orderly, answered: bool) -> None:
    """It has ``cancel_grace`` then; what it answers meanwhile is its outcome."""
    ends.grace = math.inf if answered else 0.0
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "ab")
            first, second = ends.peer.requests()
            ends.scopes["b"].cancel()
            await wait_all_tasks_blocked()
            ends.channel.take_back([], [second.msgid])
            await wait_all_tasks_blocked()
            assert ends.cancelled == [second.msgid]
            ends.peer.answer(first, second)
    assert ends.answers == ({"a": "a", "b": "b"} if answered else {"a": "a"})
    assert ends.channel.abandoned is not answered


async def test_a_worker_that_does_not_say_whether_it_has_begun_is_given_up(
    ends: Orderly, autojump_clock: trio.testing.MockClock
) -> None:
    """It has RECALL seconds, whatever the grace of calls that run."""
    async with trio.open_nursery() as nursery:
        await ends.hold(nursery, "ab")
        began = trio.current_time()
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await ends.call("c")
        assert trio.current_time() - began == pytest.approx(1 + RECALL)
        assert ends.channel.abandoned
        nursery.cancel_scope.cancel()


# -- the end


async def test_a_death_fails_the_oldest_alone(ends: Orderly) -> None:
    """It may have run; the others were never begun."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "abcd")
            first, *_ = ends.peer.requests()
            ends.peer.answer(first)
            ends.peer.sock.close()
    assert ends.answers == {"a": "a", "b": ChannelBroken, "c": NotStarted, "d": NotStarted}
    assert ends.said == [None]


async def test_a_death_after_calls_were_given_back_fails_the_oldest_of_the_others(ends: Orderly) -> None:
    """The kernel says that a frame was not read: that of a call given back, and not of the one that ran."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "a")
            assert len(ends.peer.requests()) == 1
            await ends.hold(nursery, "b")
            ends.channel.recall()
            ends.channel.take_back([2], [])
            await wait_all_tasks_blocked()
            ends.peer.sock.close()  # with b's frame unread
    assert ends.answers == {"a": ChannelBroken, "b": NotStarted}


@pytest.mark.parametrize("answered", [0, 1, 2])
async def test_closing_ends_what_runs_and_leaves_the_rest_to_the_death(ends: Orderly, answered: int) -> None:
    """Only then is it known what the worker began: what it answered counts, and the oldest other may have run."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "abcd")
            requests = ends.peer.requests()
            ends.channel.close()
            await wait_all_tasks_blocked()
            assert ends.answers == {"a": ChannelBroken}
            ends.peer.answer(*requests[:answered])
            await wait_all_tasks_blocked()
            assert ends.answers == {"a": ChannelBroken}  # nothing is read before
            ends.peer.sock.close()
            ends.channel.close_after_death()
    rest = {
        0: {"b": NotStarted, "c": NotStarted, "d": NotStarted},
        1: {"b": ChannelBroken, "c": NotStarted, "d": NotStarted},
        2: {"b": "b", "c": ChannelBroken, "d": NotStarted},
    }
    assert ends.answers == {"a": ChannelBroken} | rest[answered]


async def test_the_call_that_was_left_counts_as_the_one_that_ran(ends: Orderly) -> None:
    """Its caller is gone when the channel is closed; the next one in line has not begun because of that."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "abc")
            ends.scopes["a"].cancel()  # without grace
            await wait_all_tasks_blocked()
            assert ends.channel.abandoned
            ends.channel.close()
            ends.peer.requests()
            ends.peer.sock.close()
            ends.channel.close_after_death()
    assert ends.answers == {"b": NotStarted, "c": NotStarted}


async def test_those_who_wait_for_a_death_that_never_comes_are_given_up(ends: Orderly) -> None:
    """A process that cannot be killed: nobody knows what it began."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery, "ab")
            ends.channel.close()
            await wait_all_tasks_blocked()
            ends.channel.give_up()
    assert ends.answers == {"a": ChannelBroken, "b": ChannelBroken}


# -- what it tells


async def test_answers_are_told_as_they_were_read(ends: Orderly) -> None:
    """For whoever decides how many calls such a worker should hold."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            await ends.hold(nursery)
            first, second, third = ends.peer.requests()
            ends.peer.answer(first, second)
            await wait_all_tasks_blocked()
            ends.peer.answer(third)
    assert ends.answers_told == [2, 1]
