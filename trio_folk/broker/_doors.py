"""The doors: a daemon's two endpoints and its record as files, put there, kept, and taken away again.

Anybody may delete a file. The daemon then serves on for those who are connected, and nobody else finds it. So what is
missing is put back, and what is another's is left alone.

Invariants
    1. Nothing is removed here but what is this daemon's own: the same file, or a record with its pid.
    2. Once disowned, nothing is written any more: the files are the successor's.

Knows files and listening sockets. Does not know who is served.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import attrs

from .._errors import AlreadyBound, BindError, BindIOError
from .._spawn import SpawnLock
from ._address import SocketFile, find_socket, is_abstract
from ._binding import bind_under_lock, remove_own
from ._place import Place
from ._record import Record, State, read_record, remove_record, write_record

__all__ = ["Door", "Doors"]

_log = logging.getLogger("trio_folk.broker")


@attrs.define(eq=False)
class Door:
    """A listening socket and its file."""

    endpoint: str
    bind: Callable[[str], socket.socket]
    sock: socket.socket
    file: SocketFile | None

    @classmethod
    def open(cls, endpoint: str, bind: Callable[[str], socket.socket], lock: SpawnLock | None) -> Door:
        """Bound anew; with the lock, what is proven stale is removed.

        Raises:
            BindError: it cannot be bound.
        """
        if lock is not None:
            return cls(endpoint, bind, *bind_under_lock(bind, endpoint, lock))
        sock = bind(endpoint)
        return cls(endpoint, bind, sock, find_socket(endpoint))

    @property
    def in_place(self) -> bool:
        """Whether whoever connects there comes to this socket."""
        if is_abstract(self.endpoint):
            return True
        try:
            return self.file is not None and find_socket(self.endpoint) == self.file
        except BindError:
            return False

    def reopen(self, lock: SpawnLock | None) -> socket.socket:
        """Bind another socket in its place; returns the one from before, which still listens.

        Raises:
            BindError: something is there.
        """
        if is_abstract(self.endpoint):
            raise AlreadyBound(
                f"an abstract endpoint is bound until it is closed: {self.endpoint}", self.endpoint
            )
        new, before = Door.open(self.endpoint, self.bind, lock), self.sock
        self.sock, self.file = new.sock, new.file
        return before

    def withdraw(self) -> None:
        """Remove its file, if it is still its own; once: the number of an inode is used again."""
        file, self.file = self.file, None
        remove_own(self.endpoint, file)


@attrs.define(eq=False)
class Doors:
    """The daemon's files.

    Attributes:
        place: their names.
        main, control: the two endpoints.
        record: what the record says, or would.
        disowned: they are not ours to write any more.
    """

    place: Place
    main: Door
    control: Door
    record: Record
    disowned: bool = False

    def write(self, *, must: bool = False, **changes: Any) -> None:
        """Change the record, here and in its file; only here once it is another's, or it cannot be written.

        Raises:
            BindIOError: it must be written, and cannot be.
        """
        file = self.main.file
        self.record = attrs.evolve(
            self.record, file=None if file is None else (file.device, file.inode), **changes
        )
        if not self.superseded:
            try:
                write_record(self.place.record, self.record)
            except OSError as error:
                if must:
                    raise BindIOError(
                        f"the record cannot be written: {error.strerror}: {self.place.record}",
                        self.place.endpoint,
                    ) from error
                _log.warning("the record cannot be written: %s", error)

    @property
    def in_place(self) -> bool:
        """Whether all of them are there, and are this daemon's."""
        found = read_record(self.place.record)
        recorded = found is not None and found.is_of(os.getpid())
        return recorded and self.main.in_place and self.control.in_place

    @property
    def is_own(self) -> bool:
        """Whether the record's file is this daemon's, or nobody's that lives."""
        found = read_record(self.place.record)
        return found is None or not found.lives or found.is_of(os.getpid())

    @property
    def superseded(self) -> bool:
        """Whether the record's file is another daemon's, and that one lives."""
        return self.disowned or not self.is_own

    def withdraw(self) -> None:
        """Remove both endpoints' files, where they are its own."""
        self.main.withdraw()
        self.control.withdraw()

    def close(self) -> None:
        """Close both sockets, if nobody has."""
        self.main.sock.close()
        self.control.sock.close()

    def settle(self, *, planned: bool) -> None:
        """Leave what the next starter is to know: the attempts that count, its own too if this end was not planned.

        Once: afterwards the files may be the next one's.
        """
        self.withdraw()
        if self.superseded:
            return
        self.disowned = True
        others = tuple(began for began in self.record.attempts if began != self.record.launched)
        attempts = others if planned else self.record.attempts
        try:
            if attempts:
                ended = attrs.evolve(
                    self.record, state=State.ENDED, pid=None, started=None, attempts=attempts
                )
                write_record(self.place.record, ended)
            else:
                remove_record(self.place.record)
        except OSError as error:
            _log.warning("the record cannot be written: %s", error)

    def stable(self) -> None:
        """It has lived long enough: its own attempt is given back."""
        self.write(attempts=tuple(began for began in self.record.attempts if began != self.record.launched))
