"""What tests of programs with worker pools stand on; a separate import, like ``trio.testing``.

Knows every room below it. Nothing that runs in production imports it.
"""

from __future__ import annotations

# A worker under test may be a module of this package: it must not pay for trio, nor for pytest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._actor import FaultyCall
    from ._contract import RuntimeContract
    from ._explore.explore import explore_cancellation
    from ._explore.findings import Finding
    from ._explore.points import Point
    from ._explore.privates import UnsupportedTrio
    from ._explore.summary import CancellationLeak, Exploration
    from ._faulty import FaultyRuntime
    from ._leaks import LeakCheck, assert_nothing_left
    from ._script import Fault, Script

__all__ = [
    "CancellationLeak",
    "Exploration",
    "Fault",
    "FaultyCall",
    "FaultyRuntime",
    "Finding",
    "LeakCheck",
    "Point",
    "RuntimeContract",
    "Script",
    "UnsupportedTrio",
    "assert_nothing_left",
    "explore_cancellation",
]

_HOME_OF = {
    "CancellationLeak": "_explore.summary",
    "Exploration": "_explore.summary",
    "Fault": "_script",
    "FaultyCall": "_actor",
    "FaultyRuntime": "_faulty",
    "Finding": "_explore.findings",
    "LeakCheck": "_leaks",
    "Point": "_explore.points",
    "RuntimeContract": "_contract",
    "Script": "_script",
    "UnsupportedTrio": "_explore.privates",
    "assert_nothing_left": "_leaks",
    "explore_cancellation": "_explore.explore",
}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
