"""The contract of runtimes, as a test class: what `trio_folk.abc` promises, tried on a real worker.

A runtime that keeps nine promises of ten looks right until a pool relies on the tenth. So there is one set of
tests for every runtime, ours and yours:

    from trio_folk.testing import RuntimeContract

    class TestMyRuntime(RuntimeContract):
        def make_runtime(self):
            return MyRuntime("trio_folk.testing.contract_worker:worker")

Needs pytest and pytest-trio. Each test is bounded, and leaves nothing behind or fails.

Knows `trio_folk.abc`. Does not know any runtime.
"""

from __future__ import annotations

from ._contract_calls import CallContract
from ._contract_ends import EndContract
from ._contract_python import PythonContract
from ._contract_stream import StreamContract

__all__ = ["RuntimeContract"]


class RuntimeContract(CallContract, PythonContract, StreamContract, EndContract):
    """Subclass it under a name that begins with ``Test``, and define ``make_runtime()``.

    What the runtime's traits deny is skipped, with the reason. Workers in other languages have not every
    method of ``trio_folk.testing.contract_worker``: set ``methods`` to those that they have; what needs
    another is skipped. ``echo`` returns its parameters as they came, ``sleep`` takes ``[seconds]``.

    Attributes:
        methods: the names of the methods that the workers have.
        max_frame: the longest message, in bytes.
        sleep_can_be_stopped: whether a running ``sleep`` can be; by default what `Traits.interruptible` says.
            True also where the traits deny it, but ``sleep`` is an async method.
    """
