"""Pickles in which memoryviews travel too: as themselves, read-only.

Pickle refuses them, for it cannot know whose memory they show. A call's arguments and results are another matter:
what they show is copied once, wherever it goes.

Knows pickle and memoryviews. Does not know shared memory.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from functools import partial

from ._large import THRESHOLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._large import Large

__all__ = ["dumps", "rebuilt"]


def dumps(value: object, large: Large | None = None) -> bytes:
    """Its pickle; what is large in it goes to `large` instead.

    Raises:
        Exception: it has none, or is a view of what cannot be shown elsewhere.
    """
    try:
        if large is None:
            return pickle.dumps(value, 5)
        return pickle.dumps(value, 5, buffer_callback=large.take)
    except TypeError as error:
        if "memoryview" not in str(error):
            raise
    if large is not None:
        large.restart()
    written = io.BytesIO()
    pickler = pickle.Pickler(written, 5, buffer_callback=None if large is None else large.take)
    pickler.dispatch_table = {**copyreg.dispatch_table, memoryview: partial(_reduced, large=large)}
    pickler.dump(value)
    return written.getvalue()


def _reduced(view: memoryview, large: Large | None) -> tuple[Any, ...]:
    try:
        memoryview(b"").cast(view.format)  # type: ignore[call-overload]  # the format is any string
    except ValueError:
        raise TypeError(
            f"cannot pickle a memoryview of format {view.format!r}: cast it to bytes first"
        ) from None
    shape = None if view.ndim == 1 or not view.nbytes else view.shape
    content: Any
    if large is None or view.nbytes < THRESHOLD:
        content = view.tobytes() if view.readonly else bytearray(view.tobytes())
    else:
        content = large.stand_in(view if view.c_contiguous else memoryview(view.tobytes()))
    return rebuilt, (content, view.format, shape, large is not None and large.copies)


def rebuilt(buffer: Any, form: str, shape: tuple[int, ...] | None, own: bool) -> memoryview:
    """A memoryview as it was sent, of what came in its place; read-only, unless its receiver is to own that."""
    flat: Any = memoryview(buffer).cast("B")
    flat = flat if own else flat.toreadonly()
    view: memoryview = flat.cast(form) if shape is None else flat.cast(form, shape)
    return view
