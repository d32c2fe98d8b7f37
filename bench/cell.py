"""One cell of the table: one measure of one peer, in a process of its own.

What a library leaves behind in a process (a warm import, a resource tracker, a stuck thread) would be
the next one's handicap or help, and a hang of one would end the run. Run by `bench.launch` as
``python -m bench.cell MODULE FUNCTION PEER LIMIT [--short]``; the last line on stdout is the result as JSON.

Nothing of weight is imported at the top: three of the peers run the main module again in every worker, and
would be charged at boot for what stands here.
"""

from __future__ import annotations

import sys


def main(module: str, function: str, peer: str, limit: str, *flags: str) -> None:
    """Measure, and print what was found."""
    import importlib
    import json
    import signal
    import traceback

    signal.alarm(int(limit))  # the default action ends us: whoever started us may be gone by then
    try:
        from bench.peers import PEERS

        found = getattr(importlib.import_module(module), function)(PEERS[peer](), "--short" in flags)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": "; ".join(causes(error))}), flush=True)
        sys.exit(1)
    print(json.dumps({"values": found}), flush=True)


def causes(error: BaseException) -> list[str]:
    """What went wrong, one line each, whatever groups it came in."""
    if isinstance(error, BaseExceptionGroup):
        return [line for inner in error.exceptions for line in causes(inner)]
    return [f"{type(error).__name__}: {error}".splitlines()[0]]


if __name__ == "__main__":
    main(*sys.argv[1:])
