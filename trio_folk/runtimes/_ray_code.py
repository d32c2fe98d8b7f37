"""The code that is shipped to Ray's workers: one zip for each generation, made when its first worker is.

A worker that reads its code from a disk gets whatever lies there when it starts. A generation is to be the same
wherever and whenever one of its workers starts, also after a newer one has failed; so it is packed once, and kept.

Knows files and zips. Does not know Ray.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .._errors import BootFailed

__all__ = ["MOST", "Code", "pack"]

MOST = 256 * 1024 * 1024
"""Bytes of code, unpacked; Ray takes less than 512 MiB of it, packed."""

_LEFT_OUT = frozenset({"__pycache__", ".git", ".hg", ".venv", "node_modules", ".mypy_cache", ".pytest_cache"})
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same code is the same zip, whenever it was checked out


class Code:
    """What is shipped, by generation.

    Args:
        paths: modules and packages: files and folders, each of which is importable by its own name.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self.paths = tuple(Path(path).absolute() for path in paths)
        self._packed: dict[int, bytes] = {}

    def of(self, generation: int) -> bytes | None:
        """This generation's zip; packed now, if it is its first worker. None where no code is shipped. Blocks.

        Raises:
            BootFailed: it cannot be packed.
        """
        if not self.paths:
            return None
        known = self._packed.get(generation)
        return known if known is not None else self._packed.setdefault(generation, pack(self.paths))

    def forget(self, generation: int) -> None:
        """Of those so far, keep this one's."""
        for other in [each for each in self._packed if each != generation]:
            del self._packed[other]


def pack(paths: Sequence[Path]) -> bytes:
    """A zip of these modules and packages.

    Raises:
        BootFailed: one is not there or cannot be read, or they are too large.
    """
    written = io.BytesIO()
    size = 0
    try:
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in _files(paths):
                size += file.stat().st_size
                if size > MOST:
                    raise BootFailed(
                        f"the code to ship is larger than {MOST:,} bytes at {file}",
                        stage="launch",
                        hint="name the packages that the workers import, and keep data elsewhere",
                    )
                archive.writestr(zipfile.ZipInfo(name, _WHEN), file.read_bytes(), zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise BootFailed(f"the code to ship cannot be read: {error}", stage="launch") from error
    return written.getvalue()


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if not path.is_dir():
            yield path.name, path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(set(folders) - _LEFT_OUT)
            for name in sorted(names):
                file = Path(folder, name)
                yield f"{path.name}/{file.relative_to(path).as_posix()}", file
