"""How our pictures look: legible on white and on black, nothing behind them, text as text.

Knows matplotlib. Does not know what is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK = "#808890"
STYLE: Any = {  # its keys are one long Literal in matplotlib's types
    "svg.fonttype": "none",
    "svg.hashsalt": "trio_folk",  # the same names for the same picture
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
        INK,
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


def styled() -> Any:
    """A context in which figures look like this."""
    return matplotlib.rc_context(STYLE)


def save(figure: Figure, path: Path) -> None:
    """Write it: the same bytes for the same picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format=path.suffix[1:], transparent=True, metadata={"Date": None})
