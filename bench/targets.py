"""The targets: what the benchmarks must show, each as a number of one run and a bound that it is held against.

A ratio is taken inside a round, between neighbours in time, and the median of the rounds is what counts. A target
that was missed stays in the table, as missed.

Knows names and numbers. Does not know how they were found.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from bench.floors import BareRpc
from bench.folk import FolkExecute, FolkFork, FolkRunSync, FolkTasks
from bench.interface import Peer
from bench.peers import FLOORS, PEERS
from bench.report import Cell, aligned, with_spread

OURS = FolkRunSync.name
WAYS = {"run_sync": FolkRunSync.name, "execute": FolkExecute.name}
OTHERS = tuple(name for name in PEERS if not name.startswith(OURS) and name not in FLOORS)

Values = list[float]
Look = Callable[["Rounds"], Values]


class Rounds:
    """What was found in each round: numbers only, and only where there are some."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._found: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
        for cell in cells:
            numbers = {
                name: float(value)
                for name, value in (cell.found.values or {}).items()
                if not isinstance(value, str)
            }
            self._found.setdefault(cell.measure, {}).setdefault(cell.round, {})[cell.peer] = numbers

    def of(self, measure: str, column: str, peers: Iterable[str]) -> Iterator[dict[str, float]]:
        """By peer, in each round."""
        for peers_found in self._found.get(measure, {}).values():
            yield {peer: peers_found[peer][column] for peer in peers if column in peers_found.get(peer, {})}

    def columns(self, measure: str, peer: str) -> list[str]:
        """What is known of a peer in any round."""
        found = self._found.get(measure, {}).values()
        return list(dict.fromkeys(column for peers in found for column in peers.get(peer, {})))


@attrs.frozen
class Target:
    """One line: what is looked at, the bound, and whether that is the least or the most."""

    text: str
    look: Look
    bound: float
    most: bool = False

    def reached(self, values: Values) -> bool:
        """Whether the median is within the bound."""
        median = statistics.median(values)
        return median <= self.bound if self.most else median >= self.bound


def alone(measure: str, column: str, peer: str = OURS) -> Look:
    """The number itself."""
    return lambda rounds: [each[peer] for each in rounds.of(measure, column, [peer]) if each]


def among(measure: str, column: str, other: str, peer: str = OURS) -> Look:
    """One column of ours over another."""

    def look(rounds: Rounds) -> Values:
        both = zip(rounds.of(measure, column, [peer]), rounds.of(measure, other, [peer]), strict=True)
        return [over[peer] / under[peer] for over, under in both if over and under]

    return look


def beside(
    measure: str,
    column: str,
    others: Sequence[str],
    best: Callable[[Iterable[float]], float],
    peer: str = OURS,
    *,
    inverse: bool = False,
) -> Look:
    """Ours over the best of the others, or theirs over ours: so that of times, too, more is faster."""

    def look(rounds: Rounds) -> Values:
        found = []
        for each in rounds.of(measure, column, [peer, *others]):
            ours = each.pop(peer, None)
            if ours is not None and each:
                theirs = best(each.values())
                found.append(theirs / ours if inverse else ours / theirs)
        return found

    return look


def _faster(way: str, other: type[Peer] | str, bound: float) -> Target:
    name = other if isinstance(other, str) else other.name
    look = beside("calls", "p50", [name], min, WAYS[way], inverse=True)
    return Target(f"a 100-byte call, pinned, by `{way}`: times faster than {name}", look, bound)


def _calls() -> Iterator[Target]:
    for way, peer in WAYS.items():
        yield _faster(way, "trio-parallel", 2.4)
        yield _faster(way, "anyio", 1.6)
        look = beside("calls", "p50", [BareRpc.name], min, peer)
        yield Target(f"a 100-byte call, pinned, by `{way}`: times the bare RPC", look, 1.3, most=True)


def _large(rounds: Rounds) -> Iterator[Target]:
    for column in rounds.columns("large", OURS):
        for size, bound in (("64 MiB", 10), ("1 MiB", 4)):
            if column.startswith(size):
                look = beside("large", column, OTHERS, min, inverse=True)
                yield Target(f"there and back, {column}: times faster than the best peer", look, bound)


def _mixed() -> Iterator[Target]:
    for form, ratio, count in (
        ("steady load", "ratio", "passed over"),
        ("bursts", "ratio of bursts", "passed over in bursts"),
    ):
        yield Target(
            f"{form}: p99 of short calls, times that without long ones", alone("mixed", ratio), 3, True
        )
        text = f"{form}: short calls that waited 10 ms beside an idle worker"
        yield Target(text, alone("mixed", count), 0, most=True)


def targets(rounds: Rounds) -> list[Target]:
    """All of them, in the order of the page."""
    many = "64 callers, 2 workers, default configuration"
    tasks, forked = FolkTasks.name, FolkFork.name
    return [
        *_calls(),
        Target(f"{many}: calls/s, times the best peer", beside("callers", "calls/s", OTHERS, max), 6),
        Target(f"{many}: p99, times the best peer's", beside("callers", "p99", OTHERS, min), 1, most=True),
        Target("`map` of tiny items: items/s", alone("maps", "items/s"), 200_000),
        Target("`map` of tiny items: times joblib", beside("maps", "items/s", ["joblib"], max), 1),
        *_large(rounds),
        *_mixed(),
        Target(
            "longest stall while 8 workers spawn, times that with them spawned elsewhere",
            among("stall", "here", "in another process"),
            1,
            most=True,
        ),
        Target("8 spawned workers ready, ms", alone("births", "ready, cold"), 150, most=True),
        Target(
            "8 forked workers ready, first pool, ms", alone("births", "ready, cold", forked), 45, most=True
        ),
        Target(
            "8 forked workers ready, second pool, ms", alone("births", "ready, warm", forked), 8, most=True
        ),
        Target(
            "cost of a call at 512 slots, times that at one",
            among("dispatch", "512, one", "1, one", tasks),
            1.1,
            True,
        ),
        Target("512 idle slots: wake-ups a second", alone("slots", "wake-ups", tasks), 1, most=True),
        Target(
            "256 idle forked workers: wake-ups a second", alone("crowd", "wake-ups", forked), 1, most=True
        ),
        Target("256 forked workers, closed: workers left", alone("crowd", "left", forked), 0, most=True),
    ]


def targets_table(cells: Iterable[Cell]) -> list[str]:
    """The lines of a Markdown table of those that were measured."""
    rounds = Rounds(cells)
    lines = [["what", "target", "measured", "reached"]]
    for target in targets(rounds):
        values = target.look(rounds)
        if values:
            measured = with_spread(statistics.median(values), min(values), max(values))
            bound = f"{'at most' if target.most else 'at least'} {target.bound:,g}"
            lines.append([target.text, bound, measured, "yes" if target.reached(values) else "no"])
    return aligned(lines)
