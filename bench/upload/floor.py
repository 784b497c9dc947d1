"""The least that Python can do with an upload: socket to file, with its SHA-256. `python -m bench.upload.floor <folder> <port>`."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
from pathlib import Path

BUFFER = 256 * 1024


def serve(folder: Path, port: int) -> None:
    """One request a connection, one connection at a time."""
    buffer = memoryview(bytearray(BUFFER))
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                receive(connection, folder, buffer)


def receive(connection: socket.socket, folder: Path, buffer: memoryview) -> None:
    """One PUT, or a GET that asks whether anybody is there."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (piece := connection.recv(65536)):
            return
        head += piece
    head, _, begun = head.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    left = int(length[1]) if length else 0
    digest = hashlib.sha256(begun)
    with open(folder / "file", "wb", buffering=0) as out:
        out.write(begun)
        left -= len(begun)
        while left:
            size = connection.recv_into(buffer[: min(left, BUFFER)])
            if not size:
                return
            digest.update(buffer[:size])
            os.write(out.fileno(), buffer[:size])
            left -= size
    answer = digest.hexdigest().encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
