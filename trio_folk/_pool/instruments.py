"""The instruments of one pool: who is told what, and what becomes of one that raises.

Most pools have none, and a call must not pay for that. So those that want to hear of calls are one tuple, those that
want to hear of workers another, and whoever has something to tell looks whether it is empty.

Invariants
    1. Nothing that an instrument raises reaches a call or a supervisor; it is told nothing more.
    2. An instrument is in a tuple only if it overrides a method that belongs there.

Knows the words of `Instrument`. Does not know calls, workers or what instruments are for.
Picture: docs/design/telemetry.md
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ..abc import Instrument
from .events import PoolEvent

__all__ = ["Instruments"]

_CALLS = ("call_queued", "call_started", "call_finished")
_WORKERS = tuple(name for name in vars(Instrument) if name.startswith(("worker_", "reload_")))

_log = logging.getLogger("trio_folk.abc.Instrument")


class Instruments:
    """Everybody who watches one pool.

    Attributes:
        of_calls: those that want to hear of calls.
        of_workers: those that want to hear of workers and reloads.
    """

    def __init__(self) -> None:
        self._all: tuple[Instrument, ...] = ()
        self.of_calls: tuple[Instrument, ...] = ()
        self.of_workers: tuple[Instrument, ...] = ()

    def __repr__(self) -> str:
        return f"<Instruments {list(self._all)}>"

    def add(self, instrument: Instrument) -> None:
        """Tell it from now on."""
        if not isinstance(instrument, Instrument):
            raise TypeError(f"an instrument is a trio_folk.abc.Instrument, not {instrument!r}")
        if instrument not in self._all:
            self._keep((*self._all, instrument))

    def remove(self, instrument: Instrument) -> None:
        """Tell it no more.

        Raises:
            KeyError: it is not there.
        """
        if instrument not in self._all:
            raise KeyError(instrument)
        self._keep(tuple(each for each in self._all if each is not instrument))

    def _keep(self, instruments: tuple[Instrument, ...]) -> None:
        self._all = instruments
        self.of_calls = tuple(each for each in instruments if _hears(each, _CALLS))
        self.of_workers = tuple(each for each in instruments if _hears(each, _WORKERS))

    def tell(self, hearers: tuple[Instrument, ...], name: str, *about: object) -> None:
        """Call a method of those of the hearers that were not removed meanwhile."""
        for instrument in hearers:
            if instrument not in self._all:
                continue
            try:
                getattr(instrument, name)(*about)
            except Exception:
                self.remove(instrument)
                _log.exception("%s() of %r raised; it is told nothing more", name, instrument)

    def tell_event(self, event: PoolEvent) -> None:
        """Something has happened to a worker; what is about slots or the pool is for `events()` alone."""
        worker, reason = event.worker, event.reason or ""
        match event.kind:
            case "spawning" | "ready":
                self.tell(self.of_workers, f"worker_{event.kind}", worker)
            case "boot_failed":
                self.tell(self.of_workers, "worker_failed", worker, reason)
            case "retiring" | "condemned":
                self.tell(self.of_workers, f"worker_{event.kind}", worker, reason)
            case "ended":
                self.tell(self.of_workers, "worker_ended", worker, reason, event.exit, event.planned)

    @contextmanager
    def reload(self, pool: str, generation: int) -> Iterator[None]:
        """A reload runs while the block does."""
        hearers, began = self.of_workers, trio.current_time()
        failure: BaseException | None = None
        self.tell(hearers, "reload_started", pool, generation)
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds = trio.current_time() - began
            self.tell(hearers, "reload_finished", pool, generation, seconds, failure)
            failure = None


def _hears(instrument: Instrument, names: tuple[str, ...]) -> bool:
    return any(getattr(type(instrument), name) is not getattr(Instrument, name) for name in names)
