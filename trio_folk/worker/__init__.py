"""What runs in a worker process: named methods, and the loop that answers calls.

A worker that pays for its parent's imports is born late each time one is replaced. So this room has a budget:
ready within 20 ms of a bare interpreter, trio only when a method is async, pickle only when a function comes.

    from trio_folk.worker import Worker

    worker = Worker()

    @worker.method
    def shrink(path, width): ...

Run with ``python -m trio_folk.worker module:worker``, usually by ``PipeRuntime.python("module:worker")``.

Knows the wire and its own process. Does not know pools, slots, or why it was started.
Picture: docs/design/worker.md
"""

from __future__ import annotations

from ._current import CallCancelled, CurrentCall, current_call
from ._worker import Worker

__all__ = ["CallCancelled", "CurrentCall", "Worker", "current_call"]
