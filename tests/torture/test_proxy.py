"""The bad road does what it is asked to, and counts right."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.torture.proxy import End, Fault, Proxy, wait_until

SIZE = 1_000_000


class Listener(ThreadingHTTPServer):
    """Takes bodies and remembers how much of each came, and how it ended."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.came: list[tuple[int, str]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is what is tested here."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""

    def do_PATCH(self) -> None:
        wanted, came, end = int(self.headers["Content-Length"]), 0, "whole"
        try:
            while came < wanted:
                data = self.rfile.read1(65536)
                if not data:
                    end = "closed"
                    break
                came += len(data)
        except ConnectionResetError:
            end = "reset"
        self.server.came.append((came, end))
        if end == "whole":
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.close_connection = True


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def patch(url: str, timeout: float = 5.0, size: int = SIZE) -> int:
    """The status of a PATCH with a megabyte; 0 when there was no answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)
    try:
        connection.request("PATCH", "/", body=b"x" * size)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_without_a_fault_everything_passes(listener):
    with Proxy(listener.url) as proxy:
        assert patch(proxy.url) == 204
        assert (proxy.sent, listener.came, proxy.happened) == (SIZE, [(SIZE, "whole")], [])


@pytest.mark.parametrize(("end", "seen"), [(End.RESET, "reset"), (End.CLOSE, "closed")])
@pytest.mark.parametrize("after", [0, 1, 65536, SIZE - 1])
def test_a_cut_lets_exactly_so_many_bytes_through(listener, end, seen, after):
    fault = Fault(end, after=after)
    with Proxy(listener.url, [fault]) as proxy:
        assert patch(proxy.url) == 0
        wait_until(lambda: listener.came)
        assert listener.came == [(after, seen)]
        assert (proxy.sent, proxy.happened) == (after, [(fault, after)])
        assert patch(proxy.url) == 204


def test_a_frozen_connection_tells_neither_side(listener):
    with Proxy(listener.url, [Fault(End.FREEZE, after=1000)]) as proxy:
        begun = time.monotonic()
        assert patch(proxy.url, timeout=0.5) == 0
        assert time.monotonic() - begun >= 0.5
        time.sleep(0.2)
        assert listener.came == []  # the client has hung up; the server was not told
        assert proxy.sent == 1000
        proxy.thaw()
        wait_until(lambda: listener.came)
        assert listener.came == [(1000, "reset")]


def test_a_lost_answer_comes_after_everything_has_arrived(listener):
    with Proxy(listener.url, [Fault(End.LOSE_ANSWER)]) as proxy:
        assert patch(proxy.url) == 0
        assert listener.came == [(SIZE, "whole")]
        assert len(proxy.happened) == 1


def test_a_pause_and_delays_are_only_slow(listener):
    with Proxy(listener.url, [Fault(after=100, pause=0.3), Fault(delay=0.05, piece=SIZE // 8)]) as proxy:
        for least in (0.3, 0.45):
            begun = time.monotonic()
            assert patch(proxy.url) == 204
            assert time.monotonic() - begun >= least


def test_slices_arrive_whole(listener):
    with Proxy(listener.url, [Fault(piece=7)]) as proxy:
        assert patch(proxy.url, size=20_000) == 204
        assert listener.came == [(20_000, "whole")]


def test_a_fault_waits_for_its_method_and_for_a_body(listener):
    with Proxy(listener.url, [Fault(End.RESET, method="PUT")]) as proxy:
        assert patch(proxy.url) == 204
        with socket.create_connection(urlsplit(proxy.url).netloc.split(":")) as plain:
            plain.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 501")
        assert proxy.happened == []


def test_several_requests_of_one_connection_each_take_their_fault(listener):
    with Proxy(listener.url, [Fault(), Fault(End.CLOSE, after=5)]) as proxy:
        address = urlsplit(proxy.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
        connection.request("PATCH", "/", body=b"x" * 100)
        assert connection.getresponse().read() == b""
        connection.request("PATCH", "/", body=b"x" * 100)
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.getresponse()
        wait_until(lambda: len(listener.came) == 2)
        assert listener.came == [(100, "whole"), (5, "closed")]
