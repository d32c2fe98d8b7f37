"""The watchdog: a thread that reads the control channel, and ends this worker with its process group at its end.

A busy worker outlives a SIGKILLed parent in most pools, and computes for nobody until somebody finds it. The
kernel closes the parent's end of the control channel whatever the parent died of; a thread waits for that.

Invariants
    1. It runs before the target is imported, and whatever the main thread does in Python.
    2. A group is killed only when it is this worker's own: one started by hand never takes its shell along.

What does not work
    PR_SET_PDEATHSIG follows the thread that launched, which trio retires while the parent is well (prctl(2)).
    SIGTERM to ourselves: a handler in Python waits for the main thread. Code in C that never gives up the
    interpreter's lock keeps this thread from running too; only an outside process could end that.

Knows one channel and its own process. Does not know what the messages mean.
"""

from __future__ import annotations

import _thread
import os

from .._errors import ProtocolError
from .._wire import MessageDecoder, Notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._control import Control

__all__ = ["watch"]

SIGKILL = 9  # on every POSIX system; importing signal brings enum, two milliseconds at birth


def watch(control: Control, listen: Callable[[Notify], None]) -> None:
    """Start the thread, which calls `listen`. It needs no ``threading``, which costs two milliseconds at birth."""
    _thread.start_new_thread(_until_end_of_file, (control, listen))


def _until_end_of_file(control: Control, listen: Callable[[Notify], None]) -> None:
    decoder = MessageDecoder()
    try:
        while data := control.read():
            for message in decoder.feed(data):
                if type(message) is Notify:
                    listen(message)
    except (OSError, ProtocolError):
        pass  # user code closed the descriptor, or wrote to it: nobody can tell us that the parent is gone
    if os.getpgrp() == os.getpid():
        os.killpg(0, SIGKILL)
    os.kill(os.getpid(), SIGKILL)
