"""run_chunk: what one item does stays its own, and what was not started is said by leaving it out."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from trio_folk.worker import CallCancelled, current_call
from trio_folk.worker._chunks import run_chunk
from trio_folk.worker._current import Running, only

ran: list[int] = []


def note(number: int) -> int:
    ran.append(number)
    return number


def interrupt(number: int) -> int:
    if number == 1:
        raise KeyboardInterrupt
    return number


def give_up(number: int) -> int:
    if number == 1:
        raise CallCancelled
    return number


def cancel(number: int) -> int:
    ran.append(number)
    if number == 1:
        RUNNING.cancel({"msgid": RUNNING.msgid})
    return current_call().cancelled * 100 + number


def large(number: int) -> bytes:
    return b"x" * number


RUNNING = Running()
NAMED = {"keep": True, "seconds": 60.0, "room": 1 << 20, "most": 1 << 24, "stop": False, "fatal": False}


def run(
    fn: Callable[[int], Any], numbers: Iterable[int], **changed: Any
) -> tuple[float, list[Any], dict[int, dict[str, Any]]]:
    ran.clear()
    entries = [(number,) for number in numbers]
    return run_chunk(definition=pickle.dumps(fn), entries=entries, **{**NAMED, **changed})


def test_light_results_travel_as_they_are_and_others_pickled() -> None:
    """A number in the pickle of the whole, bytes in one of their own, as must what stands beside them."""
    assert run(note, range(3))[1:] == ([0, 1, 2], {})
    assert run(large, [1])[1] == [pickle.dumps(b"x", 5)]


def test_one_item_is_run_however_short_the_time() -> None:
    """Or nothing would ever come of it; the others were not started."""
    assert run(note, range(5), seconds=0.0)[1:] == ([0], {})
    assert ran == [0]


def test_a_full_reply_ends_the_chunk() -> None:
    """What does not fit any more is not started; a result that fits nowhere fails alone."""
    assert len(run(large, [400] * 5, room=1000)[1]) == 3
    _, values, failures = run(large, [10, 5000, 10], most=3000)
    assert len(values) == 3
    assert list(failures) == [1]
    assert "is too large" in failures[1]["message"]


def test_a_failure_ends_the_chunk_where_it_ends_the_map() -> None:
    """And else it does not."""
    assert run(interrupt, range(3), stop=True)[1] == [0, None]
    _, values, failures = run(interrupt, range(3))
    assert values == [0, None, 2]
    assert failures[1]["data"]["type"] == "KeyboardInterrupt"


def test_an_interrupt_of_the_program_is_not_an_items() -> None:
    """In a worker that is a task of it."""
    with pytest.raises(KeyboardInterrupt):
        run(interrupt, range(3), fatal=True)


def test_an_item_that_lets_a_cancellation_pass_ends_the_chunk() -> None:
    """Its worker is fit for the next call."""
    with pytest.raises(CallCancelled):
        run(give_up, range(3))


def test_a_cancellation_is_noticed_between_two_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """No third item begins."""
    monkeypatch.setattr("trio_folk.worker._current._only", None)
    only(RUNNING)
    RUNNING.msgid = 7
    with pytest.raises(CallCancelled):
        run(cancel, range(3))
    assert ran == [0, 1]


def test_a_function_that_cannot_be_imported_fails_each_item_and_is_not_tried_again() -> None:
    """Its module may take seconds to fail."""
    definition = pickle.dumps(note).replace(b"test_worker_chunks", b"tost_worker_chunks")
    _, values, failures = run_chunk(definition, True, [(1,), (2,)], 60.0, 1, 1, False, False)
    assert values == [None, None]
    assert "No module named 'tost_worker_chunks'" in failures[0]["message"]
    assert failures[0] is failures[1]
    again = run_chunk(definition, True, [(3,)], 60.0, 1, 1, False, False)[2][0]
    assert again is failures[0]
