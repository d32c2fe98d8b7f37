"""The child of the floors: a blocking loop that answers, run as ``floor_child.py MODE FD``.

Knows one socket. Does not know trio, pools or signals; it ends when the other end is closed.
"""

from __future__ import annotations

import socket
import struct
import sys

import msgpack

_CHUNK = 65536


def pingpong(sock: socket.socket) -> None:
    """Send back whatever comes."""
    while data := sock.recv(_CHUNK):
        sock.sendall(data)


def rpc(sock: socket.socket) -> None:
    """Answer each request with its own params."""
    length = struct.Struct(">I")
    pack, unpack = msgpack.Packer().pack, msgpack.unpackb
    buffer = b""
    while data := sock.recv(_CHUNK):
        buffer += data
        while len(buffer) >= 4 and len(buffer) >= (end := 4 + length.unpack_from(buffer)[0]):
            _, msgid, _method, params = unpack(memoryview(buffer)[4:end])
            buffer = buffer[end:]
            body = pack([1, msgid, None, params])
            sock.sendall(length.pack(len(body)) + body)


if __name__ == "__main__":
    modes = {"pingpong": pingpong, "rpc": rpc}
    with socket.socket(fileno=int(sys.argv[2])) as own_end:
        modes[sys.argv[1]](own_end)
