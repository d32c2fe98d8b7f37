"""What an HTTP front allows its clients, and which paths are its own.

Knows numbers. Does not know what is done when one is exceeded.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

__all__ = ["HttpConfig"]


def _positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} is more than 0, not {value!r}")


def _path(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and not value.startswith("/"):
        raise ValueError(f"{attribute.name} is a path that begins with '/', or None, not {value!r}")


@attrs.frozen(kw_only=True)
class HttpConfig:
    """Limits of an HTTP front. Sizes in bytes, times in seconds; ``math.inf`` means that there is no limit.

    Attributes:
        max_body: the longest request body; 413 beyond it.
        max_gathered: the longest body for a worker that takes it whole (``http.handle``); 413 beyond it.
        max_head: request line and headers together; 431 or 414 beyond it.
        max_headers: how many headers a request has; 431 beyond it.
        body_timeout: until the next piece of a request body comes; 408 then.
        send_timeout: until a client takes what it was sent; then it counts as gone.
        keep_alive_timeout: how long a connection may stay without a request, and a request without the end of its head.
        health: the path that says that this process serves; None where there is none.
        readiness: the path that says whether a worker is ready; None where there is none.
        root_path: the path under which a proxy has mounted the application.
    """

    max_body: float = attrs.field(default=2**30, validator=_positive)
    max_gathered: float = attrs.field(default=8 * 2**20, validator=_positive)
    max_head: int = attrs.field(default=16384, validator=_positive)
    max_headers: int = attrs.field(default=100, validator=_positive)
    body_timeout: float = attrs.field(default=30.0, validator=_positive)
    send_timeout: float = attrs.field(default=30.0, validator=_positive)
    keep_alive_timeout: float = attrs.field(default=5.0, validator=_positive)
    health: str | None = attrs.field(default="/healthz", validator=_path)
    readiness: str | None = attrs.field(default="/readyz", validator=_path)
    root_path: str = ""

    def __attrs_post_init__(self) -> None:
        if self.keep_alive_timeout == math.inf:
            raise ValueError(
                "keep_alive_timeout has an end: connections that nobody uses are all that an attacker needs"
            )
