"""A client that costs as little as can be: raw sockets, one block of random bytes sent over and over."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

BLOCK = memoryview(os.urandom(1 << 20))


@dataclass
class Answer:
    """Of a server."""

    status: int
    headers: dict[str, str]
    body: bytes


class Link:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, method: str, path: str, headers: dict[str, str], size: int = 0) -> Answer:
        """A request with a body of `size` bytes."""
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            f"Content-Length: {size}",
            *(f"{k}: {v}" for k, v in headers.items()),
            "",
            "",
        ]
        self._socket.sendall("\r\n".join(head).encode())
        for _ in range(size // len(BLOCK)):
            self._socket.sendall(BLOCK)
        self._socket.sendall(BLOCK[: size % len(BLOCK)])
        return self._answer(method)

    def _answer(self, method: str) -> Answer:
        while b"\r\n\r\n" not in self._held:
            if not (piece := self._socket.recv(65536)):
                raise ConnectionError("closed without an answer")
            self._held += piece
        head, _, body = self._held.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
        }
        if "transfer-encoding" in headers:
            while not body.endswith(b"0\r\n\r\n"):
                body += self._socket.recv(65536)
            self._held = b""
            return Answer(status, headers, body)
        size = int(headers.get("content-length", 0)) if method != "HEAD" else 0
        while len(body) < size:
            body += self._socket.recv(65536)
        self._held = body[size:]
        return Answer(status, headers, body[:size])
