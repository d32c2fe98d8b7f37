"""What we use of rich, which is optional: only this file names it, and whoever cannot import it does without.

Knows names.
"""

from __future__ import annotations

from rich.console import Console as Console
from rich.console import Group as Group
from rich.live import Live as Live
from rich.progress import BarColumn as BarColumn
from rich.progress import MofNCompleteColumn as MofNCompleteColumn
from rich.progress import Progress as Progress
from rich.progress import TextColumn as TextColumn
from rich.progress import TimeElapsedColumn as TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeRemainingColumn
from rich.table import Table as Table
from rich.text import Text as Text

__all__ = [
    "BarColumn",
    "Console",
    "Group",
    "Live",
    "MofNCompleteColumn",
    "Progress",
    "Table",
    "Text",
    "TextColumn",
    "TimeElapsedColumn",
    "TimeRemainingColumn",
]
