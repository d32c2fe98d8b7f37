"""The command line: ``trio-folk map``, ``trio-folk serve`` and ``trio-folk doctor``.

Workers import `remote` from this room and must not pay for argparse or trio: everything else is imported when
a command begins.

Knows nothing. Picture: docs/design/cli.md
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status.

    Args:
        argv: the words after the program's name; those of this process by default.
    """
    try:
        from .command import run

        return run(argv)
    except KeyboardInterrupt:
        return 130  # before `map` listens for it, or in `doctor`
