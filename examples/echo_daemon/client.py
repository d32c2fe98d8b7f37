"""A client: ``python -m examples.echo_daemon.client hello``. Run it twice: the same daemon answers both times."""

from __future__ import annotations

import sys

import trio

from trio_folk.broker import Service, connect_or_spawn

ECHO = Service("echo", [sys.executable, "-m", "examples.echo_daemon.daemon"], version="1.0.0")


async def say(text: str, service: Service = ECHO) -> tuple[int, str]:
    """The daemon's pid, and what it says to this text."""
    async with await connect_or_spawn(service) as stream:
        await stream.send_all(text.encode())
        await stream.send_eof()
        pid, _, said = b"".join([data async for data in stream]).partition(b"\n")
    return int(pid), said.decode()


async def main() -> None:
    """Say each word of the command line."""
    for word in sys.argv[1:] or ["hello"]:
        pid, said = await say(word)
        print(f"daemon {pid} says {said}")


if __name__ == "__main__":
    trio.run(main)
