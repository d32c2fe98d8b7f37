"""The table of slot states: total, and true to its words."""

from __future__ import annotations

import itertools

import pytest

from trio_folk._pool.states import TABLE, IllegalEvent, SlotEvent, SlotState, after


def test_table_has_an_answer_for_every_state_and_event() -> None:
    """No pair was forgotten."""
    assert len(TABLE) == len(SlotEvent)
    assert all(len(row) == len(SlotState) for row in TABLE)


@pytest.mark.parametrize(("state", "event"), [*itertools.product(SlotState, SlotEvent)])
def test_each_pair_leads_to_a_state_or_is_refused_by_name(state: SlotState, event: SlotEvent) -> None:
    """An illegal event names itself and the state."""
    if TABLE[event][state] is None:
        with pytest.raises(IllegalEvent, match=f"{event.name} .* {state.name}"):
            after(state, event)
    else:
        assert after(state, event) in SlotState


def test_a_life_without_trouble() -> None:
    """Spawned, ready, one call, replaced."""
    state = SlotState.EMPTY
    seen = []
    for event in (
        SlotEvent.SPAWN,
        SlotEvent.READY,
        SlotEvent.TAKE,
        SlotEvent.FREE,
        SlotEvent.CONDEMN,
        SlotEvent.SPAWN,
    ):
        state = after(state, event)
        seen.append(state.name)
    assert seen == ["SPAWNING", "IDLE", "BUSY", "IDLE", "STOPPING", "SPAWNING"]


@pytest.mark.parametrize("state", [s for s in SlotState if s not in (SlotState.IDLE, SlotState.BUSY)])
def test_only_a_slot_with_a_ready_worker_takes_calls(state: SlotState) -> None:
    """A slot that cannot boot takes no calls."""
    with pytest.raises(IllegalEvent):
        after(state, SlotEvent.TAKE)


@pytest.mark.parametrize("state", SlotState)
def test_closing_empties_every_slot(state: SlotState) -> None:
    """Whatever it was doing."""
    assert after(state, SlotEvent.CLEAR) is SlotState.EMPTY
