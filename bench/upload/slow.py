"""Many slow senders at once, and somebody who asks for something quick meanwhile."""

from __future__ import annotations

import http.client
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field

PIECE = bytes(5000)


@dataclass
class Quick:
    """How long GET /healthz took, in ms, on a connection of its own each time; `failed`: answered with an error, or not at all."""

    times: list[float] = field(default_factory=list)
    failed: int = 0


def drip(heads: list[bytes], port: int, *, per_second: int, seconds: float) -> Quick:
    """Send each of `heads` and then zeros, `per_second` bytes on each connection; ask for /healthz 20 times a second meanwhile."""
    quick, stop = Quick(), threading.Event()
    links = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in heads]
    for link, head in zip(links, heads, strict=True):
        link.sendall(head)
    asking = threading.Thread(target=_ask, args=(port, quick, stop))
    until = time.monotonic() + seconds
    pause = len(PIECE) / per_second / len(links)
    due = time.monotonic()
    sent = 0
    time.sleep(3)  # all of them are under way
    asking.start()
    try:
        while time.monotonic() < until:
            links[sent % len(links)].sendall(PIECE)
            sent += 1
            due = max(due + pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
        _need_silence(links)
    finally:
        stop.set()
        asking.join()
        for link in links:
            link.close()
    return quick


def _need_silence(links: list[socket.socket]) -> None:
    """None of them may have an answer yet: a refused upload would be no load."""
    with selectors.DefaultSelector() as selector:
        for link in links:
            selector.register(link, selectors.EVENT_READ)
        if answered := selector.select(0):
            raise AssertionError(f"{len(answered)} uploads ended: {answered[0][0].fileobj.recv(2000)!r}")  # type: ignore[union-attr]


def _ask(port: int, quick: Quick, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/healthz")
            quick.failed += connection.getresponse().status != 200
        except OSError:
            quick.failed += 1
        finally:
            connection.close()
        quick.times.append((time.perf_counter() - begun) * 1000)
