"""Service: a backend as its clients describe it: which program, which versions, shared by whom, where.

Every program that describes it alike gets the same daemon. So what makes two services one or two is said here, and
nowhere else.

Knows words and numbers. Does not know whether anything of it runs.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from .._spawn import SpawnBudget
from ._place import Place, runtime_directory
from ._versions import Fit, core_of, is_version

__all__ = ["BASELINE", "Service"]

BASELINE = (
    *("HOME", "LOGNAME", "USER", "SHELL", "PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TRIO_FOLK_DIRECTORY"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE"),
)
"""The variables that a daemon takes from the program that happens to start it; any other would be an accident."""

_NAME = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)


def _words(words: Iterable[str]) -> tuple[str, ...]:
    if isinstance(words, str | bytes):
        raise TypeError(f"program is a sequence of words, not one string: {words!r}")
    return tuple(os.fspath(word) for word in words)


def _is_program(service: object, attribute: object, words: tuple[str, ...]) -> None:
    if not words or not words[0]:
        raise ValueError("program needs at least the name of a program")


def _is_name(service: object, attribute: attrs.Attribute[Any], name: str | None) -> None:
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(f"{attribute.name} has 1 to 64 of a-z, 0-9 and '-', and this is {name!r}")


def _is_version(service: object, attribute: attrs.Attribute[Any], version: str | None) -> None:
    if version is not None and not is_version(version):
        raise ValueError(f"{attribute.name} reads MAJOR.MINOR.PATCH, perhaps with -suffix, not {version!r}")


def _is_seconds(service: object, attribute: attrs.Attribute[Any], seconds: float) -> None:
    if not seconds > 0:
        raise ValueError(f"{attribute.name} is more than 0 seconds, not {seconds!r}; math.inf means no limit")


def _copy(env: Mapping[str, str]) -> dict[str, str]:
    return dict(env)


@attrs.frozen
class Service:
    """A backend that any number of programs share: ``Service("thumbs", ["thumbsd"])``.

    Attributes:
        name: 1 to 64 of a-z, 0-9 and ``-``.
        program: the daemon's command line, e.g. ``[sys.executable, "-m", "myapp.daemon"]``.
        version: the version that ``program`` is.
        oldest: the oldest running version that will do; an older one is replaced gracefully. By default ``version``.
        newest: the newest one that will do; a newer one is never replaced, but refused. By default any with the same
            first number as ``version``.
        isolation: ``"shared"`` by all programs of this user; ``"private"`` to those with this Python environment and
            this command line; ``"explicit"``, by those that name the same ``instance``.
        instance: that name.
        idle_timeout: seconds without a connection after which the daemon ends; ``math.inf``: never.
        env: variables for it, over those of `BASELINE` that this program has.
        cwd: where it starts.
        directory: where its files are, 0700; by default `runtime_directory`.
        abstract: it has an abstract name instead of a socket's file; Linux only.
        hand_over: the listener is bound before the launch and handed down, so that nobody is refused while the daemon
            warms up; else the daemon binds.
        budget: attempts to start it, by all programs together.
        start_timeout: seconds that it may take to bind, after which it is ended.
    """

    name: str = attrs.field(validator=_is_name)
    program: tuple[str, ...] = attrs.field(converter=_words, validator=_is_program)
    version: str = attrs.field(default="0.0.0", validator=_is_version, kw_only=True)
    oldest: str | None = attrs.field(default=None, validator=_is_version, kw_only=True)
    newest: str | None = attrs.field(default=None, validator=_is_version, kw_only=True)
    isolation: Literal["shared", "private", "explicit"] = attrs.field(
        default="shared", validator=attrs.validators.in_(("shared", "private", "explicit")), kw_only=True
    )
    instance: str | None = attrs.field(default=None, validator=_is_name, kw_only=True)
    idle_timeout: float = attrs.field(default=30.0, validator=_is_seconds, kw_only=True)
    env: Mapping[str, str] = attrs.field(factory=dict, converter=_copy, kw_only=True)
    cwd: str = attrs.field(default="/", kw_only=True)
    directory: str | None = attrs.field(default=None, kw_only=True)
    abstract: bool = attrs.field(default=False, kw_only=True)
    hand_over: bool = attrs.field(default=True, kw_only=True)
    budget: SpawnBudget = attrs.field(factory=SpawnBudget, kw_only=True)
    start_timeout: float = attrs.field(default=60.0, validator=_is_seconds, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if (self.isolation == "explicit") != (self.instance is not None):
            raise ValueError("instance goes with isolation='explicit', and only with it")

    @property
    def key(self) -> str:
        """What tells it from every other one in its directory; `endpoint` and all its files are named by it."""
        if self.isolation == "explicit":
            return f"{self.name}.{self.instance}"
        if self.isolation == "private":
            whose = "\0".join((sys.prefix, *self.program))
            return f"{self.name}.{hashlib.sha256(os.fsencode(whose)).hexdigest()[:16]}"
        return self.name

    @property
    def place(self) -> Place:
        """Its endpoint and the files beside it.

        Raises:
            InvalidEndpoint: the directory's path is too long for a socket's address.
        """
        directory = os.path.abspath(self.directory or runtime_directory())
        if not self.abstract:
            return Place.of(os.path.join(directory, f"{self.key}.sock"))
        # Abstract names are the whole machine's, so the directory is part of the name.
        whose = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
        return attrs.evolve(
            Place.of(os.path.join(directory, f"{self.key}.sock")),
            endpoint=f"@trio-folk/{os.geteuid()}/{whose}/{self.key}",
            control=f"@trio-folk/{os.geteuid()}/{whose}/{self.key}.ctl",
        )

    @property
    def environment(self) -> dict[str, str]:
        """The daemon's environment, were it started now."""
        return {name: os.environ[name] for name in BASELINE if name in os.environ} | dict(self.env)

    def fit(self, version: str) -> Fit:
        """Whether a running backend of this version will do."""
        found = core_of(version)
        if found < core_of(self.oldest or self.version):
            return Fit.OLD
        newest = core_of(self.newest) if self.newest else (core_of(self.version)[0], math.inf, math.inf)
        return Fit.NEW if found > newest else Fit.GOOD
