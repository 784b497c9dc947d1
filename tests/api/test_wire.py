"""Bodies read beside gunicorn's own reader, over a pair of sockets: every byte once, and the next request where it begins."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http import wsgi

from batches.api import wire
from batches.api.wire import Pace, Pieces, Wire
from common.errors import LengthMismatch, UploadTooSlow


class Pair:
    """Both ends of a connection; the server's is read by gunicorn's parser."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.config = Config()
        self.parser = http.get_parser(self.config, self.server, ("127.0.0.1", 1))

    def request(self) -> dict[str, Any]:
        """The WSGI environment of the next request."""
        _, environ = wsgi.create(next(self.parser), self.server, ("127.0.0.1", 1), ("127.0.0.1", 80), self.config)
        return environ


@pytest.fixture
def pair() -> Iterator[Pair]:
    both = Pair()
    yield both
    both.client.close()
    both.server.close()


def put(size: int, path: str = "/a") -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()


CHUNKED = b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(source: Wire | Pieces | None) -> bytes:
    assert source
    return b"".join(bytes(piece) for piece in source.chunks())


def test_gunicorn_is_inside_as_the_direct_way_expects_it(pair):
    pair.client.sendall(put(3) + b"abc")
    assert Wire.of(pair.request())


@pytest.mark.parametrize("early", [0, 1, 1000, 70_000])
def test_a_body_arrives_whole_however_much_came_with_the_head(pair, early):
    content = os.urandom(3_000_000)
    pair.client.sendall(put(len(content)) + content[:early])
    environ = pair.request()
    sender = threading.Thread(target=pair.client.sendall, args=(content[early:],))
    sender.start()
    assert whole(Wire.of(environ)) == content
    sender.join()
    assert environ["wsgi.input"].read() == b""


def test_the_next_request_begins_behind_the_body(pair):
    pair.client.sendall(put(4, "/a") + b"aaaa" + put(5, "/b") + b"bb")
    environ = pair.request()
    assert whole(Wire.of(environ)) == b"aaaa"
    environ = pair.request()
    assert environ["PATH_INFO"] == "/b"
    pair.client.sendall(b"bbb" + CHUNKED + b"2\r\ncc\r\n0\r\n\r\n" + put(1, "/d") + b"d")
    assert whole(Wire.of(environ)) == b"bbbbb"
    environ = pair.request()
    assert Wire.of(environ) is None
    assert whole(Pieces.of(environ)) == b"cc"
    environ = pair.request()
    assert (environ["PATH_INFO"], whole(Wire.of(environ))) == ("/d", b"d")


def test_bytes_that_came_with_the_next_head_are_left_for_it(pair):
    big = os.urandom(wire.BUFFER * 2 + 17)
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sender = threading.Thread(target=pair.client.sendall, args=(put(len(big)) + big + put(2, "/b") + b"bb",))
    sender.start()
    assert whole(Wire.of(pair.request())) == big
    environ = pair.request()
    assert (environ["PATH_INFO"], whole(Wire.of(environ))) == ("/b", b"bb")
    sender.join()


def test_a_silent_second_is_an_empty_buffer(pair, monkeypatch):
    monkeypatch.setattr(wire, "TICK_SECONDS", 0.05)
    pair.client.sendall(put(6) + b"abc")
    chunks = Wire.of(pair.request()).chunks()
    assert bytes(next(chunks)) == b"abc"
    assert bytes(next(chunks)) == b""
    pair.client.sendall(b"def")
    assert bytes(next(chunks)) == b"def"
    assert list(chunks) == []
    assert pair.server.gettimeout() is None


@pytest.mark.parametrize("reset", [False, True])
def test_a_sender_that_breaks_off_is_noticed_and_the_connection_is_not_used_again(reset):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pair = Pair()
        pair.client.close()
        pair.server.close()
        pair.client = socket.create_connection(listener.getsockname())
        pair.server, _ = listener.accept()
        pair.parser = http.get_parser(pair.config, pair.server, ("127.0.0.1", 1))
    pair.client.sendall(put(10) + b"abc")
    environ = pair.request()
    chunks = Wire.of(environ).chunks()
    assert bytes(next(chunks)) == b"abc"
    if reset:
        pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    with pytest.raises(LengthMismatch):
        list(chunks)
    assert pair.parser.finish_body(deadline=time.monotonic() + 1) is False
    pair.server.close()


