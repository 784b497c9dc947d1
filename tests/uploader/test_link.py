"""Answers of servers, proxies and portals mean what they should; silence ends; waits have jitter and heed the server."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from argus_uploader.api import Api, own_path
from argus_uploader.config import Settings
from argus_uploader.errors import NotAllowed, Problem, Stopped, TryLater
from argus_uploader.link import Answer, Body, Link
from argus_uploader.pace import Backoff, Pace


@contextmanager
def answering(*answers: bytes | None, read: bool = True) -> Iterator[str]:
    """A server that gives each connection the next answer without looking at the request; None: none, and it stays open."""
    door = socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = door.accept()
            except OSError:
                return
            kept.append(connection)
            if read:
                connection.recv(65536)
            if answer is not None:
                connection.sendall(answer)
                if read:
                    connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        door.close()
        for connection in kept:
            connection.close()


def http(status: int, content: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers, "", content]
    return "\r\n".join(lines).encode()


def api(url: str, **options: float) -> Api:
    stop = threading.Event()
    settings = Settings(url=url, stall_timeout=0.3, answer_timeout=options.get("answer", 0.3))
    return Api(Link(settings.server(), Pace(0, stop), stop), lambda: "token")


PROBLEM = '{"code": "%s", "detail": "No.", "action": "Do.", "retryable": %s}'


@pytest.mark.parametrize(
    ("answer", "raised", "said"),
    [
        (http(401, "<html>"), NotAllowed, "does not accept the token"),
        (http(403, PROBLEM % ("permission_denied", "false")), NotAllowed, "may not"),
        (http(403, "<html>portal"), TryLater, "captive portal"),
        (http(404, "<html>no such page"), TryLater, "captive portal"),
        (http(404, PROBLEM % ("not_found", "false")), Problem, r"404 not_found: No. \(Do.\)"),
        (http(200, "<html>please log in"), TryLater, "captive portal"),
        (http(302, "", "Location: https://portal/"), TryLater, "https://portal/"),
        (http(500, PROBLEM % ("internal_error", "false")), TryLater, "internal_error"),
        (http(502, "<html>"), TryLater, "502"),
        (http(413, "<html>nginx"), Problem, "body_too_large"),
        (http(409, PROBLEM % ("files_pending", "true")), TryLater, "files_pending"),
        (http(423, PROBLEM % ("upload_busy", "true"), "Retry-After: 2"), TryLater, "upload_busy"),
        (b"SSH-2.0-OpenSSH\r\n", TryLater, "does not answer"),
        (b"", TryLater, "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", TryLater, "does not answer"),
        (None, TryLater, "nothing has moved for too long"),
    ],
)
def test_each_answer_says_what_to_do(answer: bytes | None, raised: type[Exception], said: str) -> None:
    with answering(answer) as url, pytest.raises(raised, match=said):
        api(url).call("GET", "/api/v1/batches")


def test_a_server_that_is_not_there_is_tried_later() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TryLater, match="refused"):
        api(f"http://127.0.0.1:{port}").call("GET", "/x")


def test_an_answer_before_the_end_of_the_body_is_heard() -> None:
    body = Body(50_000_000, (bytes(100_000) for _ in range(500)))
    with answering(http(413, PROBLEM % ("file_too_large", "false")), read=False) as url, pytest.raises(Problem, match="file_too_large"):
        api(url, answer=5).send("PUT", "/x", {}, body)


def test_a_peer_that_takes_no_bytes_is_given_up() -> None:
    body = Body(50_000_000, (bytes(100_000) for _ in range(500)))
    begun = time.monotonic()
    with answering(None, read=False) as url, pytest.raises(TryLater, match="nothing has moved"):
        api(url).send("PUT", "/x", {}, body)
    assert time.monotonic() - begun < 5


def test_a_stop_is_heeded_between_two_chunks() -> None:
    stop = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield bytes(10)
        stop.set()
        yield bytes(10)

    with answering(None) as url:
        link = Link(Settings(url=url).server(), Pace(0, stop), stop)
        with pytest.raises(Stopped):
            link.request("PUT", "/x", {}, Body(20, chunks()))


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    def waits(text: str) -> float | None:
        return Answer(503, {"retry-after": text}, b"").retry_after_s()

    assert waits("17") == 17
    assert waits(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)) == pytest.approx(59, abs=2)
    assert waits(format_datetime(datetime.now(UTC) - timedelta(days=9), usegmt=True)) == 0
    assert waits("soon") is None
    assert waits("99999999") == 86400


def test_waits_grow_are_spread_over_their_whole_length_and_never_shorter_than_the_server_asks() -> None:
    def nth(number: int) -> list[float]:
        found = []
        for _ in range(400):
            backoff = Backoff(1.0, 60.0)
            found.append([backoff.next_s() for _ in range(number)][-1])
        return found

    for number, ceiling in ((1, 1), (4, 8), (20, 60)):
        waits = nth(number)
        assert max(waits) <= ceiling
        assert statistics.mean(waits) == pytest.approx(ceiling / 2, rel=0.2)
    assert all(30 <= Backoff(1.0, 60.0).next_s(30.0) <= 38 for _ in range(50))


@pytest.mark.parametrize("rate", [20_000, 3_000_000])
def test_the_bucket_lets_through_its_rate(rate: int) -> None:
    pace = Pace(rate, threading.Event())
    begun, passed = time.monotonic(), 0
    while passed < rate * 0.6:
        pace.spend(pace.chunk)
        passed += pace.chunk
    took = time.monotonic() - begun
    assert passed / rate * 0.9 <= took <= passed / rate * 1.4 + 0.1


def test_addresses_of_the_server_are_taken_below_our_own() -> None:
    assert own_path("http://10.0.0.1:8000/api/v1/uploads/x") == "/api/v1/uploads/x"
    assert own_path("https://argus/prefix/api/v1/batches?cursor=1") == "/api/v1/batches?cursor=1"
