"""Under the spawn lock: what stands in the way is waited for, mended, replaced or removed; then a daemon is launched.

Invariants
    1. A daemon is launched only while the lock is held, no recorded process lives that is not leaving, and nobody
       listens on the endpoint.
    2. Each launch is on record, with its pid, before the daemon's program begins.
    3. A record is written here only before that moment and after that process's death.

Knows records, locks and launches. Does not know who asked, or that others wait.
Picture: docs/design/broker.md
"""

from __future__ import annotations

import signal
import socket
from contextlib import suppress

import attrs
import trio

from .._errors import ApplicationError, BackendRefused, BootFailed, BootTimeout, SpawnBudgetExhausted
from .._spawn import SpawnLock, boot_id, process_started
from ._address import SocketFile
from ._ask import ask
from ._binding import answers, bind_endpoint, bind_under_lock, remove_own, remove_stale
from ._bootstrap import tell
from ._detach import launch_detached
from ._dial import Unreachable
from ._ledger import begin_attempt
from ._log import end_of, tail_since
from ._place import Place
from ._record import Record, State, now, read_record, write_record
from ._service import Service
from ._versions import Fit
from ._waiting import Gone, pauses, wait_bound
from ._watch import Watch, watching

__all__ = ["ensure"]

QUICK_RETRY = 0.25
"""Seconds before a daemon that died while it started is started once more; the next time it is for the caller."""
RETIRE_WAIT = 15.0
"""Seconds that a daemon which is to be replaced has to free its endpoint."""
MEND_WAIT = 2.0
"""Seconds that a daemon has to put back what it has lost."""
KILL_WAIT = 5.0
"""Seconds that a daemon which never bound is given to end after SIGTERM, and again after SIGKILL."""
VERSION_RETRY = 30.0
"""Seconds after which a refusal because of the version suggests to ask again."""


async def ensure(service: Service, lock: SpawnLock, deadline: float) -> None:
    """Return when somebody listens on the service's endpoint; the lock is held by the caller, throughout.

    Raises:
        SpawnBudgetExhausted: all programs together have tried too often.
        BootFailed, BootTimeout: it was launched, and died or never bound; twice.
        BackendRefused: what runs is too new, or does not leave, or does not answer.
        BindError: the endpoint cannot be had.
        SpawnLockError: the lock was lost.

    Always a checkpoint. Cancellation: a daemon that was launched goes on.
    """
    place = service.place
    record = read_record(place.record)
    if record is not None:
        with watching(record) as watch:
            if watch is not None and await _deal_with(service, record, watch, lock, deadline):
                return
    if answers(place.endpoint) or await _mended_itself(place, lock):  # it has lost its record
        await trio.lowlevel.checkpoint()
        return
    try:
        await _launch(service, place, lock)
    except BootFailed:
        await trio.sleep(QUICK_RETRY)
        await _launch(service, place, lock)


async def _mended_itself(place: Place, lock: SpawnLock) -> bool:
    """Whether a daemon that has lost its record and its path, but not its control endpoint, has put them back."""
    if not answers(place.control):
        return False
    remove_stale(place.endpoint, lock)
    with suppress(Unreachable, trio.TooSlowError, BackendRefused, ApplicationError):
        await ask(place.control, "broker.mend", timeout=MEND_WAIT)
    return answers(place.endpoint)


async def _deal_with(
    service: Service, record: Record, watch: Watch, lock: SpawnLock, deadline: float
) -> bool:
    """Whether the living daemon of this record can be connected to; if not, it is no longer in the way."""
    place = service.place
    if record.state is State.DRAINING:
        await _until_gone(record, watch, deadline)
        return False
    fit = service.fit(record.version)
    if fit is Fit.NEW:
        raise too_new(service, record)
    if fit is Fit.OLD:
        await _replace(place, record, watch)
        return False
    if answers(place.endpoint):
        await trio.lowlevel.checkpoint()
        return True
    return await _rouse(service, record, watch, lock, deadline)


def too_new(service: Service, record: Record) -> BackendRefused:
    """The refusal of one who is not to use what runs, nor to replace it."""
    return BackendRefused(
        f"{service.name} {record.version} runs, which is too new for a program that wants {service.version}",
        "version",
        VERSION_RETRY,
        pid=record.pid,
        hint="update this program, or give it a backend of its own with isolation='explicit'",
    )


async def _until_gone(record: Record, watch: Watch, deadline: float) -> None:
    if not await watch.ended_within(max(0.0, deadline - trio.current_time())):
        raise BackendRefused(f"process {record.pid} is shutting down", "shutting down", pid=record.pid)


