"""Bodies that lie about themselves, written byte by byte to a real web server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from batches.models import Batch
from files.models import File, Upload, UploadState
from tests import factories
from tests.flows.live import Live, running

pytestmark = [pytest.mark.cluster, pytest.mark.django_db(transaction=True)]
LIMIT = 3_000_000
MULTIPART_LIMIT = 1_000_000


@pytest.fixture(scope="module")
def server(django_db_setup, tmp_path_factory) -> Iterator[tuple[Live, Path]]:
    """A running web server with small limits, and the folder of its objects."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ARGUS_MAX_FILE_BYTES", str(LIMIT))
        environment.setenv("ARGUS_MAX_MULTIPART_BYTES", str(MULTIPART_LIMIT))
        environment.setenv("ARGUS_UPLOAD_LEASE_SECONDS", "2")
        with running(folder, workers=False) as live:
            yield live, folder / "storage"


@pytest.fixture
def web(server, transactional_db) -> Sender:
    """A vehicle with a batch on that server, and no objects."""
    live, storage = server
    shutil.rmtree(storage, ignore_errors=True)
    return Sender(live, storage, factories.token(factories.vehicle()))


class Sender:
    """Writes requests as bytes."""

    def __init__(self, live: Live, storage: Path, token: str) -> None:
        self.live, self.storage, self.token = live, storage, token
        address = re.fullmatch(r"http://([\d.]+):(\d+)", live.url)
        assert address
        self.address = (address[1], int(address[2]))
        answer = requests.post(f"{live.url}/api/v1/batches", json={}, headers=self.authorization, timeout=10)
        self.batch_id = answer.json()["id"]

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @contextmanager
    def request(self, *headers: str, method: str = "PUT", path: str = "/x.blf"):
        """An open connection on which the head of a request has been sent."""
        head = [f"{method} /api/v1/batches/{self.batch_id}/files{path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.token}"]
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall("\r\n".join([*head, *headers, "", ""]).encode())
            yield connection

    def answer(self, connection: socket.socket) -> tuple[int, dict]:
        """Status and body of what comes back; (0, {}) for nothing."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return 0, {}
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
        while len(body) < length:
            body += connection.recv(65536)
        return int(head.split()[1]), json.loads(body[:length])

    def begun(self) -> None:
        """Wait until the server has begun an upload."""
        until = time.monotonic() + 10
        while not Upload.objects.exists():
            assert time.monotonic() < until
            time.sleep(0.02)

    def objects(self) -> list[Path]:
        return [path for path in self.storage.rglob("*") if path.is_file()]

    def settled(self) -> None:
        """Wait until no upload is open, then check that nothing was stored or counted."""
        until = time.monotonic() + 10
        while Upload.objects.filter(state=UploadState.OPEN).exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert (self.objects(), File.objects.count()) == ([], 0)
        assert Batch.objects.get().total_bytes == 0


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_length_over_the_limit_is_refused_before_a_byte_is_sent(web):
    with web.request(f"Content-Length: {LIMIT + 1}") as connection:
        status, body = web.answer(connection)
    assert (status, body["code"], body["limit"]) == (413, "file_too_large", LIMIT)
    web.settled()
    assert not Upload.objects.exists()


def test_a_form_over_the_limit_is_refused_before_a_byte_is_sent(web):
    with web.request(
        f"Content-Length: {MULTIPART_LIMIT + 1}", "Content-Type: multipart/form-data; boundary=b", method="POST", path=""
    ) as connection:
        status, body = web.answer(connection)
    assert (status, body["code"]) == (413, "file_too_large")
    web.settled()


def test_a_chunked_file_arrives_whole(web):
    content = os.urandom(1_000_000)
    with web.request("Transfer-Encoding: chunked") as connection:
        for at in range(0, len(content), 77_777):
            connection.sendall(chunk(content[at : at + 77_777]))
        connection.sendall(b"0\r\n\r\n")
        status, body = web.answer(connection)
    assert (status, body["size"]) == (201, len(content))
    assert [path.read_bytes() for path in web.objects()] == [content]


def test_a_chunked_file_over_the_limit_is_refused_by_its_counted_bytes(web):
    with web.request("Transfer-Encoding: chunked") as connection:
        for _ in range(LIMIT // 100_000 + 1):
            connection.sendall(chunk(bytes(100_000)))
        connection.sendall(b"0\r\n\r\n")
        status, body = web.answer(connection)
    assert (status, body["code"]) == (413, "file_too_large")
    web.settled()


def test_a_chunked_form_over_the_limit_is_refused_by_its_counted_bytes(web):
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    with web.request("Transfer-Encoding: chunked", "Content-Type: multipart/form-data; boundary=b", method="POST", path="") as connection:
        connection.sendall(chunk(start))
        for _ in range(MULTIPART_LIMIT // 100_000):
            connection.sendall(chunk(bytes(100_000)))
        connection.sendall(b"0\r\n\r\n")
        status, body = web.answer(connection)
    assert (status, body["code"]) == (413, "file_too_large")
    web.settled()


def test_a_request_without_any_length_is_refused(web):
    with web.request() as connection:
        status, body = web.answer(connection)
    assert (status, body["code"]) == (411, "length_required")
    web.settled()


def test_a_length_of_zero_is_an_empty_file(web):
    with web.request("Content-Length: 0") as connection:
        status, body = web.answer(connection)
    assert (status, body["code"]) == (422, "empty_file")
    web.settled()


def test_a_sender_that_says_more_than_it_sends_stores_nothing(web):
    with web.request("Content-Length: 1000") as connection:
        connection.sendall(b"x" * 999)
        connection.shutdown(socket.SHUT_WR)
        status, body = web.answer(connection)
    assert (status, body["code"]) == (422, "length_mismatch")
    web.settled()


def test_a_sender_that_resets_the_connection_stores_nothing(web):
    with web.request("Content-Length: 2000000") as connection:
        connection.sendall(b"x" * 1_000_000)
        web.begun()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    web.settled()
    assert Upload.objects.get().state == UploadState.FAILED


@pytest.mark.parametrize("rest", [b"", b"zz\r\n", b"5\r\nab", b"-5\r\nabcde\r\n"], ids=["cut", "no number", "short chunk", "negative"])
def test_a_chunked_body_that_breaks_off_stores_nothing(web, rest):
    with web.request("Transfer-Encoding: chunked") as connection:
        connection.sendall(chunk(b"x" * 1000) + rest)
        connection.shutdown(socket.SHUT_WR)
        status, _ = web.answer(connection)
    assert status in {0, 400, 422}
    web.settled()


def test_more_bytes_than_announced_are_not_part_of_the_file(web):
    with web.request("Content-Length: 4") as connection:
        connection.sendall(b"fourEVIL")
        status, body = web.answer(connection)
    assert (status, body["size"]) == (201, 4)
    assert [path.read_bytes() for path in web.objects()] == [b"four"]


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: -4",),
        ("Content-Length: +4",),
        ("Content-Length: 4_0",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
    ],
)
def test_a_body_of_two_lengths_is_not_guessed_at(web, headers):
    with web.request(*headers) as connection:
        connection.sendall(b"four")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        raw = connection.recv(100)
    assert not raw.startswith(b"HTTP/1.1 2")
    web.settled()


def test_an_upload_that_hangs_gives_way_to_the_one_that_follows(web):
    with web.request("Content-Length: 8") as hanging:
        hanging.sendall(b"half")
        web.begun()
        answer = requests.put(
            f"{web.live.url}/api/v1/batches/{web.batch_id}/files/x.blf", data=b"complete", headers=web.authorization, timeout=20
        )
        assert answer.status_code == 201, answer.text
        answer = requests.post(f"{web.live.url}/api/v1/batches/{web.batch_id}/complete", headers=web.authorization, timeout=20)
        assert answer.status_code == 202, answer.text
        hanging.sendall(b"half")
        status, body = web.answer(hanging)
    # The same name with other content, after complete: refused, whichever of the reasons is met first.
    assert (status, body["code"]) == (409, "file_exists")
    assert [path.read_bytes() for path in web.objects()] == [b"complete"]


def test_other_requests_are_answered_while_uploads_drip(web):
    """Seven of the eight threads hold slow uploads."""
    stop = threading.Event()

    def drip() -> None:
        with web.request("Content-Length: 100000", path=f"/{threading.get_ident()}") as connection:
            while not stop.is_set():
                connection.sendall(b"x")
                time.sleep(0.05)

    threads = [threading.Thread(target=drip) for _ in range(7)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        begun = time.monotonic()
        assert requests.get(f"{web.live.url}/healthz", timeout=5).status_code == 200
        assert time.monotonic() - begun < 2
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    web.settled()
