"""Pinning: parent and children on one CPU, where a measure says so.

Across CPUs a wake-up costs 24 to 50 us whatever the code does, and differs by the minute. On one CPU the
round trip is the work of both sides and two switches.
"""

from __future__ import annotations

import os


def pin() -> None:
    """Move this process to one CPU; the children it makes from now on inherit it."""
    if hasattr(os, "sched_setaffinity"):  # Linux only; elsewhere the numbers are those of the scheduler
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
