"""Settings that make no sense are refused where they are written."""

from __future__ import annotations

import math
import pickle
from typing import Any

import attrs
import pytest

from trio_folk._pool import PoolConfig
from trio_folk._pool.config import usable_cpus


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"slots": 0}, ValueError, "at least 1"),
        ({"slots": -1}, ValueError, "at least 1"),
        ({"slots": 2.0}, TypeError, "whole number"),
        ({"slots": True}, TypeError, "whole number"),
        ({"boot_timeout": 0}, ValueError, "boot_timeout is more than 0"),
        ({"boot_timeout": -1}, ValueError, "boot_timeout"),
        ({"exec_timeout": 0}, ValueError, "exec_timeout"),
        ({"exec_timeout": "3"}, TypeError, "exec_timeout is a number"),
        ({"queue_timeout": -0.1}, ValueError, "queue_timeout is at least 0"),
        ({"ttl": math.nan}, TypeError, "ttl"),
        ({"max_jobs": 0}, ValueError, "max_jobs"),
        ({"max_jobs": 1.5}, ValueError, "max_jobs is a whole number"),
        ({"max_queue": -1}, ValueError, "max_queue"),
        ({"max_memory_mb": 0}, ValueError, "max_memory_mb"),
        ({"recycle_jitter": 1}, ValueError, "recycle_jitter"),
        ({"recycle_jitter": -0.1}, ValueError, "recycle_jitter"),
        ({"terminate_grace": -1}, ValueError, "terminate_grace"),
        ({"drain_timeout": -1}, ValueError, "drain_timeout"),
        ({"min_uptime": -1}, ValueError, "min_uptime"),
    ],
)
def test_a_setting_without_sense_is_refused_by_name(
    changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    """The message names the setting and what it may be."""
    with pytest.raises(error, match=says):
        PoolConfig(**changes)


def test_infinity_means_no_limit_everywhere() -> None:
    """Each limit takes math.inf."""
    limits = [
        "exec_timeout",
        "queue_timeout",
        "max_queue",
        "max_jobs",
        "ttl",
        "max_memory_mb",
        "boot_timeout",
    ]
    settings: dict[str, Any] = dict.fromkeys(limits, math.inf)
    config = PoolConfig(**settings)
    assert all(getattr(config, name) == math.inf for name in limits)


def test_a_config_is_frozen_and_pickles() -> None:
    """It can be shared and sent, and not be changed behind a pool's back."""
    config = PoolConfig(slots=3)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.slots = 4  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(config)) == config


def test_folk_gives_its_own_defaults() -> None:
    """4 workers, 1000 jobs, an hour, 30 s and 30 s; and they can be changed."""
    config = PoolConfig.folk()
    assert (config.slots, config.max_jobs, config.ttl) == (4, 1000, 3600)
    assert (config.exec_timeout, config.boot_timeout) == (30, 30)
    assert PoolConfig.folk(slots=2).slots == 2


def test_slots_default_to_the_processors_this_process_may_use() -> None:
    """And there is at least one."""
    assert PoolConfig().slots == usable_cpus() >= 1
