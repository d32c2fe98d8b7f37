"""What came of an exploration: numbers, names and findings.

Knows findings. Does not know how they were made.
"""

from __future__ import annotations

from typing import final

import attrs

from .findings import Finding

__all__ = ["CancellationLeak", "Exploration"]


@final
@attrs.frozen(kw_only=True, repr=False)
class Exploration:
    """What `explore_cancellation` did.

    Attributes:
        points: how many cancellation points there are, over all seeds, those inside clean-ups included.
        reached: at how many of them it was cancelled.
        unreached: the names of the others: they did not come again in the number of tries.
        in_cleanup: how many of the points were reached by a second cancellation.
        skipped: how many more points there are, left out because of ``max_points``.
        runs: how often the function ran.
        seeds: the seeds that were tried; those that could make no difference are left out.
        seconds: how long it took, in real time.
        warnings: what is odd but no fault, such as another error in Cancelled's place; one line each.
        findings: what is wrong; at most one for each fault, line and kind of point.
    """

    points: int
    reached: int
    unreached: tuple[str, ...]
    in_cleanup: int
    skipped: int
    runs: int
    seeds: tuple[int, ...]
    seconds: float
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        parts = [f"{self.reached} of {self.points} points reached"]
        parts += [f"{self.in_cleanup} inside clean-ups"] if self.in_cleanup else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"{self.runs} runs over {len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}"]
        parts += [f"{self.seconds:.1f} s"]
        parts += [f"{len(self.warnings)} warnings"] if self.warnings else []
        parts += [f"{len(self.findings)} findings"] if self.findings else []
        return f"<Exploration: {', '.join(parts)}>"


class CancellationLeak(AssertionError):
    """A function does not stand being cancelled at some point; the text says where, and what came of it.

    Attributes:
        findings: each fault that was found.
        exploration: what was done until then.
    """

    findings: tuple[Finding, ...]
    exploration: Exploration

    def __init__(self, exploration: Exploration) -> None:
        self.findings = exploration.findings
        self.exploration = exploration
        super().__init__("\n\n".join(map(str, (*exploration.findings, exploration))))
