"""``python -m trio_folk``: the command ``trio-folk``, for where it is not on PATH.

Knows only where the work begins.
"""

from __future__ import annotations

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
