"""Consistent hashing, by itself: each key has its slot, and keeps it whatever becomes of the others."""

from __future__ import annotations

import enum
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_folk._pool.hashing import ConsistentHash, check_key
from trio_folk.abc import Key

KEYS: st.SearchStrategy[Key] = st.recursive(
    st.text() | st.binary() | st.integers(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
SLOTS = st.sets(st.integers(0, 40), min_size=2, max_size=12).map(lambda slots: tuple(sorted(slots)))


def no_load(slot: int) -> int:
    raise AssertionError("the hash must not depend on the load")


def homes(router: ConsistentHash, keys: list[Key], slots: tuple[int, ...]) -> dict[Key, int]:
    return {key: router.route(key, slots, no_load) for key in keys}


@given(st.lists(KEYS, min_size=1, max_size=30), SLOTS, st.data())
def test_a_slot_that_fails_moves_only_its_own_keys(
    keys: list[Key], slots: tuple[int, ...], data: st.DataObject
) -> None:
    """The others stay; and when it is back, so are they."""
    router = ConsistentHash()
    before = homes(router, keys, slots)
    failed = data.draw(st.sampled_from(slots))
    rest = tuple(slot for slot in slots if slot != failed)
    during = homes(router, keys, rest)
    for key in keys:
        assert during[key] in rest
        assert during[key] == before[key] or before[key] == failed
    assert homes(router, keys, tuple(slots)) == before


@given(st.lists(KEYS, min_size=1, max_size=10), st.lists(SLOTS, max_size=6), SLOTS)
def test_what_was_before_does_not_matter(
    keys: list[Key], history: list[tuple[int, ...]], slots: tuple[int, ...]
) -> None:
    """A router that has seen slots come and go says what a new one says."""
    old = ConsistentHash()
    for each in history:
        homes(old, keys, each)
    assert homes(old, keys, slots) == homes(ConsistentHash(), keys, slots)


@given(KEYS, KEYS)
def test_equal_keys_and_no_others_are_one(one: Key, other: Key) -> None:
    """On a ring of many slots, two keys that differ are at one place by a rare chance only; here never."""
    from trio_folk._pool.hashing import _point

    assert (_point(one) == _point(other)) == (one == other)


@pytest.mark.parametrize("count", [2, 3, 8, 32])
def test_keys_are_spread_evenly(count: int) -> None:
    """No slot has more than half as much again as its share, nor less than half of it."""
    router, slots, many = ConsistentHash(), tuple(range(count)), 1000 * count
    found = Counter(router.route(f"customer-{number}", slots, no_load) for number in range(many))
    assert max(found.values()) < 1500
    assert min(found.values()) > 500


def test_the_keys_of_a_failed_slot_are_spread_over_the_others() -> None:
    """They do not all go to one neighbour."""
    router, slots = ConsistentHash(), tuple(range(8))
    keys: list[Key] = [number for number in range(8000) if router.route(number, slots, no_load) == 3]
    found = Counter(router.route(key, (0, 1, 2, 4, 5, 6, 7), no_load) for key in keys)
    assert len(found) == 7
    assert max(found.values()) < len(keys) / 2


def test_another_process_says_the_same() -> None:
    """Whatever PYTHONHASHSEED it has: programs that share data can share the place of keys."""
    code = (
        "from trio_folk._pool.hashing import ConsistentHash\n"
        "router, slots = ConsistentHash(), tuple(range(8))\n"
        "print([router.route(key, slots, int) for key in ('a', b'a', 7, ('a', 7), '')])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, check=True
        ).stdout
        for seed in ("1", "2")
    }
    here = ConsistentHash()
    keys: list[Key] = ["a", b"a", 7, ("a", 7), ""]
    assert said == {f"{[here.route(key, tuple(range(8)), no_load) for key in keys]}\n".encode()}


class Colour(enum.StrEnum):
    RED = "red"


def test_keys_that_are_equal_in_python_are_one_key() -> None:
    """An enum's member that is a str, and True for 1."""
    router, slots = ConsistentHash(), tuple(range(40))
    assert router.route(Colour.RED, slots, no_load) == router.route("red", slots, no_load)
    assert router.route(True, slots, no_load) == router.route(1, slots, no_load)


@pytest.mark.parametrize("key", [1.5, ["a"], object(), ("a", 1.5), None, frozenset("a")])
def test_what_is_no_key_is_refused(key: object) -> None:
    """By name, with what to do."""
    with pytest.raises(TypeError, match=r"a key is a str.*use str\(\)"):
        check_key(key)


@pytest.mark.parametrize("key", ["", "\ud800", b"\0", 0, -(1 << 20000), (), (("a",), 1)], ids=lambda _: "")
def test_what_is_a_key_is_taken(key: Key) -> None:
    """The empty ones too, and what no encoding takes otherwise."""
    check_key(key)
    assert ConsistentHash().route(key, (4,), no_load) == 4
