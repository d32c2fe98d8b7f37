"""Outlets: what calls say before their replies, kept until somebody pulls it.

Invariants
    1. What was put is pulled in its order, and all of it before the end.
    2. Of a call that is through, nothing stays once its end was pulled.

Knows msgids and frames. Does not know what they say.
"""

from __future__ import annotations

import threading

__all__ = ["Outlets"]


class Outlets:
    """The outlets of all calls of one worker; for any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: dict[int, list[bytes]] = {}
        self._closed: set[int] = set()

    def put(self, msgid: int, frame: bytes) -> None:
        """This call says something."""
        if frame:
            with self._changed:
                self._frames.setdefault(msgid, []).append(frame)
                self._changed.notify_all()

    def close(self, msgid: int) -> None:
        """It says no more but its reply. Only for calls that are pulled: their end is kept until then."""
        with self._changed:
            self._closed.add(msgid)
            self._changed.notify_all()

    def pull(self, msgid: int) -> bytes:
        """All that is there, as soon as there is any; nothing at the end."""
        with self._changed:
            while True:
                if frames := self._frames.pop(msgid, None):
                    return b"".join(frames)
                if msgid in self._closed:
                    self._closed.discard(msgid)
                    return b""
                self._changed.wait()
