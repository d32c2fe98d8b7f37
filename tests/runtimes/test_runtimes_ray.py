"""What of the Ray runtime needs no Ray: that it says what is missing, and what it ships."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

import pytest

from trio_folk import BootFailed, RayRuntime
from trio_folk.runtimes._ray_code import Code, pack


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the runtime is made, not when a pool waits for it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'trio-folk\[ray\]'"):
        RayRuntime()


def tree(folder: Path) -> Path:
    """A package with what is shipped and what is not."""
    package = folder / "app"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__pycache__" / "jobs.pyc").write_bytes(b"old")
    (package / "__init__.py").write_text("")
    (package / "jobs.py").write_text("V = 1\n")
    return package


def test_packages_and_modules_are_shipped_under_their_names(tmp_path: Path) -> None:
    """A folder as a package, a file as a module; no caches."""
    (tmp_path / "alone.py").write_text("")
    packed = pack([tree(tmp_path), tmp_path / "alone.py"])
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["app/__init__.py", "app/jobs.py", "alone.py"]


def test_the_same_code_is_the_same_package(tmp_path: Path) -> None:
    """Wherever and whenever it was written: so nothing is shipped twice."""
    first, second = tmp_path / "a", tmp_path / "b"
    assert pack([tree(first)]) == pack([tree(second)])


def test_a_generation_keeps_its_code(tmp_path: Path) -> None:
    """Until others are forgotten: a worker that is replaced after a failed reload gets the code it had."""
    package = tree(tmp_path)
    code = Code([package])
    old = code.of(1)
    (package / "jobs.py").write_text("V = 2\n")
    assert code.of(1) == old
    assert code.of(2) != old
    code.forget(1)
    assert code.of(1) == old
    assert code.of(2) != old
    code.forget(2)
    assert code.of(1) == code.of(2)


def test_code_that_cannot_be_shipped_is_a_failed_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there, and what is too large, is named."""
    with pytest.raises(BootFailed, match="absent"):
        pack([tmp_path / "absent.py"])
    monkeypatch.setattr("trio_folk.runtimes._ray_code.MOST", 3)
    with pytest.raises(BootFailed, match=r"jobs\.py"):
        pack([tree(tmp_path)])


def test_nothing_is_shipped_where_nothing_is_named() -> None:
    """Then the workers have what is installed, and a reload keeps no old code."""
    assert Code([]).of(1) is None
