"""``trio-folk doctor``: a table for people, JSON for programs, and a status that says whether all is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trio_folk._cli import checks
from trio_folk._cli import doctor as doctors
from trio_folk._cli.checks import Check

NAMES = {
    "system",
    "python",
    "pidfd",
    "group signals",
    "guardian",
    "namespaces",
    "posix_spawn",
    "descriptors",
    "cpus",
    "php",
    "node",
    "worker",
}

UNGUARDED = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_this_machine_is_well(command) -> None:
    """These tests run here, so everything required is there; a worker was born and called."""
    done = command("doctor")
    assert done.status == 0, done.out
    assert "Everything required is there." in done.out
    assert "ready in" in done.out


def test_doctor_tells_programs_too(command) -> None:
    """--json has every check with the same fields."""
    told = json.loads(command("doctor", "--json").out)
    assert told["ok"] is True
    assert {check["name"] for check in told["checks"]} >= NAMES | {
        "rich",
        "cloudpickle",
        "watchfiles",
        "python3.12",
    }
    assert {tuple(check) for check in told["checks"]} == {
        ("name", "ok", "found", "meaning", "remedy", "required")
    }


def test_missing_and_broken_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what is required makes the status 1; each that is not there has its remedy."""
    found = [Check("a", False, "none", "nice to have", "get a"), Check("b", True, "here", "good")]
    monkeypatch.setattr(doctors, "all_checks", lambda: iter(found))
    assert doctors.doctor() == 0
    assert "remedy: get a" in capsys.readouterr().out
    found.append(Check("c", False, "none", "all stands on it", "get c", required=True))
    assert doctors.doctor() == 1
    told = capsys.readouterr().out
    assert "BROKEN" in told
    assert "Missing, and required: c." in told
    assert doctors.doctor(json_wanted=True) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_old_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pidfd, without the group flag, without the C library's calls: said, and nothing raised."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(checks.libc, "_library", None)
    named = {check.name: check for check in (checks._pidfd(), checks._group_signals(), checks._spawn())}
    assert not any(check.ok for check in named.values())
    assert all(check.remedy and not check.required for check in named.values())


def test_guardian_is_tried_on_a_real_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is killed, and how long its child lived is what was found; without a guardian it lives on."""
    check = checks._guardian()
    assert check.ok
    assert check.found.startswith("an orphan ended in ")
    monkeypatch.setattr(checks, "_PATIENCE", 1.0)
    monkeypatch.setattr(checks, "_PARENT", UNGUARDED)
    check = checks._guardian()
    assert not check.ok
    assert check.found == "an orphan was not ended"
    assert not check.required
    monkeypatch.setattr(checks, "_PARENT", "import sys; sys.exit(1)")
    assert not checks._guardian().ok


def test_programs_that_are_not_there_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty PATH has no PHP, no Node and no other Python; a program that fails is as good as none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not any(check.ok for check in (checks._php(), checks._node(), *checks._pythons()))
    (tmp_path / "node").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "node").chmod(0o755)
    assert not checks._node().ok


def test_namespaces_that_are_not_allowed_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried as a worker's is: with the reason, what it would be good for, and what to change."""
    monkeypatch.setattr(checks.namespace, "_allowed", False)
    monkeypatch.setattr(checks.namespace, "_try", lambda: "unshare: Operation not permitted")
    check = checks._namespaces()
    assert (check.ok, check.required, check.found) == (False, False, "unshare: Operation not permitted")
    assert "isolation='pidns'" in check.meaning
    assert "user.max_user_namespaces" in check.remedy


def test_too_few_descriptors_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that does not even allow the default slots is told with the way out."""
    monkeypatch.setattr(checks.resource, "getrlimit", lambda _: (33, 4096))
    check = checks._descriptors()
    assert not check.ok
    assert "4,096" in check.remedy
    infinite = checks.resource.RLIM_INFINITY
    monkeypatch.setattr(checks.resource, "getrlimit", lambda _: (infinite, infinite))
    assert checks._descriptors().ok


def test_worker_that_cannot_be_born_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of its boot is what was found."""
    runtime = checks.PipeRuntime.python("no_such_module:worker")
    monkeypatch.setattr(checks.PipeRuntime, "python", classmethod(lambda cls: runtime))
    check = checks._worker()
    assert check.required
    assert not check.ok
    assert "no_such_module" in check.found
