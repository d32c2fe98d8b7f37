"""The contract: a backend binds at once and knows nothing yet, and serves afterwards, however long it warms up.

A daemon that loads its state before it binds is refused for as long as that takes, and whoever waits for it gives up.
So `bind` gets the endpoint and nothing else; there is nothing it could wait for. That is looked at when the class is
made, where a mistake still has a line number.

Knows shapes. Does not know sockets.
"""

from __future__ import annotations

import inspect
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import trio

from ._binding import bind_endpoint
from ._listener import BackendListener

__all__ = ["BrokeredBackend"]


class BrokeredBackend(ABC):
    """A daemon that many programs share. Write `serve`; the rest is there::

        class Echo(BrokeredBackend):
            async def serve(self, listener, *, task_status):
                task_status.started()
                await listener.serve(echo)

        trio.run(bootstrap, Echo)

    It is made, without arguments, after its endpoint was bound: what is slow may be done there or in `serve`.

    Attributes:
        version: what this code is, ``MAJOR.MINOR.PATCH``; by default what the service that launched it says.
    """

    version: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_shape(cls)

    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        """A listening socket on this endpoint, in microseconds, touching nothing else. Not called where one was
        handed over.

        Raises:
            BindError: there can be none; then nothing is served.
        """
        return bind_endpoint(endpoint)

    @abstractmethod
    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve connections until cancelled. Before ``task_status.started()`` it warms up, and afterwards is ready.

        Cancellation: by `bootstrap`, when no connection is left or the time for draining is over: end.
        """

    async def release_handles(self, prefix: str) -> None:
        """Close whatever is open below this path, so that it can be moved or deleted.

        Not supported unless a backend overrides it. Cancellation: when whoever asked waits no more.
        """
        raise NotImplementedError

    async def quiesce(self, reason: str) -> None:
        """Finish what runs beside connections, e.g. write state to disk: this daemon is about to drain and end.

        Does nothing unless a backend overrides it. Cancellation: when whoever asked waits no more.
        """
        await trio.lowlevel.checkpoint()


def check_shape(cls: type) -> None:
    """Raise TypeError if the class's methods cannot be what the contract says."""
    bind, serve = inspect.getattr_static(cls, "bind"), inspect.getattr_static(cls, "serve")
    name = cls.__qualname__
    if not isinstance(bind, staticmethod):
        raise TypeError(
            f"{name}.bind is a static method: what knew its class or instance could have state to wait for"
        )
    _check_bind(name, bind.__func__)
    if not inspect.iscoroutinefunction(serve):
        raise TypeError(f"{name}.serve is an async method: it runs until it is cancelled")
    _check_serve(name, serve)


def _check_bind(name: str, bind: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(bind) or inspect.isasyncgenfunction(bind):
        raise TypeError(f"{name}.bind is synchronous: what may wait, waits while clients are refused")
    parameters = list(inspect.signature(bind).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) != 1 or parameters[0].kind not in kinds:
        told = ", ".join(str(each) for each in parameters)
        raise TypeError(
            f"{name}.bind takes the endpoint and nothing else, not ({told}): state is loaded in serve"
        )


def _check_serve(name: str, serve: Callable[..., Any]) -> None:
    parameters = list(inspect.signature(serve).parameters.values())
    status = parameters[-1] if parameters else None
    if (
        len(parameters) != 3
        or status is None
        or status.name != "task_status"
        or status.kind is not inspect.Parameter.KEYWORD_ONLY
    ):
        told = ", ".join(str(each) for each in parameters)
        raise TypeError(f"{name}.serve takes (self, listener, *, task_status), not ({told})")
