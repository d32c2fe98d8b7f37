"""What is wrong with a run: the verdict, and the words for it.

Knows records. Does not know how a run is made, nor which comes next.
"""

from __future__ import annotations

import textwrap
from typing import Literal, TypeAlias, final

import attrs

from .._where import show
from .points import Point
from .running import Record
from .strike import Delivery, Strike

__all__ = ["Fault", "Finding", "describe", "judge", "remark"]

Fault: TypeAlias = Literal["hung", "internal", "around", "swallowed", "left", "invariant"]
_WORDS: dict[Fault, str] = {
    "hung": "it did not end",
    "internal": "trio's own state was broken",
    "around": "what stands around the function failed",
    "swallowed": "the function returned although it was cancelled",
    "left": "something was left behind",
    "invariant": "the invariant does not hold",
}


@final
@attrs.frozen(kw_only=True)
class Finding:
    """One faulty run.

    Attributes:
        fault: ``"hung"``, ``"internal"`` (trio's state was broken), ``"around"`` (what stands around the function
            failed), ``"swallowed"`` (it returned, though a Cancelled was raised in it), ``"left"`` or
            ``"invariant"``; the first of these that holds.
        details: what was left behind, or said by the invariant; one line each.
        seed: the order of tasks.
        point: where it was cancelled; None if the function is faulty without.
        second: where its clean-up was cancelled as well.
        delivered: the line where Cancelled was raised, e.g. ``app.py:12 in fetch``; None if nowhere.
        interrupted: the lines of the clean-up where it was raised again.
        tree: the tasks when it was cancelled.
        hang: the tasks when it hung.
        error: what was raised instead of Cancelled, with its traceback.
    """

    fault: Fault
    details: tuple[str, ...]
    seed: int
    point: Point | None = None
    second: Point | None = None
    delivered: str | None = None
    interrupted: tuple[str, ...] = ()
    tree: str | None = None
    hang: str | None = None
    error: str | None = None

    def __str__(self) -> str:
        if self.point is None:
            lines = [f"without any cancellation (seed {self.seed}): {_WORDS[self.fault]}"]
        else:
            lines = [f"cancelled {self.point} (seed {self.seed}): {_WORDS[self.fault]}"]
        lines += [f"  {detail}" for detail in self.details]
        if self.second is not None:
            lines.append(f"the clean-up's deadline came {self.second}")
        if self.delivered is not None:
            lines.append(f"Cancelled was raised at {self.delivered}")
        lines += [f"and in the clean-up at {place}" for place in self.interrupted]
        for title, text in (
            ("the tasks when it was cancelled:", self.tree),
            ("the tasks when it hung:", self.hang),
            ("instead of Cancelled it raised:", self.error),
        ):
            if text:
                lines += [title, textwrap.indent(text.rstrip(), "  ")]
        return "\n".join(lines)


def judge(record: Record, left: list[str], strike: Strike | None, may_return: bool) -> Fault | None:
    """What is wrong with this run; None if nothing is."""
    raised = [each for each in (record.around, record.error) if each is not None]
    delivered = strike is not None and any(each.which == 1 for each in strike.deliveries)
    holds: dict[Fault, bool] = {
        "hung": record.hung is not None,
        "internal": any(each.internal for each in raised),
        "around": record.around is not None,
        "swallowed": delivered and record.returned and not may_return,
        "left": bool(left or record.left),
        "invariant": record.broken is not None,
    }
    return next((fault for fault, does in holds.items() if does), None)


def describe(fault: Fault, record: Record, left: list[str], strike: Strike | None, seed: int) -> Finding:
    """All that is known of a fault."""
    details = [*record.left, *left]
    details += [] if record.broken is None else [record.broken]
    details += ["nothing could end it: the run was abandoned"] if record.abandoned else []
    delivered, interrupted = _delivered(strike)
    raised = None if record.hung is not None else record.around or record.error
    return Finding(
        fault=fault,
        details=tuple(details),
        seed=seed,
        point=None if strike is None else strike.first,
        second=None if strike is None else strike.second,
        delivered=delivered,
        interrupted=interrupted,
        tree=None if strike is None or strike.tree is None else str(strike.tree),
        hang=None if record.hung is None else str(record.hung),
        error=None if raised is None else raised.text,
    )


def remark(record: Record, strike: Strike) -> str | None:
    """What is odd about a run without fault: another error than Cancelled."""
    if record.error is None:
        return None
    where, _ = _delivered(strike)
    return f"raised instead of Cancelled: {record.error.line}; cancelled at {where or strike.first}"


def _delivered(strike: Strike | None) -> tuple[str | None, tuple[str, ...]]:
    """The line of the first Cancelled, of the task that was meant if it got one; and those of later ones."""
    if strike is None:
        return None, ()
    first = [each for each in strike.deliveries if each.which == 1 and not each.again]
    meant = [each for each in first if each.task == strike.first.task]
    again = dict.fromkeys(_show(each) for each in strike.deliveries if each.again or each.which == 2)
    return next((_show(each) for each in (*meant, *first)), None), tuple(again)


def _show(delivery: Delivery) -> str:
    return "its beginning" if delivery.line is None else show(delivery.line)
