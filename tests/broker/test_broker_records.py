"""Records, the ledger, services and versions: data, judged without a process."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest
from broker_kit import Broker
from hypothesis import given
from hypothesis import strategies as st

from trio_folk import InvalidEndpoint, SpawnBudget, SpawnBudgetExhausted
from trio_folk._spawn import boot_id, process_started
from trio_folk.broker import Service, runtime_directory
from trio_folk.broker._ledger import begin_attempt, still_counting
from trio_folk.broker._record import Record, State, now, read_record, write_record
from trio_folk.broker._versions import Fit


def sample(**changes: Any) -> Record:
    """The record of this process, as if it were a daemon."""
    known = Record(
        service="echo",
        version="1.2.3",
        endpoint="/run/x/echo.sock",
        control="/run/x/echo.ctl",
        state=State.READY,
        pid=os.getpid(),
        started=process_started(os.getpid()),
        file=(1, 2),
        attempts=(1.5, 2.5),
        idle_timeout=30.0,
        program=("python", "-m", "echo"),
    )
    return attrs.evolve(known, **changes)


@pytest.mark.parametrize("idle", [30.0, math.inf])
def test_record_comes_back_as_it_was_written(broker: Broker, idle: float) -> None:
    """All of it, to the last digit; and nobody else may read it."""
    path = str(broker.folder / "x.json")
    write_record(path, sample(idle_timeout=idle))
    assert read_record(path) == sample(idle_timeout=idle, launched=read_record(path).launched)  # type: ignore[union-attr]
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    assert os.listdir(broker.folder) == ["x.json"]


def test_record_is_replaced_whole(broker: Broker) -> None:
    """A reader that has it open goes on reading the old one."""
    path = str(broker.folder / "x.json")
    write_record(path, sample())
    with open(path) as file:
        write_record(path, sample(version="2.0.0"))
        assert json.load(file)["version"] == "1.2.3"
    found = read_record(path)
    assert found is not None
    assert found.version == "2.0.0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        "[" * 100_000,
        sample().as_json()[:-5],
        sample().as_json().replace("ready", "happy"),
        sample(pid=-1).as_json(),
        sample(pid=0).as_json(),
        sample(pid=2**40).as_json(),
        sample().as_json().replace(f'"pid": {os.getpid()}', '"pid": true'),
        sample().as_json().replace('"echo"', "7", 1),
    ],
)
def test_nonsense_is_no_record(broker: Broker, text: str) -> None:
    """Whatever is in the file, it is a record or none; kill(-1) is not far otherwise."""
    path = broker.folder / "x.json"
    path.write_text(text)
    assert read_record(str(path)) is None


def test_link_is_no_record(broker: Broker) -> None:
    """It would be somebody else's file."""
    write_record(str(broker.folder / "x.json"), sample())
    (broker.folder / "y.json").symlink_to("x.json")
    assert read_record(str(broker.folder / "y.json")) is None


def test_process_lives_only_with_its_start_time_and_boot() -> None:
    """A pid alone may be a stranger's by now."""
    assert sample().lives
    assert not sample(started=(process_started(os.getpid()) or 0) - 1).lives
    assert not sample(boot="another").lives
    assert not sample(pid=None).lives
    assert sample().is_of(os.getpid())


