"""Large buffers of a worker whose calls are carried by Ray: they come and go beside the frames, in its object store.

A buffer in a frame is copied by every hand that it passes through. Beside it, Ray copies it once into memory that all
processes of a node see; what arrives shows that memory, which stays as long as anything shows it.

Knows buffers and as what they are to arrive. Does not know Ray, segments or calls.
"""

from __future__ import annotations

from .._errors import ProtocolError
from ._borrower import loan_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._wire import Notify

__all__ = ["Loans"]


class Loans:
    """Stands where `Buffers` stands in a worker that shares memory with its parent.

    Args:
        transfer: as what large bytes arrive in the parent.

    Attributes:
        given: what came beside the call that runs.
        uses: nothing, ever: the store itself knows what is shown.
    """

    uses: frozenset[int] = frozenset()

    def __init__(self, transfer: str) -> None:
        self._transfer = transfer
        self.given: Sequence[Any] = ()
        self._lent: list[Any] = []

    def borrow(self, loan: Any) -> list[Any]:
        """The buffers that a call came with.

        Raises:
            ProtocolError: there are no such buffers.
        """
        _, buffers = loan_from(loan)
        if len(buffers) != len(self.given):
            raise ProtocolError(f"a loan of {len(buffers)} buffers came with {len(self.given)}")
        views = [_made(view, kind) for view, (_, _, kind) in zip(self.given, buffers, strict=True)]
        self.given = ()
        return views

    def pickled(self, value: Any) -> bytes | list[Any]:
        """The pickle of a result; with a loan where large parts of it go beside it."""
        from ._large import Large
        from ._views import dumps

        large = Large(self._transfer)
        pickled = dumps(large.lift(value), large)
        if not large:
            return pickled
        self._lent = [raw for _, raw, _ in large.buffers]
        return [pickled, large.loan(0)]

    def take(self) -> list[Any]:
        """What goes beside the reply, as pickle's buffers."""
        if not self._lent:
            return []
        import pickle

        lent, self._lent = self._lent, []
        return [pickle.PickleBuffer(each) for each in lent]

    def settle(self) -> None:
        """A call is about to be answered: nobody need be told."""

    def hear(self, message: Notify) -> None:
        """Nothing is told of segments here."""


def _made(view: Any, kind: int) -> Any:
    """What a function gets for a buffer."""
    if kind == 0:
        return memoryview(view).toreadonly()
    return bytearray(view) if kind == 2 else bytes(view)
