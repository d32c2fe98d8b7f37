"""How a Python worker is started so that it imports what its parent would.

``__main__`` of the parent is never imported again; ``sys.path`` travels in PYTHONPATH, and the worker puts
the variable's own value back for its children.

Knows the interpreter's options. Does not know processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

__all__ = ["python_argv", "python_env"]

_FLAGS = {
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_user_site": "s",
    "optimize": "O",
    "verbose": "v",
    "bytes_warning": "b",
    "quiet": "q",
}


def python_argv(executable: str, target: str | None) -> list[str]:
    """The command line of a worker; -P keeps the working directory out of ``sys.path`` unless the parent has it.

    Raises:
        ValueError: the target is not written as it should be.
    """
    if target is not None and (
        not isinstance(target, str) or target.count(":") != 1 or not all(target.split(":"))
    ):
        raise ValueError(f"a target is written 'module:object', e.g. 'myapp.jobs:worker', not {target!r}")
    flags = [
        f"-{letter * value}" for name, letter in _FLAGS.items() if (value := int(getattr(sys.flags, name)))
    ]
    options = [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()]
    warnings = [f"-W{each}" for each in sys.warnoptions]
    return [
        executable,
        *flags,
        *options,
        *warnings,
        "-P",
        "-m",
        "trio_folk.worker",
        *([target] if target else []),
    ]


def python_env(asked: Mapping[str, str]) -> dict[str, str]:
    """``sys.path`` as PYTHONPATH, and what PYTHONPATH is to be again once the worker has started."""
    own = asked.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    path = [each or os.getcwd() for each in sys.path]
    asked_first = asked["PYTHONPATH"].split(os.pathsep) if "PYTHONPATH" in asked else []
    return {"PYTHONPATH": os.pathsep.join([*asked_first, *path]), "FOLK_PYTHONPATH": own}
