"""Request bodies straight from gunicorn's socket, without its copies: into one buffer that is used again and again."""

from __future__ import annotations

import contextlib
import inspect
import mmap
import socket
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings

from common.errors import ArgusError, LengthMismatch, UploadTooSlow

BUFFER = 1 << 20
TICK_SECONDS = 1.0
IDLE_BUFFERS = 4
PACE_SECONDS = 60.0
NOTHING = memoryview(b"")

# The last returned is the first used: its pages are still in the processor's cache. An anonymous map takes memory only where it was
# written, so that two hundred slow senders have a few pages each.
_idle: list[mmap.mmap] = []


class Pace:
    """Whether bytes come fast enough: some within `ARGUS_SILENCE_SECONDS`, and `ARGUS_MIN_BYTES_PER_SECOND` averaged over each minute."""

    def __init__(self) -> None:
        self.patience, self.minimum = settings.ARGUS_SILENCE_SECONDS, settings.ARGUS_MIN_BYTES_PER_SECOND * PACE_SECONDS
        self._heard = now = time.monotonic()
        self._judged, self._count = now + PACE_SECONDS, 0

    def count(self, size: int) -> None:
        """`size` bytes have come, or none until now. Raises UploadTooSlow."""
        now = time.monotonic()
        if size:
            self._heard = now
            self._count += size
        elif now - self._heard >= self.patience:
            raise UploadTooSlow(f"No byte came for {self.patience} s.")
        if now >= self._judged:
            if self._count < self.minimum:
                raise UploadTooSlow(f"{self._count} bytes came within a minute; at least {self.minimum:.0f} are wanted.")
            self._judged, self._count = now + PACE_SECONDS, 0


class Wire:
    """The rest of a body with Content-Length on a connection that gunicorn's thread worker serves."""

    def __init__(self, body: Any, connection: socket.socket) -> None:
        self._body, self._reader, self._socket = body, body.reader, connection

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Wire | None:
        """For the request of this WSGI environment; None for a chunked body, and under servers unlike gunicorn 27 inside."""
        body: Any = environ.get("wsgi.input")
        connection = environ.get("gunicorn.socket")
        reader = getattr(body, "reader", None)
        unreader = getattr(reader, "unreader", None)
        known = (
            type(connection) is socket.socket  # TLS ends at the proxy; a wrapped socket is read the ordinary way
            and getattr(unreader, "sock", None) is connection
            and all(callable(getattr(unreader, name, None)) for name in ("take_buffered", "unread"))
            and isinstance(getattr(reader, "length", None), int)
            and getattr(body, "failed", None) is False
            and hasattr(body, "buf")
            and body.buf.tell() == 0
        )
        return cls(body, connection) if known and connection is not None else None

    def chunks(self) -> Iterator[memoryview]:
        """The bytes as they come, each buffer valid until the next step; an empty one for each second without any.

        Raises LengthMismatch when the sender breaks off, UploadTooSlow when it is too slow. gunicorn's own count of what is left of the
        body is kept right, so that the next request on the connection begins where it should; after a break nothing there can be trusted.
        """
        reader, connection, pace = self._reader, self._socket, Pace()
        self._body.failed = reader.length > 0
        held = reader.unreader.take_buffered()
        if len(held) > reader.length:
            reader.unreader.unread(held[reader.length :])
            held = held[: reader.length]
        if held:
            self._came(len(held))
            yield memoryview(held)
        if not reader.length:
            return
        with _buffer() as view:
            connection.settimeout(TICK_SECONDS)
            while reader.length:
                size = self._receive(view[: reader.length] if reader.length < BUFFER else view)
                if size:
                    self._came(size)
                pace.count(size)
                yield view[:size]

    def _receive(self, room: memoryview) -> int:
        """Bytes that came, 0 when there were none for a second."""
        try:
            size = self._socket.recv_into(room)
        except TimeoutError:
            return 0
        except OSError as error:
            raise LengthMismatch("The body broke off.") from error
        if not size:
            raise LengthMismatch(f"The body broke off {self._reader.length} bytes before its end.")
        return size

    def _came(self, size: int) -> None:
        self._reader.length -= size
        if not self._reader.length:
            self._body.failed = False
            self._socket.settimeout(None)


class Pieces:
    """A chunked body, decoded by gunicorn: as its pieces come, where its own `read` waits until it has as many bytes as were asked for."""

    def __init__(self, body: Any) -> None:
        self._body, self._reader = body, body.reader

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Pieces | None:
        """For the request of this WSGI environment; None for a body with a length, and under servers unlike gunicorn 27 inside."""
        body: Any = environ.get("wsgi.input")
        reader: Any = getattr(body, "reader", None)
        known = (
            inspect.isgenerator(getattr(reader, "parser", None))
            and all(hasattr(part, "buf") and part.buf.tell() == 0 for part in (body, reader))
            and getattr(body, "failed", None) is False
        )
        return cls(body) if known else None

    def chunks(self) -> Iterator[memoryview]:
        """The bytes as they come. Raises LengthMismatch for a body that breaks off or has malformed chunks, UploadTooSlow."""
        self._body.failed = True
        try:
            for piece in self._reader.parser:
                if piece:
                    yield memoryview(piece)
        except ArgusError:
            raise
        except Exception as error:
            raise LengthMismatch("The body broke off.") from error
        self._reader.parser, self._body.failed = None, False


@contextlib.contextmanager
def _buffer() -> Iterator[memoryview]:
    try:
        memory = _idle.pop()
    except IndexError:
        memory = mmap.mmap(-1, BUFFER)
    try:
        yield memoryview(memory)
    finally:
        if len(_idle) < IDLE_BUFFERS:
            _idle.append(memory)
