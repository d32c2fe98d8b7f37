"""The errors of births and locks: what they carry, what they show, and that they travel."""

from __future__ import annotations

import math
import pickle

from trio_folk._errors import (
    AlreadyLocked,
    BootFailed,
    CrashLoop,
    SpawnBudgetExhausted,
    SpawnError,
    SpawnInProgress,
    SpawnLockError,
    WorkerDied,
)


def failures() -> tuple[BootFailed, WorkerDied]:
    return (
        BootFailed("the target has no attribute 'wroker'", worker="thumbs/0.1", exit_code=1, stage="boot"),
        WorkerDied(
            "it died young", worker="thumbs/1.4", pid=7, signal="SIGSEGV", stderr=("one", "two"), stage="call"
        ),
    )


def test_a_crash_loop_shows_its_last_failure_in_full() -> None:
    """And how many there were, and when the next attempt is possible."""
    error = CrashLoop("pool 'thumbs' is in a crash loop", failures(), 12.345, hint="mend the program")
    assert str(error).splitlines() == [
        "pool 'thumbs' is in a crash loop",
        "  next attempt possible in 12.3 s",
        "  hint: mend the program",
        "  failures: 2; the last, WorkerDied:",
        "    it died young [worker thumbs/1.4, pid 7, killed by SIGSEGV, during call]",
        "      its last lines of stderr:",
        "        | one",
        "        | two",
    ]


def test_a_crash_loop_knows_what_its_last_failure_knows() -> None:
    """A handler that looks at stage and stderr needs not ask which failure it was."""
    error = CrashLoop("again and again", failures())
    assert (error.worker, error.pid, error.signal) == ("thumbs/1.4", 7, "SIGSEGV")
    assert (error.stage, error.stderr) == ("call", ("one", "two"))


def test_a_crash_loop_travels_with_its_failures() -> None:
    """With all that those know."""
    back = pickle.loads(pickle.dumps(CrashLoop("again and again", failures(), 5.0)))
    assert [type(each) for each in back.failures] == [BootFailed, WorkerDied]
    assert [vars(each) for each in back.failures] == [vars(each) for each in failures()]
    assert str(back) == str(CrashLoop("again and again", failures(), 5.0))


def test_refusals_say_when_to_come_back() -> None:
    """Where it is known; endless waits are not shown as such."""
    assert "next attempt possible in 1.5 s" in str(SpawnInProgress(1.5))
    assert "next attempt" not in str(SpawnBudgetExhausted(math.inf))
    assert SpawnBudgetExhausted(3.0).remaining == 0
    assert issubclass(SpawnBudgetExhausted, SpawnError)


def test_a_lock_error_is_no_spawn_error() -> None:
    """Nothing was attempted."""
    error = AlreadyLocked("held", "/run/x.lock", pid=7, since=1.5, program="app")
    assert isinstance(error, SpawnLockError)
    assert not isinstance(error, SpawnError)
    assert (error.path, error.pid, error.since, error.program) == ("/run/x.lock", 7, 1.5, "app")
