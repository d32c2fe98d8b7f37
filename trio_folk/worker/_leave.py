"""A forked worker leaves: it keeps what the interpreter promises for its end, and does not tidy its memory.

Python's shutdown frees what lives still, object by object. In a fork that writes to nearly every page it shares with
its zygote, so the kernel copies them all, to throw them away a moment later: most of the processor time that the end
takes, and of the time until a pool of 256 is closed. The standard library's forks leave in this way, too.

Kept: threads that are not daemons are waited for, exit handlers run, streams are flushed. Not kept: `__del__` of what
lives until then, which Python does not promise either.

Knows the interpreter. Does not know calls.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["leave"]


def leave(status: int) -> NoReturn:
    """End this process with a status."""
    import atexit

    try:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, broken, or None
                stream.flush()
    finally:
        os._exit(status)
