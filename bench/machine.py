"""What the numbers were measured on and with: the machine, the versions, the code, the day.

Knows the operating system and git. Does not know what is measured.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bench.launch import ROOT

LIBRARIES = (
    *("trio", "msgpack", "numpy"),
    *("trio-parallel", "anyio", "loky", "joblib", "pebble", "mpire"),
)


def machine() -> dict[str, Any]:
    """The machine, its load now, and the versions of what is compared."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "revision": revision(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def revision(folder: Path = ROOT, name: str = "HEAD") -> str:
    """The commit by its short name, with a plus where files differ from it; unknown where there is no git."""
    commit = _git(folder, "rev-parse", "--short", f"{name}^{{commit}}")
    changed = name == "HEAD" and _git(
        folder, "status", "--porcelain", "--untracked-files=no", "--", "trio_folk"
    )
    return f"{commit or 'unknown'}{'+' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The name that the kernel has for it; on some machines there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
