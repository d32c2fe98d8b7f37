"""The program is found as the new process would find it: by its PATH, from its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_folk._process import ProcessSpec
from trio_folk._process.plan import Plan, find_program


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def found(name: str, path: str, cwd: Path | None = None) -> str:
    spec = ProcessSpec(argv=(name,), env={"PATH": path}, replace_env=True, cwd=cwd)
    return find_program(Plan.of(spec)).decode()


def test_first_executable_on_path_is_taken(tmp_path: Path) -> None:
    """A directory and a file that cannot be executed are passed over."""
    (tmp_path / "a/tool").mkdir(parents=True)
    program(tmp_path / "b/tool", mode=0o644)
    wanted = program(tmp_path / "c/tool")
    assert found("tool", f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/b:{tmp_path}/c") == str(wanted)


def test_relative_path_entries_start_at_the_childs_directory(tmp_path: Path) -> None:
    """An entry of PATH without a leading slash, and an empty one, mean directories below the child's cwd."""
    program(tmp_path / "bin/tool")
    program(tmp_path / "here")
    assert found("tool", "bin", cwd=tmp_path) == "bin/tool"
    assert found("here", ":/bin", cwd=tmp_path) == "./here"


def test_name_with_a_slash_is_not_looked_up(tmp_path: Path) -> None:
    """The kernel judges it."""
    assert found("./tool", str(tmp_path)) == "./tool"


def test_environment_without_path_has_the_systems(tmp_path: Path) -> None:
    """A replaced environment without PATH still finds sh."""
    assert find_program(Plan.of(ProcessSpec(argv=("sh",), replace_env=True))).endswith(b"/sh")


def test_only_unexecutable_ones_on_path_is_a_permission_error(tmp_path: Path) -> None:
    """What is there and cannot run is not called missing."""
    program(tmp_path / "tool", mode=0o644)
    with pytest.raises(PermissionError):
        found("tool", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        found("toll", str(tmp_path))
