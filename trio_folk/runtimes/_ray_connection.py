"""The connection to a Ray: one a program, shared by every pool on Ray, and left when the last of them is closed.

What does not work
    Connecting in a thread of trio's: an embedded Ray asks the kernel to be killed with the thread that started it, and
    trio lets idle threads go after ten seconds. So one thread connects, stays, and disconnects.
    Connecting in the main thread: it holds up the loop for seconds, and takes SIGTERM from the program.
    Abandoning it half way: Ray cannot be interrupted, and would go on to start processes.

Knows threads and the life of a connection. Does not know what is done with it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import trio

from .._errors import BootFailed
from . import _ray_api as api

__all__ = ["Connection"]

CONNECT_BOUND = 90.0
"""Seconds for Ray to start, or to be reached; it gives up by itself sooner."""
LEAVE_BOUND = 30.0
"""Seconds for an embedded Ray to end its processes."""


class _Keeper:
    """The thread that a connection belongs to."""

    def __init__(self, address: str | None, options: Mapping[str, Any]) -> None:
        self.address = address
        self.users = 0
        self.error: BootFailed | None = None
        self.settled = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, args=(address, options), name="trio_folk ray", daemon=True
        )
        self._thread.start()

    def leave(self) -> None:
        """Disconnect as soon as it is connected; returns when that is done. Blocks."""
        self._leave.set()
        self._thread.join(CONNECT_BOUND if not self.settled.is_set() else LEAVE_BOUND)

    def _keep(self, address: str | None, options: Mapping[str, Any]) -> None:
        try:
            found = api.connected()
            if not found:
                api.connect(address, options)
        except BootFailed as error:
            self.error = error
            self.settled.set()
            return
        except Exception as error:
            self.error = BootFailed(f"Ray cannot be used: {error!r}", stage="connect")
            self.settled.set()
            return
        self.settled.set()
        self._leave.wait()
        if not found:
            api.disconnect()


_lock = threading.Lock()  # pools of several threads, each with its own loop, share one connection
_keeper: _Keeper | None = None


class Connection:
    """One runtime's part in the connection: made when its first worker is asked for, kept until it is left.

    Args:
        address: of the cluster, or None.
        options: of ``ray.init``.
    """

    def __init__(self, address: str | None, options: Mapping[str, Any]) -> None:
        self._address = address
        self._options = options
        self._keeper: _Keeper | None = None

    async def wait(self) -> None:
        """Return when there is one. One that the program has made by itself is used, and left as it is.

        Raises:
            BootFailed: it cannot be had, or this program is connected to another Ray; who asks again tries again.

        Cancellation: it is made nevertheless, until it is left. A checkpoint.
        """
        await trio.lowlevel.checkpoint()
        keeper = self._keeper = self._keeper or _join(self._address, self._options)
        if not keeper.settled.is_set():
            await trio.to_thread.run_sync(keeper.settled.wait, CONNECT_BOUND, abandon_on_cancel=True)
        error = keeper.error
        if error is None and not keeper.settled.is_set():
            error = BootFailed(f"Ray was not there after {CONNECT_BOUND:g} s", stage="connect")
        elif error is not None and self._keeper is keeper:
            self._keeper = None
            _part(keeper)
        if error is not None:
            raise BootFailed(error.message, stage="connect", hint=error.hint) from error

    async def leave(self) -> None:
        """Want it no more; a Ray that was started for it ends with its last user.

        Cancellation: shielded, for at most CONNECT_BOUND where it is still being made, and LEAVE_BOUND.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is not None and _part(keeper):
            with trio.CancelScope(shield=True):  # bounded by the keeper itself
                await trio.to_thread.run_sync(keeper.leave)


def _join(address: str | None, options: Mapping[str, Any]) -> _Keeper:
    global _keeper
    with _lock:
        if _keeper is None or _keeper.error is not None:
            _keeper = _Keeper(address, options)
        elif _keeper.address != address:
            raise BootFailed(
                f"this program uses the Ray at {_keeper.address or 'home'!r}, and can use no other at the same time",
                stage="connect",
                hint="give all pools on Ray the same address",
            )
        _keeper.users += 1
        return _keeper


def _part(keeper: _Keeper) -> bool:
    """Whether that was its last user, who sees it off. Whoever comes next has a connection of his own."""
    global _keeper
    with _lock:
        keeper.users -= 1
        if keeper.users:
            return False
        if _keeper is keeper:
            _keeper = None
        return True
