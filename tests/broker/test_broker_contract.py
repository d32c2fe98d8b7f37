"""The contract's shape, looked at when the class is made, and the rest of it by the conformance check."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from broker_kit import Broker

from trio_folk import AlreadyBound, BindError
from trio_folk.broker import (
    BackendListener,
    BrokeredBackend,
    ConformanceError,
    _inspection,
    bind_endpoint,
    bootstrap,
    check_backend,
)


class Good(BrokeredBackend):
    """Keeps the contract."""

    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await listener.serve(lambda connection: connection.send_all(b"hi"))


async def test_good_backend_passes() -> None:
    """The default bind is within its time, by far."""
    assert await check_backend(Good) < _inspection.BIND_LIMIT


def test_bind_that_takes_more_than_the_endpoint_is_a_type_error() -> None:
    """State is what it would wait for."""
    with pytest.raises(TypeError, match=r"takes the endpoint and nothing else, not .*config"):

        class Bad(Good):
            @staticmethod
            def bind(endpoint: str, config: Any = None) -> socket.socket:
                return bind_endpoint(endpoint)


def test_bind_that_takes_anything_is_a_type_error() -> None:
    """Star arguments are more than one."""
    with pytest.raises(TypeError, match="nothing else"):

        class Bad(Good):
            @staticmethod
            def bind(*endpoints: str) -> socket.socket:
                return bind_endpoint(*endpoints)


def test_asynchronous_bind_is_a_type_error() -> None:
    """What may wait, waits while clients are refused."""
    with pytest.raises(TypeError, match="synchronous"):

        class Bad(Good):
            @staticmethod
            async def bind(endpoint: str) -> socket.socket:  # type: ignore[override]
                return bind_endpoint(endpoint)


def test_bind_that_knows_its_instance_is_a_type_error() -> None:
    """A method, or a class method, has state at hand."""
    with pytest.raises(TypeError, match="static method"):

        class Bad(Good):
            def bind(self, endpoint: str) -> socket.socket:  # type: ignore[override]
                return bind_endpoint(endpoint)

    with pytest.raises(TypeError, match="static method"):

        class Worse(Good):
            @classmethod
            def bind(cls, endpoint: str) -> socket.socket:  # type: ignore[override]
                return bind_endpoint(endpoint)


def test_serve_of_another_shape_is_a_type_error() -> None:
    """Synchronous, or without a way to say that it is ready."""
    with pytest.raises(TypeError, match="async method"):

        class Bad(BrokeredBackend):
            def serve(self, listener: BackendListener, *, task_status: Any) -> None:  # type: ignore[override]
                pass

    with pytest.raises(TypeError, match="task_status"):

        class Worse(BrokeredBackend):
            async def serve(self, listener: BackendListener) -> None:  # type: ignore[override]
                pass


class Opens(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        with open(os.devnull) as config:
            config.read()
        return bind_endpoint(endpoint)


class Connects(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        listener = bind_endpoint(endpoint)
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(endpoint)
            except PermissionError:
                listener.close()
                raise
        return listener


class HidesIt(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        with suppress(OSError):
            open(os.devnull).close()
        return bind_endpoint(endpoint)


class Sleeps(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        time.sleep(2 * _inspection.BIND_LIMIT)
        return bind_endpoint(endpoint)


class TakesLong(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        end = time.monotonic() + 2 * _inspection.BIND_LIMIT
        while time.monotonic() < end:
            sum(range(1000))
        return bind_endpoint(endpoint)


class NeverReturns(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        while True:
            sum(range(1000))


class ReturnsNothing(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        return None  # type: ignore[return-value]


class DoesNotListen(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.bind(endpoint)
        return made


class BindsElsewhere(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        return bind_endpoint(f"{endpoint}.elsewhere")


class OpenToAll(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        made = bind_endpoint(endpoint)
        os.chmod(endpoint, 0o666)
        return made


class Unlinks(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        Path(endpoint).unlink(missing_ok=True)
        return bind_endpoint(endpoint)


class HidesFailure(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        try:
            return bind_endpoint(endpoint)
        except AlreadyBound:
            raise
        except BindError:
            return socket.socket(socket.AF_UNIX)


class RaisesBareErrors(Good):
    @staticmethod
    def bind(endpoint: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        try:
            os.fchmod(made.fileno(), 0o600)
            made.bind(endpoint)
            made.listen()
        except OSError:
            made.close()
            raise
        return made


class NeverReady(Good):
    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep_forever()


class EndsEarly(Good):
    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()


class DoesNotAccept(Good):
    async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()


PLANTED = {
    Opens: "opens a file",
    Connects: "connects",
    HidesIt: "opens a file",
    Sleeps: "sleeps|bind takes 0",  # by its own event since Python 3.13, by the clock before
    TakesLong: "bind takes 0",
    NeverReturns: "has not returned",
    ReturnsNothing: "not a socket",
    DoesNotListen: "does not listen",
    BindsElsewhere: "elsewhere",
    OpenToAll: "0600",
    Unlinks: "removes a file",
    HidesFailure: "returned although",
    RaisesBareErrors: "is to raise a BindError",
    NeverReady: "never ready",
    EndsEarly: "serve returned",
    DoesNotAccept: "did not accept",
}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("backend", PLANTED, ids=lambda backend: backend.__name__)
async def test_planted_backend_is_caught(
    backend: type[BrokeredBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each breaks the contract in one way, and is caught for that."""
    monkeypatch.setattr(_inspection, "NEVER", 0.5)
    with pytest.raises(ConformanceError) as caught:
        await check_backend(backend, timeout=0.5)
    assert re.search(PLANTED[backend], "\n".join(caught.value.problems))


