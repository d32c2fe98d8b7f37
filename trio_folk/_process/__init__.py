"""One process of the operating system: launched, watched, signalled, ended, reaped.

Every pid has one owner from the moment the kernel returns it until it is reaped: the block of
`open_process`. However that block is left, the process, its group and its descriptors are gone afterwards.

Knows pids, descriptors and signals. Does not know RPC, readiness, slots, nor why a process is wanted.
Picture: docs/design/process.md
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    raise ImportError(
        "trio_folk's workers are POSIX processes, which Windows does not have: "
        "use WSL, or TaskRuntime, whose workers are tasks"
    )
if not hasattr(os, "waitid"):  # macOS has it since Python 3.13
    raise ImportError("trio_folk needs os.waitid to launch processes; on macOS that is Python 3.13 and later")

from .guard import open_guardian as open_guardian
from .ladder import Body as Body
from .ladder import descend as descend
from .namespace import worker_of as worker_of
from .output import Output as Output
from .output import drain_lines as drain_lines
from .process import Process as Process
from .process import open_process as open_process
from .spec import ProcessSpec as ProcessSpec
from .wards import guarded as guarded

__all__ = [
    "Body",
    "Output",
    "Process",
    "ProcessSpec",
    "descend",
    "drain_lines",
    "guarded",
    "open_guardian",
    "open_process",
    "worker_of",
]
