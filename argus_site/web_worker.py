"""gunicorn's thread worker with a bound on everything a client can make it wait for: no connection holds a thread without using it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ
from typing import Any

from django.conf import settings
from gunicorn import http
from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from batches.api.wire import TICK_SECONDS, Pace

# So little of an unread body is read and thrown away to keep the connection for the next request; with more left it is closed.
DRAIN_BYTES = 64 * 1024
# Seconds that a client has to notice that it was answered and to stop sending.
LINGER_SECONDS = 2.0
# Seconds that one send may wait for a client to take more of its answer.
SEND_SECONDS = 60


class PatientReader(SocketUnreader):
    """Reads a connection: the head of a request within a time, its body at a pace."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._until, self._pace = 0.0, Pace()

    def begin(self) -> None:
        """The head of a request comes next."""
        self._until = time.monotonic() + settings.ARGUS_HEADER_SECONDS

    def head_read(self) -> None:
        """What follows is its body."""
        self._until, self._pace = 0.0, Pace()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """What comes next, none at the end. Raises NoMoreData for a head that takes too long, UploadTooSlow for a body."""
        try:
            while True:
                left = self._until - time.monotonic() if self._until else TICK_SECONDS
                if left <= 0:
                    raise NoMoreData(b"")
                self.sock.settimeout(left)
                try:
                    data = super().chunk(size_hint)
                except TimeoutError:
                    data = None
                if not self._until:
                    self._pace.count(len(data or b""))
                if data is not None:
                    return bytes(data)
        finally:
            self.sock.settimeout(None)


class Worker(ThreadWorker):
    """Differs from its base where that would wait: for the first byte of a connection, for the rest of a head, for a body nobody wants."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections that have had their last answer, the oldest first, and when they are closed at the latest (time.monotonic).
        self._lingering: dict[TConn, float] = {}

    def load_wsgi(self) -> None:
        """The application, told to close connections on which much of a refused body is still to come."""
        super().load_wsgi()
        self.wsgi: Any = partial(_closing, self.wsgi)

    def accept(self, listener: socket.socket) -> None:
        """A new connection waits for its first byte beside the kept ones, not in a thread."""
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        self.nr_conns += 1
        waiting = TConn(self.cfg, connection, address, listener.getsockname())
        if not self.cfg.is_ssl:
            waiting.parser = http.get_parser(self.cfg, connection, address)
            waiting.parser.unreader = PatientReader(connection)
        waiting.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(waiting)
        self.poller.register(connection, EVENT_READ, partial(self.on_pending_socket_readable, waiting))

    def handle(self, conn: TConn) -> Any:
        """One request, its head within a time."""
        if isinstance(reader := _reader(conn), PatientReader):
            reader.begin()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """The head has been read."""
        if isinstance(reader := _reader(conn), PatientReader):
            reader.head_read()
        return super().handle_request(req, conn)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep the connection, or end it without waiting for the client: what it still sends is thrown away when it comes."""
        if fs.exception() is None and fs.result() is False and not conn.is_http2:
            self._linger(conn)
        else:
            super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Close the connections whose time is over; called at each turn of the loop."""
        super().murder_pending()
        while self._lingering and next(iter(self._lingering.values())) <= time.monotonic():
            self._end(next(iter(self._lingering)))

    def _linger(self, conn: TConn) -> None:
        """Say that nothing more comes and wait for the client to say so too (RFC 9112, 9.6): a reset could overtake the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._discard, conn))
        except OSError:
            self._close(conn)
        else:
            self._lingering[conn] = time.monotonic() + LINGER_SECONDS

    def _discard(self, conn: TConn, connection: socket.socket) -> None:
        """Some of what came; the rest at the next turn."""
        try:
            if connection.recv(DRAIN_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(conn)

    def _end(self, conn: TConn) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()


def _reader(conn: TConn) -> Any:
    return getattr(conn.parser, "unreader", None)


def _closing(application: Callable[..., Iterable[bytes]], environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if _much_unread(environ["wsgi.input"]):
            start_response.__self__.force_close()  # type: ignore[attr-defined]
        return start_response(status, headers, exc_info)

    return application(environ, start)


def _much_unread(body: Any) -> bool:
    """Whether reading on would be in vain, or long, or of unknown length."""
    reader = body.reader
    left = reader.length if hasattr(reader, "length") else DRAIN_BYTES + 1 if getattr(reader, "parser", None) else 0
    return bool(body.failed or left > DRAIN_BYTES)
