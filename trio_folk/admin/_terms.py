"""What is said on an admin socket, over the frames of docs/protocol.md, and how long each thing may be or take.

    admin.list     {}                      -> {"pid", "pools": [one record each], "methods": [names]}
    admin.stats    {"pool"?}               -> {"pools": [one record each]}
    admin.reload   {"pool"?}               -> what each slot got
    admin.recycle  {"pool"?, "slot"}       -> {"worker"}
    admin.scale    {"pool"?, "slots"}      -> {"wanted"}; slots may be nil
    admin.drain    {"pool"?}               -> {"drained"}
    admin.events   {"pool"?}               -> {}, then a Notify admin.event for each, and admin.end
    admin.watch    {"pool"?, "interval"?}  -> {}, then a Notify admin.sample every so often, and admin.end
    <plugin>.<method>  anything            -> anything

Where one pool is served it need not be named; where the answer has a record for each pool, none named means all. Who is
not let in gets a Notify admin.refused {"message", "retry_after"} and the end. A Notify is never answered.

Knows words and numbers.
"""

from __future__ import annotations

__all__ = [
    "ANSWER_FRAME",
    "DRAIN",
    "END",
    "EVENT",
    "EVENTS",
    "IDLE_TIMEOUT",
    "INVALID",
    "LIST",
    "MOST_CLIENTS",
    "RECYCLE",
    "REFUSED",
    "RELOAD",
    "REQUEST_FRAME",
    "SAMPLE",
    "SCALE",
    "SEND_TIMEOUT",
    "STATS",
    "UNKNOWN",
    "VERBS",
    "WATCH",
    "WINDOW",
]

LIST, STATS = "admin.list", "admin.stats"
RELOAD, RECYCLE, SCALE, DRAIN = "admin.reload", "admin.recycle", "admin.scale", "admin.drain"
EVENTS, WATCH = "admin.events", "admin.watch"
VERBS = (LIST, STATS, RELOAD, RECYCLE, SCALE, DRAIN, EVENTS, WATCH)
"""What may be asked; the rest are plugins'."""
EVENT, SAMPLE, END, REFUSED = "admin.event", "admin.sample", "admin.end", "admin.refused"

UNKNOWN, INVALID = -32601, -32602
"""There is no such method; its parameters make no sense."""

REQUEST_FRAME = 64 * 1024
"""The longest payload that a client may send."""
ANSWER_FRAME = 4 * 1024 * 1024
"""The longest payload that it gets: room for ten thousand slots."""
MOST_CLIENTS = 16
"""Connections at a time; whoever comes then is told to come back."""
WINDOW = 8
"""Requests that one client may have open."""
IDLE_TIMEOUT = 30.0
"""Seconds that a client may take from one request to the end of its next; while one is open it has all the time."""
SEND_TIMEOUT = 5.0
"""Seconds that a client may take to read what it asked for, each frame; then it is dropped."""
