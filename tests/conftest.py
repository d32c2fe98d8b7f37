"""What all tests stand on, and what they keep to.

Every test runs between two stocktakings: a process, zombie, descriptor, thread or temporary file that it
leaves behind fails it, by name (`trio_folk.testing.assert_nothing_left`).

Determinism
    * No fixed port, path or name: sockets come from `socketpair`, files from `tmp_path`.
    * No bare sleep. Order comes from events, `trio.testing.Sequencer` or `wait_all_tasks_blocked`; what only
      the kernel knows is polled for, within a bound.
    * Every wait is bounded, and a bound that load could reach is ten times what the test expects.
    * Mocked clocks go with the task and faulty runtimes only: autojump runs past real processes and threads.
    * A test that ends a connection or a process says who closes first.
    * Random order is the order. A test that needs another one is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trio_folk.testing import assert_nothing_left


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail the test that leaves something behind."""
    with assert_nothing_left():
        yield
