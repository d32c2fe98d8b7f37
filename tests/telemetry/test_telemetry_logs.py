"""Logs as JSON: one line a record, with the worker that said it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from trio_folk import PipeRuntime, open_pool
from trio_folk.telemetry import JsonLines


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What a handler with this formatter writes of the workers' logger."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines(fields=["shift"]))
    log = logging.getLogger("trio_folk.worker")
    log.addHandler(handler)
    yield text
    log.removeHandler(handler)


def lines(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


async def test_a_workers_line_comes_with_its_id(output: io.StringIO) -> None:
    """The line alone is the message, whatever is in it; the id and the stream stand beside it."""
    with trio.fail_after(60):
        async with open_pool(PipeRuntime.python(), slots=1, name="thumbs") as pool:
            await pool.run_sync(complain, 'half a cat: {"level": "forged"}\r\x1b[2Jcut')
            while not output.getvalue():
                await trio.sleep(0.01)
    (line,) = lines(output)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "trio_folk.worker",
        "message": 'half a cat: {"level": "forged"}\r\x1b[2Jcut',
        "worker": "thumbs/0.1",
        "stream": "stderr",
    }


def complain(text: str) -> None:
    import sys

    print(text, file=sys.stderr, flush=True)


def test_any_record_is_one_line(output: io.StringIO) -> None:
    """With its traceback, and the fields that were asked for; what is not JSON is text."""
    log = logging.getLogger("trio_folk.worker")
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        log.exception("it %s", "broke\nin two", extra={"shift": {1}, "other": 2})
    log.error("fine", extra={"shift": 3})
    first, second = lines(output)
    assert (first["message"], first["shift"], first["level"]) == ("it broke\nin two", "{1}", "error")
    assert "ValueError: one\ntwo" in first["exception"]
    assert "other" not in first
    assert second.keys() == {"time", "level", "logger", "message", "shift"}
