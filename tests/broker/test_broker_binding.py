"""Binding: in words where it cannot be, for this user alone where it can, and never by taking what lives."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
import trio
import trio.testing
from broker_kit import Broker

from trio_folk import (
    AlreadyBound,
    BackendRefused,
    BindIOError,
    InvalidEndpoint,
    LockDeletedOrRecreated,
    acquire_spawn_lock,
)
from trio_folk.broker import _peer, bind_endpoint
from trio_folk.broker._address import LONGEST, address_of, check_folder
from trio_folk.broker._binding import answers, bind_under_lock, remove_own, remove_stale
from trio_folk.broker._dial import Unreachable, dial
from trio_folk.broker._place import Place


@pytest.fixture
def endpoint(broker: Broker) -> str:
    """A path for a socket."""
    return str(broker.folder / "x.sock")


def leave_stale(endpoint: str) -> None:
    """The path of a listener that is gone."""
    bind_endpoint(endpoint).close()


@pytest.mark.parametrize("given", ["", "relative.sock", "/tmp/", "/tmp/a\0b", "@"])
def test_what_can_be_no_endpoint_is_refused_in_words(given: str) -> None:
    """No path, a relative one, a directory, a NUL, a name without a name."""
    with pytest.raises(InvalidEndpoint) as refused:
        bind_endpoint(given)
    assert refused.value.endpoint == given


def test_long_path_is_refused_with_its_length(broker: Broker) -> None:
    """The error says how long it is and how long it may be; one byte less is bound."""
    room = LONGEST - len(str(broker.folder)) - 1
    with pytest.raises(InvalidEndpoint, match=f"{LONGEST + 1} bytes.*room for {LONGEST}"):
        bind_endpoint(str(broker.folder / ("x" * (room + 1))))
    with bind_endpoint(str(broker.folder / ("x" * room))) as listener:
        assert len(listener.getsockname()) == LONGEST


def test_length_is_that_of_the_bytes(broker: Broker) -> None:
    """A name of few characters may be too long."""
    with pytest.raises(InvalidEndpoint, match="bytes"):
        address_of(str(broker.folder / ("ü" * 60)))


def test_control_endpoint_must_fit_too(broker: Broker) -> None:
    """An endpoint that leaves no room for the one beside it is refused when it is named."""
    room = LONGEST - len(str(broker.folder)) - 1
    with pytest.raises(InvalidEndpoint, match="bytes"):
        Place.of(str(broker.folder / ("x" * room)))


def test_missing_directory_is_an_invalid_endpoint(broker: Broker) -> None:
    """Bind makes no directory; and of a path only the last one is made for it."""
    with pytest.raises(InvalidEndpoint, match="No such file or directory"):
        bind_endpoint(str(broker.folder / "no" / "x.sock"))
    with pytest.raises(InvalidEndpoint, match="does not exist"):
        check_folder(str(broker.folder / "no" / "such" / "x.sock"))


def test_socket_is_this_users_alone(endpoint: str) -> None:
    """0600 whatever the umask says, in a directory of 0700."""
    before = os.umask(0)
    try:
        with bind_endpoint(endpoint):
            assert stat.S_IMODE(os.lstat(endpoint).st_mode) == 0o600
        check_folder(f"{endpoint}.d/x.sock")
        assert stat.S_IMODE(os.lstat(f"{endpoint}.d").st_mode) == 0o700
    finally:
        os.umask(before)


def test_directory_open_to_others_is_refused(broker: Broker) -> None:
    """Who may write there may put another socket there."""
    broker.folder.chmod(0o755)
    with pytest.raises(InvalidEndpoint, match="open to others, mode 0755") as refused:
        check_folder(str(broker.folder / "x.sock"))
    assert refused.value.hint == f"chmod 700 {broker.folder}"


def test_directory_of_another_user_is_refused(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is theirs to change at any time."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InvalidEndpoint, match="belongs to uid"):
        check_folder(str(broker.folder / "x.sock"))


def test_linked_directory_is_refused(broker: Broker) -> None:
    """A link may point elsewhere a moment later."""
    (broker.folder / "real").mkdir(mode=0o700)
    (broker.folder / "link").symlink_to("real")
    with pytest.raises(InvalidEndpoint, match="symbolic link"):
        check_folder(str(broker.folder / "link" / "x.sock"))


@pytest.mark.parametrize("target", ["other.sock", "missing.sock"])
async def test_linked_endpoint_is_refused_by_all(endpoint: str, broker: Broker, target: str) -> None:
    """Neither bound, nor removed as stale, nor followed to a socket that lives."""
    Path(endpoint).symlink_to(target)
    with bind_endpoint(str(broker.folder / "other.sock")):
        with pytest.raises(InvalidEndpoint, match="symbolic link"):
            bind_endpoint(endpoint)
        with acquire_spawn_lock(broker.folder / "x.lock") as lock:
            with pytest.raises(InvalidEndpoint, match="symbolic link"):
                bind_under_lock(bind_endpoint, endpoint, lock)
        with pytest.raises(InvalidEndpoint, match="symbolic link"):
            await dial(endpoint)
    assert Path(endpoint).is_symlink()


async def test_file_in_the_way_is_not_removed(endpoint: str, broker: Broker) -> None:
    """What is no socket is somebody's."""
    Path(endpoint).write_text("precious")
    with acquire_spawn_lock(broker.folder / "x.lock") as lock:
        with pytest.raises(InvalidEndpoint, match="not a socket"):
            bind_under_lock(bind_endpoint, endpoint, lock)
    assert Path(endpoint).read_text() == "precious"


