"""A bad road between a vehicle and the server: a proxy that cuts, stalls, freezes, slices and delays, and counts what it let through."""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

PIECE = 256 * 1024
# A radio link holds little on its way. With the buffers of a loopback, megabytes would count as sent that no server has asked for.
LINK_BUFFER = 64 * 1024
ABORT = struct.pack("ii", 1, 0)


class End(enum.Enum):
    """How a request ends on the way."""

    WELL = "well"
    RESET = "reset"  # both sides get a TCP reset
    CLOSE = "close"  # both sides see an orderly end in the middle
    FREEZE = "freeze"  # neither side hears anything again; nothing is closed: a radio cell that is left
    LOSE_ANSWER = "lose answer"  # everything arrives, the answer does not


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request after so many bytes of its body, and how the bytes travel."""

    end: End = End.WELL
    after: int = 0
    pause: float = 0.0  # seconds of silence there, before it goes on or ends
    piece: int = PIECE  # bytes at once
    delay: float = 0.0  # seconds before each piece, in both directions
    method: str = "PATCH"  # the request that it waits for

    def seconds(self, size: int) -> float:
        """About how long it takes on an otherwise idle machine to come to pass in a request of `size` bytes."""
        return self.pause + (size / self.piece) * (self.delay + 0.0001) + size / 20e6


NONE = Fault()


class Proxy:
    """Listens on a port of its own; each request that brings a body takes the next fault of its method, if there is one."""

    def __init__(self, target: str, faults: Iterable[Fault] = ()) -> None:
        address = urlsplit(target)
        self._target = (str(address.hostname), int(address.port or 80))
        self._faults = deque(faults)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._links: list[_Link] = []
        self.sent = 0  # bytes of bodies, JSON not counted, that went out to the server
        self.happened: list[tuple[Fault, int]] = []  # ends that came to pass, and how many bytes had passed
        self._door = socket.socket()
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LINK_BUFFER)
        self._door.bind(("127.0.0.1", 0))
        self._door.listen(64)
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.thaw()

    def add(self, *faults: Fault) -> None:
        """These come after those that wait."""
        with self._lock:
            self._faults.extend(faults)

    def thaw(self) -> None:
        """End every connection, the frozen ones too: now the server hears of it."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.abort()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            link = _Link(self, client, server)
            with self._lock:
                self._links = [other for other in self._links if not other.gone.is_set()] + [link]
            for way in (link.up, link.down):
                threading.Thread(target=way, daemon=True).start()

    # -- what links ask and tell --

    def take(self, method: str) -> Fault:
        """The fault for a request that begins."""
        with self._lock:
            return self._faults.popleft() if self._faults and self._faults[0].method == method else NONE

    def count(self, size: int) -> None:
        """So many bytes of a file went out."""
        with self._lock:
            self.sent += size

    def note(self, fault: Fault, passed: int) -> None:
        """A fault has come to its end."""
        with self._lock:
            self.happened.append((fault, passed))

    def wait(self, seconds: float) -> None:
        """Time passes; the end of the proxy cuts it short."""
        self._over.wait(seconds)


class _Link:
    """One connection and its continuation to the server; a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.gone = threading.Event()
        self.frozen = threading.Event()
        self.fault = NONE
        self._kept = b""  # read, not yet passed on
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINK_BUFFER)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def up(self) -> None:
        """Client to server, request by request."""
        try:
            while head := self._head():
                method = head.split(b" ", 1)[0].decode("latin-1")
                length = _length(head)
                counts = b"application/json" not in head.lower()
                self.fault = self.proxy.take(method) if length else NONE
                self.server.sendall(head)
                if not self._body(length, counts):
                    return
            self.server.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.frozen.is_set():
                self.close()

    def _head(self) -> bytes:
        """The next request's head with its empty line; nothing at the end of the connection."""
        while (end := self._kept.find(b"\r\n\r\n")) < 0:
            data = self.client.recv(PIECE)
            if not data:
                return b""
            self._kept += data
        head, self._kept = self._kept[: end + 4], self._kept[end + 4 :]
        return head

    def _body(self, length: int, counts: bool) -> bool:
        """Pass `length` bytes on in the manner of the fault; False when the connection has ended."""
        fault = self.fault
        ends = fault.end not in {End.WELL, End.LOSE_ANSWER} and fault.after < length
        first = min(fault.after, length)
        if not self._pass(first, counts):
            return False
        if fault.pause:
            self.proxy.wait(fault.pause)
        if not ends:
            return self._pass(length - first, counts)
        self.proxy.note(fault, first)
        if fault.end is End.FREEZE:
            self.frozen.set()
        elif fault.end is End.RESET:
            self.abort()
        else:
            self.close()
        return False

    def _pass(self, size: int, counts: bool) -> bool:
        """Pass `size` bytes on; False when the client ends before."""
        fault = self.fault
        while size:
            data = self._kept[:size] or self.client.recv(min(PIECE, size))
            self._kept = self._kept[len(data) :]
            if not data:
                self.close()
                return False
            for at in range(0, len(data), fault.piece):
                if fault.delay:
                    self.proxy.wait(fault.delay)
                self.server.sendall(data[at : at + fault.piece])
                if counts:
                    self.proxy.count(len(data[at : at + fault.piece]))
            size -= len(data)
        return True

    def down(self) -> None:
        """Server to client."""
        try:
            while data := self.server.recv(PIECE):
                if self.frozen.is_set():
                    return
                if self.fault.delay:
                    self.proxy.wait(self.fault.delay)
                if self.fault.end is End.LOSE_ANSWER and not data.startswith(b"HTTP/1.1 100"):
                    self.proxy.note(self.fault, 0)
                    self.abort()
                    return
                self.client.sendall(data)
            if not self.frozen.is_set():
                self.client.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.frozen.is_set():
                self.close()

    def close(self) -> None:
        """An orderly end for both."""
        self.gone.set()
        for side in (self.server, self.client):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def abort(self) -> None:
        """A reset for both."""
        self.gone.set()
        for side in (self.server, self.client):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            # A thread that waits in recv() would keep the connection from ending with close() alone.
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RD)
            side.close()


def _length(head: bytes) -> int:
    match = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(match[1]) if match else 0


def wait_until(met, seconds: float = 10.0) -> None:
    """Return when `met()` is true; an AssertionError if it does not come to that."""
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.01)
