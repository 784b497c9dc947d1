"""One HTTP connection to the server: requests that give up on a silent peer, bodies that flow at the allowed pace."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Callable
from urllib.parse import urlsplit

from argus_uploader import __version__
from argus_uploader.errors import BadConfig, Stopped, TryLater
from argus_uploader.pace import Pace

IDLE_REUSE_S = 1.5  # gunicorn closes a connection that was idle for 2 s
LARGEST_ANSWER = 256 * 1024 * 1024
NOT_SENT_LOW_WATER = 128 * 1024
LONGEST_RETRY_AFTER_S = 24 * 3600.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Server:
    """Where the server is and how it is reached. Times in seconds: `stall_s` without a byte getting through ends a request."""

    url: str
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    allow_http: bool = False
    connect_s: float = 15.0
    stall_s: float = 30.0
    answer_s: float = 90.0


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object of the body; TryLater where there is none: something else than Argus has answered."""
        try:
            found = json.loads(self.content) if self.content else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TryLater(f"the answer ({self.status}) is none of Argus: a proxy or a captive portal is in between")
        return found

    def retry_after_s(self) -> float | None:
        """What Retry-After says, as seconds or as a date."""
        text = self.headers.get("retry-after", "").strip()
        if text.isdigit():
            return min(float(text), LONGEST_RETRY_AFTER_S)
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError):
            return None
        if at.tzinfo is None:
            return None
        return min(max(0.0, (at - datetime.now(timezone.utc)).total_seconds()), LONGEST_RETRY_AFTER_S)


@dataclass
class Body:
    """`size` bytes out of `chunks`; `sent` is told how many bytes of each have left."""

    size: int
    chunks: Iterable[Any]
    sent: Callable[[int], None] = field(default=lambda count: None)


class Link:
    """Sends requests one after the other, over one connection as long as it lives."""

    def __init__(self, server: Server, pace: Pace, stop: threading.Event) -> None:
        parts = urlsplit(server.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadConfig(f"{server.url!r} is no address of a server: https://argus.example.com")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not server.allow_http:
            raise BadConfig(f"{server.url} would show the token to everybody on the way: use https, or set allow-http")
        try:
            port = parts.port
        except ValueError as error:
            raise BadConfig(f"{server.url!r} has no valid port") from error
        self._host, self._port = parts.hostname, port
        self.prefix = parts.path.rstrip("/")
        self._server, self.pace, self._stop = server, pace, stop
        self._tls = _tls(server) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes | Body | None = None) -> Answer:
        """Sends one request and returns the answer, whatever its status. TryLater when none came; Stopped."""
        if self._stop.is_set():
            raise Stopped
        reused = self._usable()
        try:
            return self._send(method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # The server may have closed the idle connection at the very moment; a stream cannot be told twice.
            if not reused or isinstance(body, Body):
                raise TryLater(f"{self._server.url} does not answer: {_in_words(error)}") from error
        except BaseException:
            self.close()
            raise
        try:
            return self._send(method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise TryLater(f"{self._server.url} does not answer: {_in_words(error)}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection; the next request opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _usable(self) -> bool:
        """Is there a connection that was used a moment ago and has not been closed by the other side?"""
        connection = self._connection
        if connection is None:
            return False
        if connection.sock is None or time.monotonic() - self._used_at > IDLE_REUSE_S or _readable(connection.sock):
            self.close()
            return False
        return True

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._tls is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._server.connect_s)
            else:
                self._connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._server.connect_s, context=self._tls)
            self._connection.connect()
            _tune(self._connection.sock, self._server.stall_s)
        return self._connection

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes | Body | None) -> Answer:
        connection = self._open()
        sock = connection.sock
        sock.settimeout(self._server.stall_s)
        connection.putrequest(method, self.prefix + path)
        for name, value in {"User-Agent": f"argus-uploader/{__version__}", "Accept": "application/json", **headers}.items():
            connection.putheader(name, value)
        if body is not None or method not in {"GET", "HEAD"}:
            connection.putheader("Content-Length", str(body.size if isinstance(body, Body) else len(body or b"")))
        connection.endheaders()
        try:
            if isinstance(body, Body):
                self._stream(sock, body)
            elif body:
                self._push(sock, memoryview(body))
        except _Answered:
            pass  # without wanting the rest: the answer says why
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            if not _readable(sock):
                raise
            sock.settimeout(min(5.0, self._server.stall_s))
            return self._answer(connection, last=True)
        else:
            sock.settimeout(self._server.answer_s)
            return self._answer(connection, last=False)
        sock.settimeout(self._server.stall_s)
        return self._answer(connection, last=True)

    def _stream(self, sock: socket.socket, body: Body) -> None:
        left = body.size
        for chunk in body.chunks:
            if self._stop.is_set():
                raise Stopped
            view = memoryview(chunk)[:left]
            self.pace.spend(len(view))
            self._push(sock, view)
            left -= len(view)
            body.sent(len(view))
        if left:
            raise OSError(f"the file ends {left} bytes too early")

    def _push(self, sock: socket.socket, view: memoryview) -> None:
        """Not `sendall`: its time-out is for the whole, and a slow link is no stalled one. Raises _Answered."""
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        while view:
            # TLS may have something to read that is no answer: there, only a send that fails makes us look.
            if self._tls is None:
                ready = poll.poll(self._server.stall_s * 1000)
                if not ready:
                    raise socket.timeout
                if ready[0][1] & ~select.POLLOUT:
                    raise _Answered
            view = view[sock.send(view) :]

    def _answer(self, connection: http.client.HTTPConnection, *, last: bool) -> Answer:
        response = connection.getresponse()
        content = response.read(LARGEST_ANSWER)
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)
        if last or response.will_close:
            self.close()
        self._used_at = time.monotonic()
        return answer


class _Answered(Exception):
    """The server has answered before it had the whole body."""


def _tls(server: Server) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=server.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if server.client_cert:
            context.load_cert_chain(server.client_cert, server.client_key or None)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(f"the certificates cannot be used ({server.ca_file or server.client_cert}): {error}") from error
    return context


def _tune(sock: socket.socket, stall_s: float) -> None:
    """A dead peer is noticed although the kernel takes bytes, and little lies in the kernel that has not left."""
    wanted = [
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", int(stall_s * 1000)),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", NOT_SENT_LOW_WATER),
    ]
    for level, name, value in wanted:
        number = getattr(socket, name, None)
        if number is not None:
            with contextlib.suppress(OSError):  # older kernels: the time-outs of each call still hold
                sock.setsockopt(level, number, value)


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message} (is the clock right, is ca-file the right one?)"
    if isinstance(error, socket.timeout):
        return "nothing has moved for too long"
    return f"{error or type(error).__name__}"


def read_chunks(read: Callable[[memoryview], int | None], size: int, chunk: int) -> Iterator[memoryview]:
    """At most `size` bytes out of `read` (like RawIOBase.readinto), in one buffer that is used again."""
    buffer = memoryview(bytearray(chunk))
    while size:
        count = read(buffer[: min(chunk, size)])
        if not count:
            return
        yield buffer[:count]
        size -= count