async def _replace(place: Place, record: Record, watch: Watch) -> None:
    """Have it free its endpoint, and go on serving those that it has until they leave."""
    with suppress(Unreachable, trio.TooSlowError, BackendRefused, ApplicationError):
        await ask(
            place.control, "broker.retire", {"reason": "replaced by another version"}, timeout=RETIRE_WAIT
        )
        return
    watch.signal(signal.SIGTERM)  # it is no program of ours, or it starts, or does not answer
    if not await watch.ended_within(RETIRE_WAIT):
        raise BackendRefused(
            f"version {record.version}, process {record.pid}, does not leave", "shutting down", pid=record.pid
        )


async def _rouse(service: Service, record: Record, watch: Watch, lock: SpawnLock, deadline: float) -> bool:
    """It lives, and nobody listens there: it starts, or has lost its path, or is just dying."""
    place = service.place
    for pause in pauses():
        current = read_record(place.record)
        if current is not None and current.state.rank >= State.SERVING.rank:
            remove_stale(place.endpoint, lock)  # it listens, so what refuses there is somebody else's
            watch.signal(signal.SIGHUP)  # mend your doors: the lock is held for you
        if await watch.ended_within(pause):
            return False
        if answers(place.endpoint):
            return True
        starting = current is None or current.state.rank < State.SERVING.rank
        if starting and now() - record.launched > service.start_timeout:
            await _end(watch)
            return False
        if trio.current_time() > deadline:
            break
    raise BackendRefused(
        f"process {record.pid} runs, and does not listen on {place.endpoint}",
        "busy",
        pid=record.pid,
        hint="is it stopped, or stuck? end it, and another one is started",
    )


async def _end(watch: Watch) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        watch.signal(number)
        if await watch.ended_within(KILL_WAIT):
            return


async def _launch(service: Service, place: Place, lock: SpawnLock) -> None:
    """One attempt."""
    before = read_record(place.record)
    attempts = () if before is None or before.boot != boot_id() else before.attempts
    record = Record(
        service=service.key,
        version=service.version,
        endpoint=place.endpoint,
        control=place.control,
        state=State.LAUNCHED,
        attempts=attempts,
        idle_timeout=service.idle_timeout,
        program=service.program,
    )
    try:
        record = attrs.evolve(record, attempts=begin_attempt(attempts, service.budget, record.launched))
    except SpawnBudgetExhausted as error:
        error.stderr = tail_since(place.log, 0)
        raise
    lock.verify()
    write_record(place.record, record)  # it is spent from here on, whatever becomes of us
    remove_stale(place.control, lock)
    listener, file = None, None
    if service.hand_over:
        listener, file = bind_under_lock(bind_endpoint, place.endpoint, lock)
    else:
        remove_stale(place.endpoint, lock)
    try:
        await _launch_recorded(service, place, record, listener, file)
    finally:
        if listener is not None:
            listener.close()


async def _launch_recorded(
    service: Service,
    place: Place,
    record: Record,
    listener: socket.socket | None,
    file: SocketFile | None,
) -> None:
    launched: list[Record] = []

    def recorded(pid: int) -> None:
        launched.append(
            attrs.evolve(
                record,
                pid=pid,
                started=process_started(pid),
                state=State.LAUNCHED if listener is None else State.BOUND,
                file=None if file is None else (file.device, file.inode),
            )
        )
        write_record(place.record, launched[0])

    said = end_of(place.log)
    try:
        await launch_detached(
            service.program,
            env=service.environment | tell(place),
            cwd=service.cwd,
            log=place.log,
            listener=listener,
            recorded=recorded,
        )
        if listener is None:
            await _wait_until_bound(service, place, launched[0])
    except (BootFailed, BootTimeout) as error:
        error.stderr = tail_since(place.log, said)
        with trio.CancelScope(shield=True):  # bounded by KILL_WAIT
            if not launched or await _has_ended(launched[0]):
                remove_own(place.endpoint, file)
                write_record(place.record, attrs.evolve(record, state=State.ENDED))
        raise
    except BaseException:  # withdrawn; what was recorded goes on
        if not launched:
            remove_own(place.endpoint, file)
            write_record(place.record, attrs.evolve(record, state=State.ENDED, attempts=record.attempts[:-1]))
        raise


async def _has_ended(record: Record) -> bool:
    with watching(record) as watch:
        return watch is None or await watch.ended_within(KILL_WAIT)


async def _wait_until_bound(service: Service, place: Place, record: Record) -> None:
    with watching(record) as watch:
        try:
            if watch is None:
                raise Gone
            if await wait_bound(place, watch, trio.current_time() + service.start_timeout):
                return
            await _end(watch)
        except Gone:
            raise BootFailed(
                f"{service.name} ended before it bound its endpoint", pid=record.pid, stage="boot"
            ) from None
    raise BootTimeout(
        f"{service.name} did not bind its endpoint within {service.start_timeout:g} s, and was ended",
        pid=record.pid,
        stage="boot",
        hint="bind before anything that takes time",
    )
