"""A segment: memory without a name that one side writes and the other reads, gone with the last who uses it.

A peer that shrinks shared memory kills whoever reads it, and a view whose bytes change is worse than a copy. So
a segment is sealed before anybody else has it, what comes from outside is mapped only if it is, and the end
of a view is its true end.

Invariants
    1. What is mapped from outside is a memfd that can neither shrink nor grow, of exactly the size that was told.
    2. No descriptor is kept: mapped memory needs none, and close-on-exec holds for the moment before.
    3. Memory is unmapped, and a use told to be over, when nobody can reach it any more: never before.

What does not work
    A weak reference or ``__del__`` on what exports the memory: both are told of a garbage cycle before its other
    finalizers run, and one of those may bring a view back. So the exporter holds an object that the collector does
    not track, and which is therefore deleted with it and never before.
    `mmap.mmap`: it keeps a descriptor, and tells nobody when a view of a part of it has died.

Knows memory. Does not know what is in it, who is lent it, or how descriptors travel. Importing ctypes costs ten
milliseconds: this module is imported with the first large buffer.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import mmap
import os
from functools import partial

from .._errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["PAGE", "Mapping", "Segment", "blank", "copied"]

PAGE = mmap.PAGESIZE

_HUGE = 2 << 20  # bytes of a huge page; madvise(2)
_PAYS = 4 << 20  # bytes; below, malloc has warm memory, and new pages would be slower
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_MADV_HUGEPAGE = 14

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
for _new in (_new_bytes, _new_bytearray):
    _new.restype = ctypes.py_object
    _new.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t)
_untrack = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.restype = None
_untrack.argtypes = (ctypes.py_object,)
_BYTES_HEADER = bytes.__basicsize__ - 1  # the terminating zero is counted in it

_numbers = itertools.count()
_endings: dict[int, Callable[[], object]] = {}


class _Last(int):
    """Calls what was kept for it when it dies, in whatever thread that happens."""

    __slots__ = ()

    def __del__(self, endings: dict[int, Callable[[], object]] = _endings) -> None:
        endings.pop(int(self))()


def _last(ending: Callable[[], object]) -> _Last:
    number = next(_numbers)
    _endings[number] = ending
    last = _Last(number)
    _untrack(last)
    return last


class Segment:
    """Memory that this side made, to write.

    Args:
        number: what both sides call it.
        size: in bytes, of whole pages.

    Attributes:
        descriptor: to be handed to the other side, and closed with `announced`.
        memory: all of it, writable.

    Raises:
        OSError: there is none.
    """

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.descriptor: int | None = os.memfd_create("trio_folk", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            address = _map(self.descriptor, size, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            self.announced()
            raise
        self.memory = _exported(address, size, _last(partial(_munmap, address, size)))

    def announced(self) -> None:
        """The other side has the descriptor, or will never have it: close ours."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Mapping:
    """Memory that the other side made, to read.

    Args:
        descriptor: as it came; it stays the caller's to close.
        size: what the other side says that it has.

    Raises:
        ProtocolError: it could change under us.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        except OSError:
            raise ProtocolError("a segment that is no memfd") from None
        if seals & _SEALS != _SEALS:
            raise ProtocolError("a segment without its seals")
        if os.fstat(descriptor).st_size != size:
            raise ProtocolError(
                f"a segment of {os.fstat(descriptor).st_size} bytes that is told to have {size}"
            )
        try:
            self._address = _map(descriptor, size, mmap.PROT_READ)
        except OSError as error:
            raise ProtocolError(f"a segment that cannot be mapped: {error.strerror}") from None
        self.size = size
        self._mapped = _last(partial(_munmap, self._address, size))

    def view(self, ended: Callable[[], object]) -> memoryview:
        """All of it, read-only, for one use; `ended` is called when no part of this view can be reached any more.

        That may be in any thread and in the middle of anything: it must not do more than to note it.
        """
        return _exported(self._address, self.size, self._mapped, _last(ended)).toreadonly()


def _map(descriptor: int, size: int, protection: int) -> int:
    address: int | None = _mmap(None, size, protection, mmap.MAP_SHARED, descriptor, 0)
    if address is None or address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address


def _exported(address: int, size: int, *held: _Last) -> memoryview:
    """This memory, for as long as anybody has a view of it; `held` is held until then."""
    exporter: Any = (ctypes.c_char * size).from_address(address)
    exporter.held = held
    return memoryview(exporter).cast("B")


def blank(size: int, mutable: bool) -> tuple[bytes | bytearray, memoryview]:
    """A new ``bytes`` or ``bytearray``, and its memory, to be written before anybody else has the value."""
    value: Any = (_new_bytearray if mutable else _new_bytes)(None, size)
    if mutable:
        memory = (ctypes.c_char * size).from_buffer(value)
    else:
        memory = (ctypes.c_char * size).from_address(id(value) + _BYTES_HEADER)
    if size >= _PAYS:
        start = -(-ctypes.addressof(memory) // _HUGE) * _HUGE
        end = (ctypes.addressof(memory) + size) // _HUGE * _HUGE
        _madvise(start, end - start, _MADV_HUGEPAGE)  # where the kernel has none, it is as it was
    return value, memoryview(memory).cast("B")


def copied(view: memoryview, mutable: bool) -> bytes | bytearray:
    """Its bytes as a private value."""
    if len(view) < _PAYS:
        return bytearray(view) if mutable else bytes(view)
    value, memory = blank(len(view), mutable)
    memory[:] = view
    return value
