"""Ray, as little of it as we need: the one file that names it.

Whatever blocks says so; it belongs into a thread. Ray is imported by whoever connects first, which takes a second.

Knows Ray. Does not know trio, slots, or what the calls of a worker are.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import attrs

from .._errors import BootFailed
from ..worker._actor import Actor

__all__ = [
    "RayActor",
    "RayNode",
    "affinity",
    "broken_by_itself",
    "connect",
    "connected",
    "disconnect",
    "failure",
    "is_death",
    "launch",
    "nodes",
    "require",
    "ship",
    "store",
    "when_done",
]

OLDEST = (2, 60)
"""The oldest Ray that has all of what is used here."""
GROUPS = {"control": 1, "flow": 1, "vigil": 1}
"""Threads of a worker beside the one that runs its calls."""

_INSTALL = "RayRuntime needs Ray 2.60 or newer: pip install 'trio-folk[ray]'"
_REMEDY = (
    "is there a Ray at that address, and has this program its token? Ray asks for that in RAY_AUTH_TOKEN, in the file "
    "RAY_AUTH_TOKEN_PATH or in ~/.ray/auth_token, and looks there when it is imported"
)
_SHOWN = 600  # characters of what Ray says


def require() -> None:
    """See that Ray is installed, without importing it.

    Raises:
        ImportError: it is not.
    """
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:  # without an origin it is some folder of that name
        raise ImportError(_INSTALL, name="ray")


def _ray() -> Any:
    return import_module("ray")


def connected() -> bool:
    """Whether this program is connected to a Ray. Blocks while Ray is imported."""
    return bool(_ray().is_initialized())


def connect(address: str | None, options: Mapping[str, Any]) -> None:
    """Connect to the Ray at an address, or start one. Blocks.

    A Ray that this starts ends with the *thread* that has called it: whoever calls this keeps that alive.

    Raises:
        BootFailed: there is none, or it does not let us in; says why.
    """
    ray = _ray()
    if tuple(int(part) for part in ray.__version__.split(".")[:2]) < OLDEST:
        raise BootFailed(f"this is Ray {ray.__version__}", stage="connect", hint=_INSTALL)
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    if address is None:
        address = os.environ.get("RAY_ADDRESS") or "local"
    embedded = {"include_dashboard": False} if address == "local" else {}
    try:
        with _silent():
            ray.init(address, **{**quiet, **embedded, **options})
    except Exception as error:
        ray.shutdown()  # of what it has started half way
        raise BootFailed(
            f"Ray at {address!r} cannot be used: {type(error).__name__}: {_short(error)}",
            stage="connect",
            hint=None if address == "local" else _REMEDY,
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Ray warns of what it always does, such as asking for a token, and leaving signals alone in a thread."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def disconnect() -> None:
    """Leave; a Ray that `connect` has started ends. Blocks."""
    _ray().shutdown()


@attrs.frozen
class RayNode:
    """A node of a cluster that is alive.

    Attributes:
        id: Ray's name for it, in hexadecimal.
        address: its IP address.
        total: what it has, by Ray's names of resources; bytes for memory.
    """

    id: str
    address: str
    total: Mapping[str, float]


def nodes() -> tuple[list[RayNode], Mapping[str, float]]:
    """The nodes that are alive, and what is free in all of them together. Blocks."""
    ray = _ray()
    found = [
        RayNode(each["NodeID"], each["NodeManagerAddress"], each["Resources"])
        for each in ray.nodes()
        if each["Alive"]
    ]
    return found, ray.available_resources()


def store(buffers: Sequence[Any]) -> Any:
    """Put buffers into the object store of this node: one copy. Blocks while that is made.

    Raises:
        MemoryError: there is no room.
    """
    ray = _ray()
    try:
        return ray.put(list(buffers))
    except ray.exceptions.ObjectStoreFullError as error:
        raise MemoryError(_short(error)) from error


def ship(package: bytes) -> tuple[str, str]:
    """Put a zip where each node finds it; returns its URI and the name of the folder it becomes there. Blocks.

    Raises:
        BootFailed: it is too large, or Ray does not take it.
    """
    packaging = import_module("ray._private.runtime_env.packaging")
    folder = f"_ray_pkg_{hashlib.sha256(package).hexdigest()[:32]}"
    uri = f"gcs://{folder}.zip"
    try:
        packaging.pin_runtime_env_uri(uri)  # until the first worker holds it
        if not packaging.package_exists(uri):
            packaging.upload_package_to_gcs(uri, package)
    except (RuntimeError, ValueError) as error:
        raise BootFailed(
            f"the code of {len(package):,} bytes cannot be shipped: {_short(error)}", stage="launch"
        ) from error
    return uri, folder


def affinity(node: str) -> Any:
    """The scheduling strategy for this node and no other."""
    return import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(node, soft=False)


@functools.cache
def _kind() -> Any:
    """The class of our actors, as Ray knows it. A call is never repeated, nor an actor restarted, behind our back."""
    return _ray().remote(
        max_restarts=0, max_task_retries=0, concurrency_groups=GROUPS, enable_task_events=False
    )(Actor)


def launch(options: Mapping[str, Any], *arguments: Any) -> RayActor:
    """Ask Ray for a worker: an actor with these options, and these arguments of `Actor`. Blocks, though not for it.

    Raises:
        BootFailed: Ray does not understand the options.
    """
    ray = _ray()
    try:
        return RayActor(_kind().options(**options).remote(*arguments, ray.get_runtime_context))
    except (ValueError, TypeError, ray.exceptions.RayError) as error:
        raise BootFailed(f"Ray does not make such a worker: {_short(error)}", stage="launch") from error


class RayActor:
    """An actor: each method asks for something and returns Ray's promise of it. None of them waits.

    Args:
        actor: Ray's handle.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.call: Callable[..., Any] = actor.call.remote
        self.ready: Callable[[], Any] = actor.ready.remote
        self.tell: Callable[[bytes], Any] = actor.tell.options(concurrency_group="control").remote
        self.beat: Callable[[], Any] = actor.beat.options(concurrency_group="control").remote
        self.pull: Callable[[int], Any] = actor.pull.options(concurrency_group="flow").remote
        self.vigil: Callable[[], Any] = actor.vigil.options(concurrency_group="vigil").remote

    def leave(self) -> Any:
        """Have it end when its calls have; its exit handlers run."""
        self._actor.release.options(concurrency_group="control").remote()
        return self._actor.__ray_terminate__.remote()

    def kill(self) -> None:
        """Have it killed, wherever it is, and however it is. Blocks while Ray is told."""
        ray = _ray()
        try:
            ray.kill(self._actor)
        except (ray.exceptions.RayError, ValueError, RuntimeError):
            return  # Ray is gone, or does not know it any more: then so is the actor


def when_done(promise: Any, tell: Callable[[Any], object]) -> None:
    """Have a function called in some thread of Ray's, with what was promised, or with the exception in its place."""
    promise._on_completed(tell)


def failure(error: BaseException) -> str:
    """Why a promise was broken, in Ray's words."""
    return _short(error)


def is_death(error: BaseException) -> bool:
    """Whether this says that the actor has died; else it may live, and is out of reach."""
    return isinstance(error, _ray().exceptions.ActorDiedError)


def broken_by_itself(value: BaseException) -> bool:
    """Whether our own code in the worker has failed, and not the worker or its node."""
    return isinstance(value, _ray().exceptions.RayTaskError)


def _short(error: BaseException) -> str:
    """The sentence of what Ray says that says why; its messages begin with what is known anyway."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_KNOWN)] or lines or [type(error).__name__]
    text = " ".join(told)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


_KNOWN = (
    "class_name:",
    "actor_id:",
    "namespace:",
    "name:",
    "The actor died unexpectedly before finishing this task.",
)