def test_zombie_does_not_live() -> None:
    """It has closed its sockets; whoever is to reap it may take its time."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process_started(pid) is None
    os.waitpid(pid, 0)


def test_full_window_refuses_and_says_until_when() -> None:
    """After that long the answer is yes."""
    budget = SpawnBudget(2, 30)
    attempts = begin_attempt((), budget, 100.0)
    attempts = begin_attempt(attempts, budget, 110.0)
    with pytest.raises(SpawnBudgetExhausted) as refused:
        begin_attempt(attempts, budget, 120.0)
    assert refused.value.retry_after == pytest.approx(10)
    assert begin_attempt(attempts, budget, 120.0 + refused.value.retry_after) == (110.0, 130.0)


def test_more_attempts_than_a_smaller_budget_are_its_latest() -> None:
    """Another program allowed more: for this one the window is full until enough of them are old."""
    attempts = (100.0, 101.0, 102.0, 103.0)
    with pytest.raises(SpawnBudgetExhausted) as refused:
        begin_attempt(attempts, SpawnBudget(2, 30), 110.0)
    assert 110.0 + refused.value.retry_after == pytest.approx(132.0)


def test_attempts_of_the_future_are_not_believed() -> None:
    """A clock that went back would refuse for ever."""
    assert still_counting((5.0, 1e9), SpawnBudget(3, 30), 10.0) == (5.0,)


@given(
    gaps=st.lists(st.floats(0, 20), max_size=40),
    attempts=st.integers(1, 5),
    window=st.floats(0.5, 30),
)
def test_no_window_holds_more_than_the_budget(gaps: list[float], attempts: int, window: float) -> None:
    """However they ask, read and write."""
    budget, record, began, time = SpawnBudget(attempts, window), (), [], 1000.0
    for gap in gaps:
        time += gap
        try:
            record = begin_attempt(record, budget, time)  # type: ignore[assignment]
        except SpawnBudgetExhausted:
            continue
        began.append(time)
    for first in began:
        assert sum(first <= each < first + window for each in began) <= attempts


def test_clock_goes_on() -> None:
    """It is the machine's, not the process's."""
    assert 0 < now() <= now()
    assert sample().boot == boot_id()


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "a" * 65, "ümlaut", "a/b", ".."])
def test_service_names_are_file_names(name: str) -> None:
    """And the same on every machine."""
    with pytest.raises(ValueError, match="name has 1 to 64"):
        Service(name, ["x"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"program": "one string"}, "sequence of words"),
        ({"program": []}, "name of a program"),
        ({"version": "1.0"}, "MAJOR.MINOR.PATCH"),
        ({"oldest": "v1"}, "MAJOR.MINOR.PATCH"),
        ({"idle_timeout": 0}, "more than 0"),
        ({"isolation": "explicit"}, "instance goes with"),
        ({"instance": "x"}, "instance goes with"),
        ({"isolation": "explicit", "instance": "A B"}, "instance has 1 to 64"),
    ],
)
def test_service_that_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    """When it is made, in words."""
    with pytest.raises((ValueError, TypeError), match=complaint):
        Service("echo", **{"program": ["x"], **options})


def test_isolation_is_in_the_key(tmp_path: Path) -> None:
    """Shared by name, private by environment and program, explicit by instance."""
    shared = Service("echo", ["x"], directory="/tmp")
    assert shared.key == Service("echo", ["y"], version="2.0.0").key == "echo"
    private = [Service("echo", [word], isolation="private").key for word in ("x", "x", "y")]
    assert private[0] == private[1] != private[2]
    assert Service("echo", ["x"], isolation="explicit", instance="test-7").key == "echo.test-7"
    assert shared.place.endpoint == "/tmp/echo.sock"


def test_place_is_made_of_the_endpoint(broker: Broker) -> None:
    """All files of a backend stand beside each other."""
    place = broker.service().place
    names = [os.path.basename(each) for each in attrs.astuple(place)]
    assert names == ["echo.sock", "echo.ctl", "echo.json", "echo.lock", "echo.log"]


def test_long_directory_is_refused_with_its_length() -> None:
    """Before anything is made there."""
    with pytest.raises(InvalidEndpoint, match="bytes"):
        Service("echo", ["x"], directory=f"/tmp/{'d' * 120}").place  # noqa: B018


def test_directory_is_named_or_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By variable, by XDG, else a temporary one with the user's number."""
    monkeypatch.setenv("TRIO_FOLK_DIRECTORY", "/srv/x")
    assert runtime_directory() == "/srv/x"
    monkeypatch.delenv("TRIO_FOLK_DIRECTORY")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert runtime_directory() == "/run/user/7/trio-folk"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime_directory().endswith(f"trio-folk-{os.geteuid()}")


@pytest.mark.parametrize(
    ("running", "fit"),
    [
        ("1.3.9", Fit.OLD),
        ("1.4.0", Fit.GOOD),
        ("1.4.0-beta.1", Fit.GOOD),  # the suffix does not count
        ("1.99.0", Fit.GOOD),
        ("2.0.0", Fit.NEW),
        ("nonsense", Fit.OLD),
    ],
)
def test_version_fits_from_its_own_to_the_next_first_number(running: str, fit: Fit) -> None:
    """Unless the service says otherwise."""
    assert Service("echo", ["x"], version="1.4.0").fit(running) is fit


def test_oldest_and_newest_say_otherwise() -> None:
    """Both ends belong to it."""
    service = Service("echo", ["x"], version="3.0.0", oldest="2.5.0", newest="3.1.0")
    fits = [service.fit(version) for version in ("2.4.9", "2.5.0", "3.1.0", "3.1.1")]
    assert fits == [Fit.OLD, Fit.GOOD, Fit.GOOD, Fit.NEW]


def test_daemon_gets_usual_variables_and_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its first caller happens to have else stays there."""
    monkeypatch.setenv("SECRET_OF_THE_FIRST_CALLER", "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = Service("echo", ["x"], env={"LANG": "de_DE.UTF-8", "MODE": "fast"}).environment
    assert "SECRET_OF_THE_FIRST_CALLER" not in environment
    assert (environment["LANG"], environment["MODE"]) == ("de_DE.UTF-8", "fast")
    assert environment["PATH"] == os.environ["PATH"]