def test_no_rights_is_a_bind_io_error(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not lie in the endpoint has its own kind."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(BindIOError, match="Permission denied"):
        bind_endpoint(endpoint)


def test_live_endpoint_is_already_bound(endpoint: str, broker: Broker) -> None:
    """With the lock or without: it is left as it is."""
    with bind_endpoint(endpoint):
        before = os.lstat(endpoint)
        with pytest.raises(AlreadyBound):
            bind_endpoint(endpoint)
        with acquire_spawn_lock(broker.folder / "x.lock") as lock:
            with pytest.raises(AlreadyBound):
                bind_under_lock(bind_endpoint, endpoint, lock)
            assert not remove_stale(endpoint, lock)
        assert os.lstat(endpoint).st_ino == before.st_ino
        assert answers(endpoint)


def test_full_backlog_is_alive(endpoint: str, broker: Broker) -> None:
    """EAGAIN is no refusal: somebody listens, and is slow."""
    with bind_endpoint(endpoint) as listener:
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(endpoint)
            assert answers(endpoint)
            with acquire_spawn_lock(broker.folder / "x.lock") as lock:
                assert not remove_stale(endpoint, lock)


def test_stale_endpoint_is_removed_under_the_lock_only(endpoint: str, broker: Broker) -> None:
    """Without the lock it is something that is bound; a lost lock is no lock."""
    leave_stale(endpoint)
    with pytest.raises(AlreadyBound):
        bind_endpoint(endpoint)
    with acquire_spawn_lock(broker.folder / "x.lock") as lock:
        os.unlink(broker.folder / "x.lock")
        with pytest.raises(LockDeletedOrRecreated):
            bind_under_lock(bind_endpoint, endpoint, lock)
        assert Path(endpoint).exists()
    with acquire_spawn_lock(broker.folder / "x.lock") as lock:
        listener, file = bind_under_lock(bind_endpoint, endpoint, lock)
        with listener:
            assert file is not None
            assert answers(endpoint)


def test_own_path_is_removed_and_no_other(endpoint: str, broker: Broker) -> None:
    """Of two sockets that had the path one after the other, the earlier one's owner removes nothing."""
    with acquire_spawn_lock(broker.folder / "x.lock") as lock:
        first, file = bind_under_lock(bind_endpoint, endpoint, lock)
        os.unlink(endpoint)
        second, other = bind_under_lock(bind_endpoint, endpoint, lock)
    with first, second:
        remove_own(endpoint, file)
        assert Path(endpoint).exists()
        remove_own(endpoint, other)
        assert not Path(endpoint).exists()


async def test_listener_of_another_user_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens there must be this user, or root."""
    monkeypatch.setattr(_peer, "peer_uid", lambda sock: 12345)
    with bind_endpoint(endpoint):
        with pytest.raises(BackendRefused, match="uid 12345") as refused:
            await dial(endpoint)
    assert refused.value.reason == "peer"


async def test_nobody_there_is_not_an_error_of_the_system(endpoint: str) -> None:
    """A missing path and a refused one are one and the same to whoever dials."""
    with pytest.raises(Unreachable):
        await dial(endpoint)
    leave_stale(endpoint)
    with pytest.raises(Unreachable):
        await dial(endpoint)


async def test_full_backlog_is_waited_for(endpoint: str) -> None:
    """trio's own connect would take the refusal for success; ours comes again until there is room."""
    with bind_endpoint(endpoint) as listener:
        listener.listen(0)
        async with await dial(endpoint):
            with pytest.raises(BackendRefused) as refused:
                await dial(endpoint, deadline=0)
            assert refused.value.reason == "backlog"
            async with trio.open_nursery() as nursery:
                got = []

                async def late() -> None:
                    stream = await dial(endpoint)
                    got.append(stream)
                    await stream.aclose()

                nursery.start_soon(late)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert not got
                accepted, _ = listener.accept()
                accepted.close()
            assert got


async def test_want_of_descriptors_is_a_refusal(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, not there: it says when to come back, and is not taken for a daemon that is gone."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with bind_endpoint(endpoint):
        monkeypatch.setattr(socket, "socket", refuse)
        with pytest.raises(BackendRefused, match="Too many open files") as refused:
            await dial(endpoint)
        monkeypatch.undo()
    assert (refused.value.reason, refused.value.retry_after) == ("descriptors", 1)
