"""Generations: a number for everybody, and nobody reads an old one."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_folk._pool.generations import Generations


async def test_each_follower_is_told_and_only_of_the_newest() -> None:
    """A number that nobody has read is replaced."""
    generations = Generations()
    with generations.follow() as early, generations.follow() as late:
        for _ in range(3):
            generations.announce(generations.draw())
            assert early.receive_nowait() == generations.current
        assert late.receive_nowait() == 3
        with pytest.raises(trio.WouldBlock):
            late.receive_nowait()


async def test_a_follower_that_waits_is_woken() -> None:
    """With the number itself."""
    generations = Generations()
    heard: list[int] = []
    with generations.follow() as news:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                heard.append(await news.receive())

            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            generations.announce(generations.draw())
    assert heard == [1]


def test_a_number_is_never_drawn_twice() -> None:
    """Not even after the way back to an older one."""
    generations = Generations()
    first = generations.draw()
    generations.announce(first)
    generations.announce(0)
    assert (first, generations.current, generations.draw()) == (1, 0, 2)
    assert "0 is current" in repr(generations)


def test_whoever_follows_no_more_is_not_told() -> None:
    """Its channel is closed."""
    generations = Generations()
    with generations.follow():
        pass
    generations.announce(1)
    assert "0 follow" in repr(generations)
