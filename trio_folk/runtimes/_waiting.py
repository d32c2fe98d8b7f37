"""One caller's wait for the reply to one call.

Knows a task. Does not know sockets, msgids, or who else waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from .._wire import Response
from ..abc import NotStarted

__all__ = ["CallWait", "ChannelBroken"]


class ChannelBroken(Exception):
    """The channel ended while the call was, or may have been, running."""


class CallWait:
    """What has become of a call. Its defaults belong to the class: most calls change one of them.

    Attributes:
        msgid: its number on the wire.
        reply: what the worker answered.
        fate: how the call ended without an answer.
        sent: whether the socket has taken all of it.
        recalled: whether the worker was asked to give it back, and has said nothing of it yet.
        leaving: whether its caller wants nothing but to know whether it was given back.
        begun: told when the worker begins with it, at the latest.
        parked: its caller, while that waits to be woken.
        hear: told what else the worker says during the call; None where nothing else is expected.
        cancel: asks the worker to end it, where that is done otherwise than for other calls.
    """

    reply: Response | None = None
    fate: type[ChannelBroken | NotStarted] | None = None
    sent = False
    recalled = False
    leaving = False
    begun: Callable[[], object] | None = None
    parked: trio.lowlevel.Task | None = None
    hear: Callable[[str, list[Any], int], None] | None = None
    cancel: Callable[[int], float] | None = None

    def __init__(self, msgid: int) -> None:
        self.msgid = msgid

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""
        return self.reply is not None or self.fate is not None

    @property
    def done(self) -> bool:
        """Whether its caller need not wait."""
        return self.reply is not None or self.fate is not None or (self.leaving and not self.recalled)

    def wake(self) -> None:
        """Let its caller look again."""
        if self.parked is not None:
            trio.lowlevel.reschedule(self.parked)
            self.parked = None

    def unpark(self, _: object) -> trio.lowlevel.Abort:
        """Its caller is cancelled; for `trio.lowlevel.wait_task_rescheduled`."""
        self.parked = None
        return trio.lowlevel.Abort.SUCCEEDED
