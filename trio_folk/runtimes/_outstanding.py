"""The calls that a worker was given and has not answered: which of them it may have begun, and how each ends.

A call that may have run must not be run again, and one that cannot have run must not fail. Which is which depends on
the order in which they were sent, on whether the worker keeps it, and on what it has given back.

Invariants
    1. They lie in the order in which they were sent. A worker that is *orderly* begins them in this order, and answers
       one before it begins the next: it has begun the oldest at most.
    2. An orderly worker answers out of turn only if what is older was given back, which is then told on the other
       channel, in its own time.
    3. A call ends once; what it ended with stays.

Knows calls that wait. Does not know sockets, frames, or who reads.
Picture: docs/design/pipelining.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .._errors import ProtocolError
from ..abc import NotStarted
from ._waiting import CallWait, ChannelBroken

__all__ = ["Outstanding"]


class Outstanding(dict[int, CallWait]):
    """Those calls by their msgids, oldest first, even if their callers have left.

    Args:
        wake: lets the caller of a call look again.

    Attributes:
        orderly: whether the worker begins them in their order.
    """

    __slots__ = ("_passed_over", "_wake", "orderly")

    def __init__(self, wake: Callable[[CallWait], None]) -> None:
        super().__init__()
        self._wake = wake
        self._passed_over: set[int] = set()  # given back, which the worker has yet to say
        self.orderly = False

    def held(self) -> list[CallWait]:
        """Those that it need not have begun: of an orderly worker all but the oldest."""
        return list(self.values())[1:] if self.orderly else []

    def holds(self, msgid: int) -> bool:
        """Whether this is one of those."""
        return self.orderly and msgid != next(iter(self))

    def recall(self, ask: Callable[[list[int]], bool]) -> bool:
        """Ask for those, if that was not done before; whether there are any, and it could be asked."""
        calls = [call for call in self.held() if not call.recalled]
        if not calls or not ask([call.msgid for call in calls]):
            return False
        for call in calls:
            call.recalled = True
        return True

    def take_back(self, given_back: Iterable[int], late: Iterable[int]) -> None:
        """The worker has not begun the first, and never will; with the others it has.

        Raises:
            ProtocolError: it gives back what nobody asked for.
        """
        for msgid in given_back:
            if msgid in self._passed_over:
                self._passed_over.discard(msgid)
                continue
            call = self.get(msgid)
            if call is None or not call.recalled:
                raise ProtocolError(f"it gives back call {msgid!r:.50}, which nobody asked for")
            del self[msgid]
            self.end(call, NotStarted)
        for msgid in late:
            call = self.get(msgid)
            if call is not None:
                call.recalled = False
                if call.leaving:
                    self._wake(call)

    def pass_over(self, msgid: int) -> None:
        """It is answered out of turn: what is older was given back.

        Raises:
            ProtocolError: nobody asked for that.
        """
        for call in list(self.values()):
            if call.msgid == msgid:
                return
            if not call.recalled:
                raise ProtocolError(f"a reply to call {msgid}, before that to call {call.msgid}")
            self._passed_over.add(call.msgid)
            del self[call.msgid]
            self.end(call, NotStarted)

    def begin_next(self) -> None:
        """One was answered: with the oldest of the others an orderly worker begins."""
        for call in self.values():
            if call.begun is not None:  # of an orderly worker alone
                call.begun()
                call.begun = None
            return

    # -- the end

    def end(self, call: CallWait, fate: type[ChannelBroken | NotStarted]) -> None:
        """It ends without an answer."""
        call.fate = call.fate or fate
        self._wake(call)

    def end_begun(self) -> None:
        """The worker is told to end: what may run has failed, and what was not sent never will be. What it holds may
        begin yet, and waits for its death."""
        held = self.held()
        for call in self.values():
            if not call.sent:
                self.end(call, NotStarted)
            elif call not in held:
                self.end(call, ChannelBroken)

    def judge(self) -> None:
        """The worker says and begins nothing any more."""
        may_have_begun = True
        for call in self.values():
            if call.sent and may_have_begun and call.fate is not NotStarted:
                self.end(call, ChannelBroken)
                may_have_begun = not self.orderly
            else:
                self.end(call, NotStarted)

    def give_up(self) -> None:
        """Nobody will ever know what became of any."""
        for call in self.values():
            self.end(call, ChannelBroken)
