"""Amounts in the words of people: seconds, bytes, rates, and a row of them as a picture one line high.

Knows numbers. Does not know what they are of.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bytes_in_words", "pace", "seconds", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_UNITS = ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"))


def seconds(value: float | None) -> str:
    """A time: ``340 us``, ``81 ms``, ``1.2 s``, ``3 min``, ``2 h 5 min``."""
    if value is None:
        return "-"
    for most, factor, unit in _UNITS:
        if value < most:
            return f"{value * factor:.0f} {unit}"
    if value < 10:
        return f"{value:.1f} s"
    whole = int(value)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def bytes_in_words(value: int | None) -> str:
    """A size: ``7.9 MiB``, ``1.2 GiB``."""
    if value is None:
        return "-"
    mib = value / 2**20
    if mib < 1024:
        return f"{mib:.1f} MiB" if mib < 100 else f"{mib:.0f} MiB"
    return f"{mib / 1024:.1f} GiB"


def pace(value: float | None) -> str:
    """So many a second."""
    if value is None:
        return "-"
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.1f}/s"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last so many values, each a bar as high as it is beside the largest; a blank where there is none."""
    shown = values[-width:]
    top = max((value for value in shown if value is not None), default=0.0)
    return "".join(
        " " if value is None else _BARS[round(value / top * 7) if top > 0 else 0] for value in shown
    )
