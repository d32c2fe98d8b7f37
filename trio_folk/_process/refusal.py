"""Why a launch failed, in words: the errno's meaning for this program, and what to do about it.

posix_spawn(3) returns one errno for a dozen causes: ENOENT is a missing program, a missing directory, or a
missing interpreter of a script. Who reads "No such file or directory" in a log cannot tell.

Knows errno, the file system and near misses. Does not launch.
"""

from __future__ import annotations

import difflib
import errno
import os
import resource
from collections.abc import Iterable

from .._errors import BootFailed
from .plan import Plan, path_of

__all__ = ["refusal"]


def refusal(plan: Plan, error: OSError) -> BootFailed:
    """The error to raise when this plan could not be launched because of that errno."""
    name = os.fsdecode(plan.argv[0])
    meaning, hint = _limits(error.errno) or _directory(plan) or _program(plan, error)
    return BootFailed(f"cannot launch {name!r}: {meaning}", stage="launch", hint=hint)


def _limits(number: int | None) -> tuple[str, str] | None:
    match number:
        case errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"this process has too many descriptors open (its limit is {soft})",
                f"raise the limit with `ulimit -n` (at most {hard} here), or use fewer workers",
            )
        case errno.ENFILE:
            return "the whole system has too many descriptors open", "raise the sysctl fs.file-max"
        case errno.ENOMEM:
            return "the system has no memory left for it", "use fewer workers, or give them less to hold"
        case errno.EAGAIN:
            return (
                "the user or the control group has too many processes",
                "raise `ulimit -u` or the control group's pids.max, or use fewer workers",
            )
        case errno.E2BIG:
            return (
                "its arguments and environment are longer than the system allows",
                "pass large values in calls, or trim the environment with replace_env",
            )
    return None


def _directory(plan: Plan) -> tuple[str, str] | None:
    if plan.cwd is None or os.path.isdir(plan.cwd):
        return None
    cwd = os.fsdecode(plan.cwd)
    if os.path.exists(plan.cwd):
        return f"its cwd {cwd!r} is not a directory", "name a directory"
    return (
        f"its cwd {cwd!r} does not exist",
        "create it first, or name another; a relative cwd starts at the parent's",
    )


def _program(plan: Plan, error: OSError) -> tuple[str, str | None]:
    match error.errno:
        case errno.ENOENT:
            return _missing(plan)
        case errno.EACCES if os.path.isdir(plan.seen_from_here(plan.argv[0])):
            return "it is a directory", "name the program in it"
        case errno.EACCES:
            return "it is not executable", f"make it executable with `chmod +x {os.fsdecode(plan.argv[0])}`"
        case errno.ENOEXEC:
            return (
                "it is neither a program for this machine nor a script that names its interpreter",
                "begin it with a line such as `#!/bin/sh`, or put the interpreter first in argv",
            )
        case errno.ENOTSUP:
            return str(
                error.strerror
            ), "change the directory in the program itself, or use a system with glibc"
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})", None


def _missing(plan: Plan) -> tuple[str, str | None]:
    name = plan.argv[0]
    if b"/" in name:
        here = plan.seen_from_here(name)
        if os.path.exists(here):
            return "the interpreter or loader that it names does not exist", "look at its first line (`#!`)"
        return "no such program", _near(name, _names([os.path.dirname(here)]), os.path.dirname(name))
    path = os.fsdecode(plan.env.get(b"PATH", os.fsencode(os.defpath)))
    near = _near(name, _names(plan.seen_from_here(directory) for directory in path_of(plan)))
    return "no such program on its PATH", near or f"its PATH is {path!r}; or give the program's full path"


def _near(name: bytes, names: set[str], directory: bytes = b"") -> str | None:
    close = difflib.get_close_matches(os.fsdecode(os.path.basename(name)), names, n=1)
    return f"did you mean {os.path.join(os.fsdecode(directory), close[0])!r}?" if close else None


def _names(directories: Iterable[bytes]) -> set[str]:
    found: set[str] = set()
    for directory in directories:
        try:
            found.update(os.fsdecode(entry) for entry in os.listdir(directory))
        except OSError:
            continue  # PATH often names directories that do not exist
    return found
