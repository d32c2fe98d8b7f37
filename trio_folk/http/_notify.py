"""What systemd is told, and what it hands over: ``sd_notify`` and socket activation, without its library.

Knows two protocols of systemd (sd_notify(3), sd_listen_fds(3)). Does not know servers.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import MutableMapping

__all__ = ["Notifier", "handed_over"]

_FIRST = 3  # SD_LISTEN_FDS_START
_LIFTED = 10  # above the numbers that workers get


class Notifier:
    """Tells the service manager how we are, if there is one.

    Args:
        environ: where it says how it is reached; taken out, for a child that inherits it could speak for us.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """Requests are served."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """New code takes over; `ready` says that it has."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """No new connections are taken."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """A line for ``systemctl status``."""
        self._tell(f"STATUS={text.splitlines()[0] if text else ''}")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(state.encode(), self._address)
            except OSError:
                return  # a manager that does not listen is no reason not to serve


def handed_over(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd hands over, if it does; the variables are taken out.

    Raises:
        ValueError: it hands over something else.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for number in range(_FIRST, _FIRST + int(count)):
        lifted = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _LIFTED)
        os.close(number)
        sockets.append(socket.socket(fileno=lifted))
    for sock in sockets:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            for each in sockets:
                each.close()
            raise ValueError(
                "systemd hands over a socket that does not listen: Accept=no belongs into its unit"
            )
    return sockets
