"""What ``trio-folk top`` and ``trio-folk admin`` make of numbers: words, bars, columns that fit."""

from __future__ import annotations

from typing import Any

import pytest

from trio_folk._cli.admin_lines import event_line, last_end, statistics_lines
from trio_folk._cli.amounts import bytes_in_words, pace, seconds, sparkline
from trio_folk._cli.top_board import Board, Pool, Program


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (0.0, "0 us"),
        (0.00034, "340 us"),
        (0.0812, "81 ms"),
        (1.24, "1.2 s"),
        (42.9, "42 s"),
        (199, "3 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_seconds_in_words(value: float | None, words: str) -> None:
    """As many figures as anybody reads."""
    assert seconds(value) == words


def test_sizes_and_rates_in_words() -> None:
    """And a dash for what is not known."""
    assert [bytes_in_words(value) for value in (None, 8 << 20, 300 << 20, 3 << 30)] == [
        *("-", "8.0 MiB", "300 MiB", "3.0 GiB")
    ]
    assert [pace(value) for value in (None, 0.0, 12.34, 12345.6)] == ["-", "0.0/s", "12.3/s", "12,346/s"]


def test_sparkline_shows_the_last_values_beside_the_largest() -> None:
    """A blank where nothing is known, the lowest bar for nothing."""
    assert sparkline([9, 0, 5, None, 10], 4) == "▁▅ █" or sparkline([9, 0, 5, None, 10], 4) == "▁▄ █"
    assert sparkline([], 4) == ""
    assert sparkline([0.0, 0.0], 4) == "▁▁"
    assert sparkline([None], 4) == " "


def slot(number: int, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "number": number,
        "state": "IDLE",
        "worker": f"a/{number}.1",
        "pid": 4711,
        "generation": 0,
        "memory": 8 << 20,
        "running": 0,
        "held": 0,
        "jobs": 10,
        "age": 3.0,
        "failures": 0,
        "failure": None,
        "retry_after": None,
        "last_end": None,
    }
    return known | changes


def sample(slots: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    counts = (
        *("succeeded", "failed", "cancelled", "exec_timeouts", "died", "deaths", "recycled"),
        *("running", "held", "queued", "generation"),
    )
    known: dict[str, Any] = dict.fromkeys(counts, 0)
    known |= {"name": "a", "slots": slots, "draining": False, "ready": len(slots), "wanted": len(slots)}
    return known | {"rate": 1.0, "latency": 0.1, "wait": 0.0} | changes


def test_rate_of_a_slot_is_what_its_worker_was_given() -> None:
    """A worker that has just come counts from nothing."""
    pool = Pool()
    pool.note(sample([slot(0), slot(1)]), 10.0)
    assert pool.slot_rates == {}
    pool.note(sample([slot(0, jobs=30), slot(1, worker="a/1.2", jobs=4)]), 12.0)
    assert pool.slot_rates == {0: 10.0, 1: 2.0}


def test_another_program_on_the_same_socket_starts_anew() -> None:
    """Its pools are others; the same one that was not heard of for a while keeps its past."""
    board = Board()
    board.programs["x"] = program = Program("x")
    assert not board.complete
    program.note_here(1)
    program.note_sample(sample([slot(0)], rate=None), 0.0)
    assert not board.complete
    program.note_sample(sample([slot(0)]), 1.0)
    assert board.complete
    program.note_here(1)
    assert program.pools
    program.note_here(2)
    assert not program.pools


def test_last_end_says_when_and_why() -> None:
    """And how, where the reason does not say it."""
    end = {
        "worker": "a/0.1",
        "reason": "a call ran too long",
        "exit": "killed by SIGTERM",
        "planned": False,
        "ago": 4.0,
    }
    assert last_end(slot(0, last_end=end)) == "4.0 s ago: a call ran too long (killed by SIGTERM)"
    assert last_end(slot(0, last_end=end | {"planned": True})) == "4.0 s ago: a call ran too long"
    assert last_end(slot(0)) == ""


def test_slot_without_a_worker_says_why() -> None:
    """In one line, whatever the failure's text is."""
    bare = slot(0, state="FAILED", worker=None, pid=None, generation=None, memory=None, failure="no\nmodule")
    lines = statistics_lines([sample([bare], ready=0)])
    assert lines[0] == "a: no worker ready"
    assert lines[-1].split() == ["0", "FAILED", "-", "-", "-", "0", "10", "-", "-", "no"]


def test_event_is_one_line() -> None:
    """With how it ended, and what was lost."""
    event = {
        "kind": "ended",
        "time": 12.0,
        "worker": "a/0.1",
        "reason": "died\nbadly",
        "exit": {"code": 3, "signal": None, "detail": ""},
        "dropped": 2,
        "pool": "a",
    }
    assert event_line(event) == "12.000  ended        a/0.1  died [status 3] (2 dropped so far)"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("slots", [1, 4, 300])
def test_picture_fits_its_terminal(width: int, slots: int) -> None:
    """No line is longer, none is wrapped, and slots for which there is no room are counted."""
    pytest.importorskip("rich", reason="pip install 'trio-folk[cli]'")
    from trio_folk._cli.rich_names import Console
    from trio_folk._cli.top_picture import picture

    end = {"worker": "w" * 80, "reason": "r" * 200, "exit": None, "planned": False, "ago": 4.0}
    board = Board()
    board.programs["x"] = program = Program("/run/" + "x" * 200)
    program.note_here(123456)
    for moment in range(300):
        shown = sample([slot(n, last_end=end, memory=3 << 30) for n in range(slots)], latency=moment / 7)
        program.note_sample(shown, float(moment))
    program.trouble = "it has gone; waiting for it"
    console = Console(width=width, height=24, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    with console.file:
        console.print(picture(board, width, 24, "q ends"))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    assert ("more slots" in "\n".join(lines)) == (slots == 300)
    assert sum(line.startswith("   0 ") for line in lines) == 1
