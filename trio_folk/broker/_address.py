"""Endpoint: where a backend listens, as one string. A path, or on Linux ``@name`` without any file.

The kernel says "invalid argument" of a path that is one byte too long, and cuts others short. So what cannot be an
endpoint is refused here, in words, before anything is made.

Knows strings and what stands at a path. Does not know sockets.
"""

from __future__ import annotations

import os
import stat
import sys

import attrs

from .._errors import BindIOError, InvalidEndpoint

__all__ = ["LONGEST", "SocketFile", "address_of", "check_folder", "find_socket", "is_abstract"]

LONGEST = 107 if sys.platform == "linux" else 103
"""Bytes that an address may have: sun_path holds one more, unix(7)."""


@attrs.frozen
class SocketFile:
    """Which file a socket is bound to; another one at the same path is another one."""

    device: int
    inode: int


def is_abstract(endpoint: str) -> bool:
    """Whether it is a name without a file."""
    return endpoint.startswith("@")


def address_of(endpoint: str) -> str | bytes:
    """What bind(2) and connect(2) take for it.

    Raises:
        InvalidEndpoint: it can be no endpoint.
    """
    raw = os.fsencode(endpoint)
    if b"\0" in raw:
        raise InvalidEndpoint(f"an endpoint cannot carry a NUL: {endpoint!r}", endpoint)
    if len(raw) > LONGEST:
        raise InvalidEndpoint(
            f"the endpoint has {len(raw)} bytes, and a socket's address has room for {LONGEST}: {endpoint}",
            endpoint,
            hint="choose a directory with a shorter path, e.g. with TRIO_FOLK_DIRECTORY",
        )
    if is_abstract(endpoint):
        if sys.platform != "linux":
            raise InvalidEndpoint(f"abstract names are Linux's alone: {endpoint}", endpoint)
        if len(raw) < 2:
            raise InvalidEndpoint("an abstract endpoint needs a name after the '@'", endpoint)
        return b"\0" + raw[1:]
    if not os.path.isabs(endpoint) or endpoint.endswith("/"):
        raise InvalidEndpoint(
            f"an endpoint is the absolute path of a socket, or '@name', not {endpoint!r}", endpoint
        )
    return endpoint


def check_folder(endpoint: str) -> None:
    """See to it that its directory is there, and is ours alone.

    Raises:
        InvalidEndpoint: it cannot be, or is not.
        BindIOError: it cannot be made.
    """
    if is_abstract(endpoint):
        return
    folder = os.path.dirname(endpoint)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidEndpoint(
            f"the directory above {folder} does not exist",
            endpoint,
            hint="only the last directory of the path is made: make the ones above it",
        ) from error
    except OSError as error:
        raise BindIOError(f"the directory {folder} cannot be made: {error.strerror}", endpoint) from error
    found = os.lstat(folder)
    if stat.S_ISLNK(found.st_mode):
        raise InvalidEndpoint(
            f"the directory is a symbolic link, which is not followed: {folder}",
            endpoint,
            hint="name the directory itself",
        )
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidEndpoint(f"this is not a directory: {folder}", endpoint)
    if found.st_uid != os.geteuid():
        raise InvalidEndpoint(
            f"the directory belongs to uid {found.st_uid}, not to {os.geteuid()}: {folder}",
            endpoint,
            hint="choose a directory of your own, e.g. in $XDG_RUNTIME_DIR",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise InvalidEndpoint(
            f"the directory is open to others, mode {stat.S_IMODE(found.st_mode):04o}: {folder}",
            endpoint,
            hint=f"chmod 700 {folder}",
        )


def find_socket(endpoint: str) -> SocketFile | None:
    """The socket's file, or None where there is nothing, or no file to an endpoint of this kind.

    Raises:
        InvalidEndpoint: something else is there: a link, another kind of file, or another user's socket.
    """
    if is_abstract(endpoint):
        return None
    try:
        found = os.lstat(endpoint)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidEndpoint(
            f"the endpoint cannot be looked at: {error.strerror}: {endpoint}", endpoint
        ) from error
    if stat.S_ISLNK(found.st_mode):
        raise InvalidEndpoint(
            f"the endpoint is a symbolic link, which is not followed: {endpoint}", endpoint, hint="remove it"
        )
    if not stat.S_ISSOCK(found.st_mode):
        raise InvalidEndpoint(
            f"the endpoint is a file and not a socket: {endpoint}", endpoint, hint="remove it"
        )
    if found.st_uid != os.geteuid():
        raise InvalidEndpoint(
            f"the socket belongs to uid {found.st_uid}, not to {os.geteuid()}: {endpoint}", endpoint
        )
    return SocketFile(found.st_dev, found.st_ino)
