"""``python -m trio_folk.worker [module:object]``: started by a pool, not by hand.

Knows only where the work begins.
"""

from __future__ import annotations

import sys

from ._boot import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