async def test_conformance_mode_fails_a_daemon_whose_bind_does_more(broker: Broker) -> None:
    """`bootstrap` looks too, when it is asked to; nothing is served, and nothing is left."""
    with pytest.raises(BindError, match="opens a file"):
        await bootstrap(Opens, str(broker.folder / "x.sock"), conformance=True)
    assert sorted(os.listdir(broker.folder)) == ["x.lock"]


async def test_failed_bind_short_circuits(broker: Broker) -> None:
    """Where bind fails there is no instance, no record and no serve."""
    made: list[object] = []

    class Watched(Good):
        def __init__(self) -> None:
            made.append(self)

        @staticmethod
        def bind(endpoint: str) -> socket.socket:
            raise AlreadyBound("somebody is there", endpoint)

    (broker.folder / "x.sock").touch()
    with pytest.raises(BindError):
        await bootstrap(Watched, str(broker.folder / "x.sock"))
    assert made == []
    assert not (broker.folder / "x.json").exists()


async def test_order_is_bind_record_make_serve(broker: Broker) -> None:
    """Whoever serves has been bound and recorded before it was even made."""
    seen: list[str] = []
    endpoint = str(broker.folder / "x.sock")

    class Ordered(Good):
        def __init__(self) -> None:
            seen.append(f"made, recorded: {(broker.folder / 'x.json').exists()}")

        @staticmethod
        def bind(endpoint: str) -> socket.socket:
            seen.append("bound")
            return bind_endpoint(endpoint)

        async def serve(self, listener: BackendListener, *, task_status: trio.TaskStatus[None]) -> None:
            seen.append("served")
            task_status.started()
            await listener.serve(lambda connection: connection.send_all(b"hi"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bootstrap, Ordered, endpoint)
        while "served" not in seen:
            await trio.sleep(0.01)
        async with await trio.open_unix_socket(endpoint) as stream:
            assert await stream.receive_some() == b"hi"
        nursery.cancel_scope.cancel()
    assert seen == ["bound", "made, recorded: True", "served"]
    assert sorted(os.listdir(broker.folder)) == ["x.lock"]


def test_hook_does_nothing_outside_of_an_inspected_bind() -> None:
    """It cannot be removed, so it must not be felt."""
    _inspection.inspect_bind(lambda endpoint: None, "@x")  # type: ignore[arg-type,return-value]
    with open(os.devnull):
        assert sys.version_info
