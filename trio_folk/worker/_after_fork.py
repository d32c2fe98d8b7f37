"""A forked process becomes a worker like any other: its own group, channels, streams, signals and luck.

Knows descriptors and what a fork copies. Does not know requests, nor who forked.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["become_worker"]


def become_worker(given: list[int], channel: int, control: int, others: Iterable[int]) -> None:
    """Be a worker from now on.

    Args:
        given: descriptors of its task and control channels, and perhaps its standard output and error. They
            are copied; the caller closes them.
        channel: the zygote's descriptor whose number the task channel gets.
        control: the same for the control channel.
        others: what else is the zygote's, and closed.
    """
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for descriptor in others:
        os.close(descriptor)
    for source, number in zip(given, (channel, control, 1, 2), strict=False):
        os.dup2(source, number, inheritable=number <= 2)
    _reseed()


def _reseed() -> None:
    """What was seeded at import would give every worker the same numbers."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()
