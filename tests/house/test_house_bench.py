"""The benchmarks say what they measured: plans, verdicts, targets and records, from numbers that are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import mixed_plan, record
from bench.compare import Change
from bench.launch import Found
from bench.mixed_seen import Seen, p99, passed_over
from bench.record import Record
from bench.report import Cell
from bench.rounds import schedule
from bench.targets import Rounds, targets, targets_table

MS = 1_000_000  # nanoseconds
MACHINE = {
    "python": "3.11.7",
    "system": "Linux",
    "processor": "abacus",
    "cpus": 2,
    "load": [0.1, 0.1, 0.1],
    "date": "2026-11-25",
    "revision": "abc1234",
    "versions": {"trio": "0.35.0"},
}


def cells(*rounds: dict[str, dict[str, float | str]], measure: str = "callers") -> list[Cell]:
    """One measure of several peers in several rounds."""
    return [
        Cell(number, measure, peer, Found(values, None, 0), 1.0)
        for number, found in enumerate(rounds, 1)
        for peer, values in found.items()
    ]


def change(before: Sequence[float], after: Sequence[float], column: str = "p99") -> Change:
    return Change("callers", "trio_folk", column, before, after)


def ran(asked: int, began: int, ended: int, worker: int, *, long: bool = False) -> Seen:
    return Seen(long, asked * MS, ended * MS, worker, began * MS, ended * MS)


def test_plan_is_the_same_for_every_peer() -> None:
    """It comes from a seed: times and long calls alike."""
    assert mixed_plan.steady(1.0) == mixed_plan.steady(1.0)
    assert mixed_plan.bursts(2) == mixed_plan.bursts(2)


@pytest.mark.parametrize("plan", [mixed_plan.steady(4.0), mixed_plan.bursts(6)], ids=["steady", "bursts"])
def test_one_call_in_a_hundred_is_long(plan: mixed_plan.Plan) -> None:
    """And so few that fewer short calls than p99 looks at can find every slot in a long one."""
    turns = [turn for caller in plan for turn in caller]
    assert sum(turn.long for turn in turns) == round(len(turns) / 100)
    assert mixed_plan.all_taken(plan) < 0.01


def test_plan_that_fills_every_slot_is_seen() -> None:
    """Four long calls at once, and a fifth that is short: it could go nowhere."""
    together = [[mixed_plan.Turn(0.0, long=True)]] * mixed_plan.SLOTS
    assert mixed_plan.all_taken([*together, [mixed_plan.Turn(0.1, long=False)]]) == 1
    assert mixed_plan.all_taken([*together[1:], [mixed_plan.Turn(0.1, long=False)]]) == 0


def test_short_call_behind_a_long_one_beside_an_idle_worker_is_passed_over() -> None:
    """Worker 2 ran nothing from 1 to 150 ms, and the call waited all that time for worker 1."""
    calls = [ran(0, 0, 100, 1, long=True), ran(0, 0, 1, 2), ran(10, 100, 101, 1), ran(150, 150, 151, 2)]
    assert passed_over(calls) == 1
    assert p99(calls) == 91


def test_short_call_that_waits_while_all_work_is_not_passed_over() -> None:
    """Both workers were busy all the time that it waited."""
    calls = [ran(0, 0, 100, 1, long=True), ran(0, 0, 100, 2, long=True), ran(10, 100, 101, 1)]
    assert passed_over([*calls, ran(101, 101, 102, 2)]) == 0


@pytest.mark.parametrize(
    ("before", "after", "column", "verdict"),
    [
        ([10, 11, 10, 12, 10], [8, 9, 8, 9, 8], "p99", "faster"),
        ([10, 11, 10, 12, 10], [8, 9, 8, 9, 8], "calls/s", "slower"),
        ([8, 9, 8, 9, 8], [10, 11, 10, 12, 10], "p99", "slower"),
        ([10, 11, 10, 12, 10], [8, 9, 8, 13, 8], "p99", "within noise"),
        ([10, 11, 10, 12, 10], [9.9, 10.8, 9.8, 11.9, 9.9], "p99", "within noise"),
        ([10, 11], [5, 5], "p99", "too few rounds"),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], "p99", "the same"),
        ([0, 0, 0, 0, 0], [1, 1, 1, 1, 1], "p99", "too few rounds"),
    ],
)
def test_verdict_is_said_only_where_every_round_agrees(
    before: list[float], after: list[float], column: str, verdict: str
) -> None:
    """And where the change matters; of a rate more is faster, of a time less is."""
    assert change(before, after, column).verdict() == verdict


def test_target_is_a_ratio_inside_a_round() -> None:
    """The best peer of each round, not of all: 60 / 10 and 40 / 8, of which the median is 5.5."""
    found = cells(
        {"trio_folk": {"calls/s": 60}, "anyio": {"calls/s": 10}, "loky": {"calls/s": 5}},
        {"trio_folk": {"calls/s": 40}, "anyio": {"calls/s": 4}, "loky": {"calls/s": 8}},
    )
    [line] = [line for line in targets_table(found) if "64 callers" in line]
    assert [cell.strip() for cell in line.split("|")][2:5] == ["at least 6", "5.50 (5-6)", "no"]


def test_target_of_what_was_not_measured_is_left_out() -> None:
    """Nothing is made up: a peer without a number, or with a word, is no neighbour."""
    found = cells({"trio_folk": {"calls/s": 60}, "anyio": {"calls/s": "never"}})
    assert [target for target in targets(Rounds(found)) if target.look(Rounds(found))] == []


def test_record_comes_back_whole(tmp_path: Path) -> None:
    """What was written is what is read."""
    found = Record(
        "bench", MACHINE, 1, False, cells({"trio_folk": {"calls/s": 60.0}, "anyio": {"p99": "never"}})
    )
    found.write(tmp_path / "run.json")
    assert record.read(tmp_path / "run.json") == found


def test_large_values_have_a_target_by_their_size() -> None:
    """Times, so that ours under the best peer's is what counts; 8 MiB have no bound."""
    sizes = ("1 MiB bytes", "8 MiB bytes", "64 MiB numpy")
    found = cells(
        {"trio_folk": dict.fromkeys(sizes, 10.0), "anyio": dict.fromkeys(sizes, 50.0)}, measure="large"
    )
    rows = [[cell.strip() for cell in line.split("|")] for line in targets_table(found)[2:]]
    assert [row[2:5] for row in rows] == [["at least 4", "5", "yes"], ["at least 10", "5", "no"]]


def test_what_takes_long_has_fewer_rounds_where_everything_is_measured() -> None:
    """Where rounds were asked for there are as many of each."""
    for sparing, rounds in ((True, 3), (False, 5)):
        planned = schedule(["calls", "large"], ["trio_folk"], 5, sparing=sparing)
        assert [measure for _, measure, _ in planned].count("large") == rounds
        assert [measure for _, measure, _ in planned].count("calls") == 5
