"""A worker that streams by hand, in the way its method says: the protocol's page is all that it knows."""

from __future__ import annotations

from typing import Any

from zoo import CONTROL, TASK, answer, send, serve

from trio_folk._wire import encode_notify, encode_response


def item(msgid: int, value: object) -> bytes:
    return encode_notify("folk.item", [msgid, value])


def proper(msgid: int) -> bytes:
    """One item is what its credit is good for."""
    return item(msgid, "only") + encode_response(msgid, None, None)


def beyond_credit(msgid: int) -> bytes:
    return b"".join(item(msgid, number) for number in range(100))


def for_another(msgid: int) -> bytes:
    return item(msgid + 1, "not yours")


def after_the_reply(msgid: int) -> bytes:
    return encode_response(msgid, None, None) + item(msgid, "late")


def without_a_value(msgid: int) -> bytes:
    return encode_notify("folk.item", [msgid])


def without_a_msgid(msgid: int) -> bytes:
    return encode_notify("folk.item", {"msgid": msgid})


def unasked_progress(msgid: int) -> bytes:
    return encode_notify("folk.progress", [msgid, 1, 2])


def progress_in_words(msgid: int) -> bytes:
    return encode_notify("folk.progress", [msgid, "half", None])


def progress(msgid: int) -> bytes:
    return encode_notify("folk.progress", [msgid, 1, 2.5]) + encode_response(msgid, None, "done")


WAYS = {
    each.__name__: each
    for each in (
        proper, beyond_credit, for_another, after_the_reply, without_a_value, without_a_msgid, unasked_progress,
        progress_in_words, progress,
    )
}  # fmt: skip


def handle(msgid: int, method: str, params: Any) -> None:
    if method == "folk.execute":
        method, params = params["method"], params["params"]
    if method == "echo":
        answer(msgid, params)
    else:
        send(TASK, WAYS[method](msgid))


if __name__ == "__main__":
    features = ["meta", "stream", "progress"]
    send(CONTROL, encode_notify("control.ready", {"folk": {"v": 1, "features": features}}))
    serve(handle)
