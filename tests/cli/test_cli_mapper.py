"""The mapper's bounds, over workers that are tasks: how much it takes, and what it does when nobody writes."""

from __future__ import annotations

from collections.abc import Sequence

import trio
import trio.testing

from trio_folk import TaskRuntime, WorkerPool, open_pool
from trio_folk._cli.items import Item, Lines, Words
from trio_folk._cli.mapper import Mapper
from trio_folk.worker import Worker, current_call

worker = Worker()


@worker.method
def call(item: str) -> dict[str, str]:
    return {"result": item}


class Endless:
    """Items without end, counted."""

    total = None

    def __init__(self) -> None:
        self.taken = 0

    async def next(self) -> str:
        await trio.lowlevel.checkpoint()
        self.taken += 1
        return str(self.taken)

    def left(self) -> list[str]:
        return []


def ignore(item: Item | None, told: object) -> None:
    pass


async def test_no_more_is_taken_than_is_written() -> None:
    """While nothing can be written, an endless input is read no further than the window."""  # invariant 1
    items = Endless()

    async def never(lines: Sequence[str]) -> None:
        await trio.sleep_forever()

    async with open_pool(TaskRuntime(worker), slots=2) as pool:
        async with trio.open_nursery() as nursery:
            mapper = Mapper(pool, items, write=never, on_change=ignore)
            nursery.start_soon(mapper.run, 2)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert items.taken == 4 * 2 + 16
            nursery.cancel_scope.cancel()


async def test_more_items_than_the_window_are_all_written_once() -> None:
    """The window moves on as lines are written."""  # invariant 2
    written: list[str] = []

    async def write(lines: Sequence[str]) -> None:
        written.extend(lines)

    words = [str(number) for number in range(300)]
    async with open_pool(TaskRuntime(worker), slots=2) as pool:
        mapper = Mapper(pool, Words(words), ordered=True, write=write, on_change=ignore)
        await mapper.run(2)
    assert written == [f'{{"item": "{word}", "result": "{word}"}}' for word in words]
    assert (mapper.undone(), mapper.leftovers(), mapper.tally.done) == ([], [], 300)


async def test_lines_are_the_same_however_they_are_cut() -> None:
    """A line may come in pieces, and a piece may hold many lines; an item that was read and not taken is told."""
    for size in (1, 2, 5, 100):
        rest = bytearray("a\n\nbä\nc".encode())

        def read(fd: int, most: int, rest: bytearray = rest, size: int = size) -> bytes:
            piece = bytes(rest[:size])
            del rest[:size]
            return piece

        lines = Lines(0, read)
        assert [await lines.next() for _ in range(4)] == ["a", "bä", "c", None]
        assert lines.left() == []


async def test_parts_of_running_items_are_counted_for_who_watches() -> None:
    """What the target reports moves the bar; an item that has ended counts as one, and no longer by its parts."""
    reporting = Worker()
    seen: list[float] = []

    @reporting.method("call")
    def report(item: str) -> dict[str, str]:
        current_call().progress(1, 4)
        current_call().progress(3)  # of nobody knows how much
        return {"result": item}

    async def write(lines: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()

    async def run(pool: WorkerPool, watched: bool) -> None:
        def note(item: Item | None, told: object) -> None:
            seen.append(mapper.tally.worked)

        mapper = Mapper(pool, Words(("a", "b")), write=write, on_change=note, watched=watched)
        await mapper.run(1)

    async with open_pool(TaskRuntime(reporting), slots=1) as pool:
        await run(pool, True)
        await run(pool, False)
    assert seen == [0.25, 1, 1.25, 2, 1, 2]