def test_a_body_that_was_left_in_the_middle_does_not_become_a_request(pair):
    pair.client.sendall(put(40) + b"abc")
    chunks = Wire.of(pair.request()).chunks()
    next(chunks)
    chunks.close()
    assert pair.parser.finish_body(deadline=time.monotonic() + 1) is False


@pytest.mark.parametrize("rest", [b"", b"5\r\nab", b"zz\r\n", b"-5\r\nabcde\r\n"])
def test_a_chunked_body_that_breaks_off_is_noticed(pair, rest):
    pair.client.sendall(CHUNKED + b"3\r\nabc\r\n" + rest)
    pair.client.shutdown(socket.SHUT_WR)
    with pytest.raises(LengthMismatch):
        whole(Pieces.of(pair.request()))
    assert pair.parser.finish_body() is False


def test_a_chunk_is_handed_on_before_the_next_one_comes(pair):
    pair.client.sendall(CHUNKED + b"3\r\nabc\r\n")
    pieces = Pieces.of(pair.request()).chunks()
    assert bytes(next(pieces)) == b"abc"
    pair.client.sendall(b"0\r\n\r\n")
    assert list(pieces) == []


def test_a_buffer_is_used_again_and_never_by_two_at_once(pair):
    with wire._buffer() as one, wire._buffer() as other:
        assert one.obj is not other.obj
        first = {id(one.obj), id(other.obj)}
    with wire._buffer() as again:
        assert id(again.obj) in first
    assert len(wire._idle) <= wire.IDLE_BUFFERS


@pytest.mark.parametrize("lacks", ["reader", "buf", "failed"])
def test_a_server_that_looks_otherwise_inside_is_read_the_ordinary_way(pair, lacks):
    pair.client.sendall(put(3) + b"abc")
    environ = pair.request()
    body = environ["wsgi.input"]
    environ["wsgi.input"] = SimpleNamespace(**{name: getattr(body, name) for name in ("reader", "buf", "failed") if name != lacks})
    assert Wire.of(environ) is None
    assert Wire.of({}) is None
    assert Pieces.of({}) is None


def test_a_wrapped_socket_is_read_the_ordinary_way(pair):
    pair.client.sendall(put(3) + b"abc")
    environ = pair.request()

    class Wrapped(socket.socket):
        """As TLS would be."""

    environ["gunicorn.socket"] = environ["wsgi.input"].reader.unreader.sock = Wrapped(fileno=os.dup(pair.server.fileno()))
    assert Wire.of(environ) is None


# -- pace --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch, settings) -> SimpleNamespace:
    """A clock that is moved by hand."""
    settings.ARGUS_SILENCE_SECONDS, settings.ARGUS_MIN_BYTES_PER_SECOND = 30, 1024
    at = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(wire.time, "monotonic", lambda: at.now)
    return at


def test_thirty_silent_seconds_are_the_end(clock):
    pace = Pace()
    for _ in range(29):
        clock.now += 1
        pace.count(0)
    pace.count(1)
    clock.now += 29
    pace.count(0)
    clock.now += 1
    with pytest.raises(UploadTooSlow):
        pace.count(0)


def test_a_byte_a_second_is_the_end_after_a_minute(clock):
    pace = Pace()
    for _ in range(59):
        clock.now += 1
        pace.count(1)
    clock.now += 1
    with pytest.raises(UploadTooSlow):
        pace.count(1)


def test_slow_is_not_too_slow_and_a_pause_may_be_made_good(clock):
    pace = Pace()
    for _ in range(1000):
        clock.now += 25
        pace.count(0)
        pace.count(1024 * 40)
