"""Places: what a worker asks of Ray's nodes, which of them it must not get, and why it has none.

Ray answers a wish that no node can fulfil with silence. So whoever waited too long is told what was asked for, and what
there is.

Knows wishes and nodes as numbers and names. Does not know workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from .._errors import BootFailed
from . import _ray_api as api

__all__ = ["Places", "Wish", "explain"]

AVOIDED = 120.0
"""Seconds for which a node that did not answer gets no worker; Ray itself calls it dead within them."""

_MIB = 1024 * 1024
_OWN = ("node:", "object_store_memory")  # what Ray adds to each node, and nobody asks for


def _amount(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{attribute.name} is a number from 0, not {value!r}")


@attrs.frozen
class Wish:
    """What each worker of a pool asks for.

    Attributes:
        cpus: as Ray counts them; 0 asks for none.
        gpus: as Ray counts them.
        memory_mb: of the node's memory; 0 asks for none.
        resources: others by their names.
        placement: ``"pack"`` fills a node before it takes the next, ``"spread"`` takes another node each time.
        node: the one node to be on, by its id or its IP address.
    """

    cpus: float = attrs.field(default=1.0, validator=_amount)
    gpus: float = attrs.field(default=0.0, validator=_amount)
    memory_mb: float = attrs.field(default=0.0, validator=_amount)
    resources: Mapping[str, float] = attrs.field(factory=dict)
    placement: Literal["pack", "spread"] = attrs.field(
        default="pack", validator=attrs.validators.in_(("pack", "spread"))
    )
    node: str | None = None

    def asked(self) -> dict[str, float]:
        """By Ray's names."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_mb * _MIB, **self.resources}
        return {name: amount for name, amount in named.items() if amount}

    def options(self, avoided: Iterable[str]) -> dict[str, Any]:
        """The options of an actor that is to be there, and on none of these nodes. Blocks if a node is named.

        Raises:
            BootFailed: the node that is named is not there.
        """
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": self.resources}
        if self.memory_mb:
            options["memory"] = self.memory_mb * _MIB
        if self.node is not None:
            options["scheduling_strategy"] = api.affinity(self._node_id(self.node))
            return options
        options["scheduling_strategy"] = "SPREAD" if self.placement == "spread" else "DEFAULT"
        if names := ",".join(sorted(avoided)):
            options["label_selector"] = {"ray.io/node-id": f"!in({names})"}
        return options

    def _node_id(self, name: str) -> str:
        found, _ = api.nodes()
        for each in found:
            if name in (each.id, each.address):
                return each.id
        there = ", ".join(f"{each.address} ({each.id})" for each in found)
        raise BootFailed(f"Ray has no node {name!r} that is alive", stage="launch", hint=f"it has {there}")


class Places:
    """The nodes that answer nobody; they get no worker for a while."""

    def __init__(self) -> None:
        self._avoided: dict[str, float] = {}

    def avoid(self, node: str) -> None:
        """It does not answer."""
        if node:
            self._avoided[node] = time.monotonic() + AVOIDED

    def avoided(self) -> list[str]:
        """Those that get no worker now."""
        now = time.monotonic()
        self._avoided = {node: until for node, until in self._avoided.items() if until > now}
        return list(self._avoided)


def explain(wish: Wish, avoided: Iterable[str], seconds: float) -> BootFailed:
    """Why a worker is not ready after so many seconds. Blocks."""
    asked = wish.asked()
    nodes, free = api.nodes()
    avoided = set(avoided)
    able = [
        each
        for each in nodes
        if each.id not in avoided and all(each.total.get(name, 0) >= amount for name, amount in asked.items())
    ]
    wanted = _named(asked) or "nothing"
    there = "; ".join(f"{each.address}: {_named(each.total)}" for each in nodes)
    if not able:
        message = f"no node of Ray has what a worker asks for: {wanted}"
        hint = f"ask for less, or add a node; they have in all {there}"
    else:
        message = f"a worker that asks for {wanted} was not ready within {seconds:g} s (ready_timeout)"
        hint = f"free in all nodes: {_named(free) or 'nothing'}; they have {there}"
    return BootFailed(message, stage="boot", hint=hint)


def _named(resources: Mapping[str, float]) -> str:
    shown = {name: value for name, value in sorted(resources.items()) if not name.startswith(_OWN) and value}
    return ", ".join(
        f"{name} {value / _MIB:,.0f} MiB" if name == "memory" else f"{name} {value:g}"
        for name, value in shown.items()
    )
