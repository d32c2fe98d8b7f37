"""Places: where admin sockets are, so that whoever looks after a pool need not be told.

They are beside the brokered backends', in the directory that is this user's alone.

Knows names. Does not know what is said there.
"""

from __future__ import annotations

import glob
import os

from .._errors import BindError
from ..broker import runtime_directory
from ..broker._binding import answers

__all__ = ["find_sockets", "lock_of", "socket_of"]

_SUFFIX = ".admin"


def socket_of(name: str) -> str:
    """Where a pool of this name is administered, unless its program says otherwise."""
    safe = "".join(char if char.isalnum() or char in "-._" else "-" for char in name)
    return os.path.join(
        runtime_directory(), f"{safe.lstrip('.') or 'pool'}{_SUFFIX}"
    )  # glob passes over dots


def lock_of(path: str) -> str:
    """The lock of those who would bind this socket."""
    return f"{path}.lock"


def find_sockets(directory: str | None = None) -> list[str]:
    """The admin sockets of this user's programs on which somebody listens, by name.

    Args:
        directory: where; by default ``$TRIO_FOLK_DIRECTORY``, or ``trio-folk`` in ``$XDG_RUNTIME_DIR``, or else
            ``trio-folk-<uid>`` in the directory for temporary files.
    """
    pattern = os.path.join(glob.escape(os.path.abspath(directory or runtime_directory())), f"*{_SUFFIX}")
    return [path for path in sorted(glob.glob(pattern)) if _lives(path)]


def _lives(path: str) -> bool:
    try:
        return answers(path)
    except BindError:
        return False  # another user's, or no socket at all
