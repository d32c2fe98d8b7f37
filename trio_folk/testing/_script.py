"""Scripts: what each worker of a `FaultyRuntime` does wrong, and when.

A test that has to kill a process at the right moment fails on the machine where the moment is another one. A
script says "at the third call", and means it.

Knows words. Does not know how any of it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

from ..abc import Rung, WorkerExit

__all__ = ["Boot", "Fault", "Script"]

Boot = Literal["ready", "never", "dies", "refuses", "garbage", "closes_control", "launch_fails"]
Kind = Literal[
    "dies", "hangs", "fails", "answers_late", "answers_twice", "wrong_msgid", "garbage", "oversize", "truncates"
] | Literal["closes_task", "closes_control"]  # fmt: skip

_NEED_NO_CALL = ("dies", "garbage", "oversize", "closes_task", "closes_control")
_DIED = WorkerExit(code=1)


@attrs.frozen
class Fault:
    """One thing that goes wrong; made by the methods below, e.g. ``Fault.dies()``.

    Attributes:
        kind: the name of the method that made it.
        seconds: how long it waits before it answers, where it does.
        how: how the worker ends, where it does.
        unread: whether it dies before it has read the call, which then can run elsewhere.
    """

    kind: Kind
    seconds: float = 0.0
    how: WorkerExit = _DIED
    unread: bool = False

    @classmethod
    def dies(cls, how: WorkerExit = _DIED, *, unread: bool = False) -> Fault:
        """The worker ends without an answer; with ``unread``, before it has taken the call in."""
        return cls("dies", how=how, unread=unread)

    @classmethod
    def hangs(cls) -> Fault:
        """The call is never answered."""
        return cls("hangs")

    @classmethod
    def fails(cls) -> Fault:
        """The method fails: the caller gets an ApplicationError, and the worker is unharmed."""
        return cls("fails")

    @classmethod
    def answers_late(cls, seconds: float) -> Fault:
        """The answer comes after so many seconds."""
        return cls("answers_late", seconds=seconds)

    @classmethod
    def answers_twice(cls, seconds: float = 0.0) -> Fault:
        """The answer comes, and again after so many seconds."""
        return cls("answers_twice", seconds=seconds)

    @classmethod
    def wrong_msgid(cls) -> Fault:
        """The answer is to a call that nobody made."""
        return cls("wrong_msgid")

    @classmethod
    def garbage(cls) -> Fault:
        """Bytes come that are not the protocol."""
        return cls("garbage")

    @classmethod
    def oversize(cls) -> Fault:
        """A frame is announced that is longer than a frame may be."""
        return cls("oversize")

    @classmethod
    def truncates(cls, how: WorkerExit = _DIED) -> Fault:
        """Half of the answer comes, then the worker ends."""
        return cls("truncates", how=how)

    @classmethod
    def closes_task(cls) -> Fault:
        """The worker closes its task channel, answers nobody, and lives on."""
        return cls("closes_task")

    @classmethod
    def closes_control(cls) -> Fault:
        """The worker closes its control channel and lives on; the call it came with is answered."""
        return cls("closes_control")


def _check_boot(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in get_args(Boot):
        raise ValueError(f"boot is one of {', '.join(get_args(Boot))}, not {value!r}")


def _check_calls(_: object, attribute: attrs.Attribute[Any], value: Mapping[int, Fault]) -> None:
    if not all(type(number) is int and number >= 1 for number in value):
        raise ValueError(f"at_call counts each worker's calls from 1: {dict(value)!r}")


def _check_times(_: object, attribute: attrs.Attribute[Any], value: Mapping[float, Fault]) -> None:
    for fault in value.values():
        if fault.kind not in _NEED_NO_CALL or fault.unread:
            raise ValueError(f"{fault} needs a call: put it into at_call, not into after_ready")


@attrs.frozen(kw_only=True)
class Script:
    """What one worker does. An empty script is a worker without fault.

    Attributes:
        boot: ``"ready"``, or how it does not become so: ``"never"``, it ``"dies"``, ``"refuses"``, sends
            ``"garbage"``, ``"closes_control"`` and lives on, or cannot even be launched (``"launch_fails"``).
        boot_delay: seconds before that.
        boot_exit: how it ends, if it dies at boot.
        at_call: what goes wrong at its n-th call, counted from 1.
        after_ready: what goes wrong so many seconds after it is ready, whether it is busy or not.
        ignores: the rungs that it does not heed. One that ignores `Rung.KILL` is given up after its ladder.
        concurrency: how many calls it announces to run at once.
    """

    boot: Boot = attrs.field(default="ready", validator=_check_boot)
    boot_delay: float = 0.0
    boot_exit: WorkerExit = _DIED
    at_call: Mapping[int, Fault] = attrs.field(factory=dict, validator=_check_calls)
    after_ready: Mapping[float, Fault] = attrs.field(factory=dict, validator=_check_times)
    ignores: frozenset[Rung] = attrs.field(default=frozenset(), converter=frozenset)
    concurrency: int = 1
