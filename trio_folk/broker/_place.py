"""Place: the names of everything that belongs to one backend, all of them made of its endpoint.

Whoever knows the endpoint finds the record, the lock and the control endpoint; nothing has to be told.

Knows names. Does not know what is in the files, or whether they exist.
"""

from __future__ import annotations

import os
import tempfile

import attrs

from ._address import address_of, is_abstract

__all__ = ["Place", "runtime_directory"]

DIRECTORY = "TRIO_FOLK_DIRECTORY"
"""The environment variable that names the directory of this user's backends."""


def runtime_directory() -> str:
    """Where this user's backends live, unless a service says otherwise."""
    if given := os.environ.get(DIRECTORY):
        return os.path.abspath(given)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(runtime, "trio-folk")
    return os.path.join(tempfile.gettempdir(), f"trio-folk-{os.geteuid()}")


@attrs.frozen
class Place:
    """One backend's names.

    Attributes:
        endpoint: where it serves.
        control: where it answers questions about itself.
        record: the file that says which process it is.
        lock: the lock file of those who would start it.
        log: where what it prints goes.
    """

    endpoint: str
    control: str
    record: str
    lock: str
    log: str

    @classmethod
    def of(cls, endpoint: str, directory: str | None = None) -> Place:
        """The names beside this endpoint; for an abstract one, those in this directory.

        Raises:
            InvalidEndpoint: it, or the control endpoint beside it, can be none.
        """
        if is_abstract(endpoint):
            name = "".join(char if char.isalnum() or char in "-._" else "-" for char in endpoint[1:])
            base = os.path.join(directory or runtime_directory(), name)
            control = f"{endpoint}.ctl"
        else:
            base = endpoint.removesuffix(".sock")
            control = f"{base}.ctl"
        for each in (endpoint, control):
            address_of(each)
        return cls(endpoint, control, f"{base}.json", f"{base}.lock", f"{base}.log")
