"""What tests of programs with worker pools stand on; a separate import, like ``trio.testing``.

Knows every room below it. Nothing that runs in production imports it.
"""

from __future__ import annotations

# A worker under test may be a module of this package: it must not pay for trio, nor for pytest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._actor import FaultyCall
    from ._contract import RuntimeContract
    from ._faulty import FaultyRuntime
    from ._leaks import LeakCheck, assert_nothing_left
    from ._script import Fault, Script

__all__ = [
    "Fault",
    "FaultyCall",
    "FaultyRuntime",
    "LeakCheck",
    "RuntimeContract",
    "Script",
    "assert_nothing_left",
]

_HOME_OF = {
    "Fault": "_script",
    "FaultyCall": "_actor",
    "FaultyRuntime": "_faulty",
    "LeakCheck": "_leaks",
    "RuntimeContract": "_contract",
    "Script": "_script",
    "assert_nothing_left": "_leaks",
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
