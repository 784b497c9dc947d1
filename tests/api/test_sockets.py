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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from django.db.models.functions import Now

from batches.models import Batch
from files.models import File, Upload, UploadState
from tests import factories
from tests.flows.live import Live, running

pytestmark = [pytest.mark.cluster, pytest.mark.django_db(transaction=True)]
LIMIT = 3_000_000
MULTIPART_LIMIT = 1_000_000
THREADS, UPLOADS = 10, 7


@pytest.fixture(scope="module")
def server(django_db_setup, tmp_path_factory) -> Iterator[tuple[Live, Path]]:
    """A running web server with small limits, and the folder of its objects."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ARGUS_MAX_FILE_BYTES", str(LIMIT))
        environment.setenv("ARGUS_MAX_MULTIPART_BYTES", str(MULTIPART_LIMIT))
        environment.setenv("ARGUS_THREADS", str(THREADS))
        environment.setenv("ARGUS_MAX_UPLOADS", str(UPLOADS))
        environment.setenv("ARGUS_HEADER_SECONDS", "1")
        environment.setenv("ARGUS_SILENCE_SECONDS", "3")
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

    def begun(self, count: int = 1) -> None:
        """Wait until the server has begun so many uploads."""
        until = time.monotonic() + 10
        while Upload.objects.count() < count:
            assert time.monotonic() < until
            time.sleep(0.02)

    def objects(self) -> list[Path]:
        return [path for path in self.storage.rglob("*") if path.is_file()]

    def settled(self, *, kept: bool = False) -> None:
        """Wait until nobody writes any more, then check that nothing was counted, nor stored: unless it was `kept` to be gone on with."""
        until = time.monotonic() + 10
        while Upload.objects.filter(lease_until__gt=Now()).exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert File.objects.count() == 0
        assert Batch.objects.get().total_bytes == 0
        if not kept:
            assert not self.objects()
            assert not Upload.objects.filter(state=UploadState.OPEN).exists()

    def upload(self, method: str, upload: Upload, data: bytes = b"", **headers: str) -> requests.Response:
        """A tus request."""
        headers = {**self.authorization, "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", **headers}
        return requests.request(method, f"{self.live.url}/api/v1/uploads/{upload.pk}", data=data, headers=headers, timeout=20)


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


def test_a_sender_that_says_more_than_it_sends_has_stored_no_file_and_may_send_the_rest(web):
    with web.request("Content-Length: 1000") as connection:
        connection.sendall(b"x" * 999)
        connection.shutdown(socket.SHUT_WR)
        status, body = web.answer(connection)
    assert (status, body["code"]) == (422, "length_mismatch")
    web.settled(kept=True)
    upload = Upload.objects.get()
    assert web.upload("HEAD", upload).headers["Upload-Offset"] == "999"
    assert web.upload("PATCH", upload, b"y", **{"Upload-Offset": "999"}).status_code == 204
    assert [path.read_bytes() for path in web.objects()] == [b"x" * 999 + b"y"]
    assert File.objects.get().size == 1000


def test_a_sender_that_resets_the_connection_goes_on_where_its_bytes_end(web):
    content = os.urandom(2_000_000)
    with web.request(f"Content-Length: {len(content)}") as connection:
        connection.sendall(content[:1_000_000])
        web.begun()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    web.settled(kept=True)
    upload = Upload.objects.get()
    offset = int(web.upload("HEAD", upload).headers["Upload-Offset"])
    assert web.upload("PATCH", upload, content[offset:], **{"Upload-Offset": str(offset)}).status_code == 204
    assert [path.read_bytes() for path in web.objects()] == [content]


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
    assert (status, body["code"]) == (409, "upload_lost")
    assert [path.read_bytes() for path in web.objects()] == [b"complete"]


@contextmanager
def dripping(web, count: int):
    """So many uploads are under way, a byte now and then; the connections."""
    stop = threading.Event()
    with ExitStack() as stack:
        links = [stack.enter_context(web.request("Content-Length: 100000", path=f"/drip-{number}")) for number in range(count)]

        def drip() -> None:
            while not stop.wait(0.05):
                for link in links:
                    with suppress(ConnectionError):  # one that the test has ended
                        link.sendall(b"x")

        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            web.begun(count)
            yield links
        finally:
            stop.set()
            dripper.join()


def quick(web) -> float:
    """Seconds that a quick request takes."""
    begun = time.monotonic()
    assert requests.get(f"{web.live.url}/healthz", timeout=10).status_code == 200
    return time.monotonic() - begun


def test_quick_requests_are_answered_while_as_many_uploads_drip_as_there_may_be(web):
    with dripping(web, UPLOADS):
        assert max(quick(web) for _ in range(5)) < 2
    web.settled(kept=True)


def test_one_upload_too_many_is_told_to_come_again_and_may_when_another_has_ended(web):
    with dripping(web, UPLOADS) as links:
        for _ in range(2 * THREADS):
            answer = requests.put(
                f"{web.live.url}/api/v1/batches/{web.batch_id}/files/more.blf", data=b"more", headers=web.authorization, timeout=20
            )
            assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "too_many_uploads", True)
            assert int(answer.headers["Retry-After"]) > 0
        assert quick(web) < 2
        links[0].shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + 10
        while answer.status_code == 503:
            assert time.monotonic() < until
            answer = requests.put(
                f"{web.live.url}/api/v1/batches/{web.batch_id}/files/more.blf", data=b"more", headers=web.authorization, timeout=20
            )
        assert answer.status_code == 201, answer.text


def test_refused_senders_that_go_on_sending_hold_nobody_up(web):
    with ExitStack() as stack:
        links = [stack.enter_context(web.request(f"Content-Length: {LIMIT + 1}", path=f"/{number}")) for number in range(3 * THREADS)]
        for link in links:
            status, body = web.answer(link)
            assert (status, body["code"]) == (413, "file_too_large")
        assert quick(web) < 2


def test_a_refusal_of_a_long_body_closes_the_connection_and_says_so(web):
    with web.request(f"Content-Length: {LIMIT + 1}") as connection:
        data = b""
        while piece := connection.recv(65536):
            data += piece
    assert b"\r\nconnection: close\r\n" in data.lower()


def test_connections_without_a_byte_hold_no_thread(web):
    with ExitStack() as stack:
        for _ in range(5 * THREADS):
            stack.enter_context(socket.create_connection(web.address))
        assert max(quick(web) for _ in range(3)) < 1


def test_a_head_that_drips_is_cut_off_and_others_wait_no_longer_than_that(web):
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(web.address, timeout=20)) for _ in range(2 * THREADS)]
        for link in links:
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x")
        assert quick(web) < 5
        assert links[0].recv(100) == b""


def test_a_json_body_that_stops_coming_is_given_up(web):
    head = f"POST /api/v1/batches HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {web.token}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(web.address, timeout=20) as connection:
        connection.sendall(head.encode() + b"Content-Length: 10\r\n\r\n{")
        begun = time.monotonic()
        web.answer(connection)
    assert 2.5 < time.monotonic() - begun < 8


def test_a_silent_upload_is_given_up_and_says_why(web):
    with web.request("Content-Length: 1000") as connection:
        connection.sendall(b"x" * 10)
        begun = time.monotonic()
        status, body = web.answer(connection)
    assert (status, body["code"], body["retryable"]) == (408, "too_slow", True)
    assert 2.5 < time.monotonic() - begun < 8


def test_small_files_follow_each_other_on_one_connection(web):
    """The second head comes in the same packet as the first body."""
    path = f"/api/v1/batches/{web.batch_id}/files"
    rest = f"Host: localhost\r\nAuthorization: Bearer {web.token}\r\nContent-Length: 6\r\n\r\n"
    requested = "".join(f"PUT {path}/{number}.blf HTTP/1.1\r\n{rest}file-{number}" for number in range(5)).encode()
    with socket.create_connection(web.address, timeout=20) as connection:
        connection.sendall(requested)
        data = b""
        while data.count(b"HTTP/1.1 201") < 5:
            piece = connection.recv(65536)
            assert piece, data
            data += piece
    assert sorted(path.read_bytes() for path in web.objects()) == [f"file-{number}".encode() for number in range(5)]


def test_a_file_read_from_the_socket_leaves_the_connection_for_the_next_request(web):
    content = os.urandom(2_000_000)
    path = f"/api/v1/batches/{web.batch_id}"
    with requests.Session() as session:
        session.headers.update(web.authorization)
        for number in range(3):
            answer = session.put(f"{web.live.url}{path}/files/{number}.blf", data=content, timeout=20)
            assert answer.status_code == 201, answer.text
            assert answer.headers.get("Connection", "keep-alive").lower() == "keep-alive"
            assert session.get(f"{web.live.url}{path}", timeout=20).status_code == 200
    assert [path.read_bytes() for path in web.objects()] == [content] * 3


def test_a_half_open_sender_is_evicted_when_the_offset_is_asked_for(web):
    """Its connection is up and silent: what it has sent counts, and its successor need not wait for its end."""
    content = os.urandom(200_000)
    with web.request(f"Content-Length: {len(content)}") as connection:
        connection.sendall(content[:150_000])
        web.begun()
        upload = Upload.objects.get()
        begun = time.monotonic()
        while (offset := int(web.upload("HEAD", upload).headers["Upload-Offset"])) != 150_000:
            assert time.monotonic() - begun < 5
            time.sleep(0.1)
        answer = web.upload("PATCH", upload, content[offset:], **{"Upload-Offset": str(offset)})
        assert answer.status_code == 204, answer.text
        assert time.monotonic() - begun < 5
        status, body = web.answer(connection)
    assert (status, body["code"]) == (409, "upload_lost")
    assert [path.read_bytes() for path in web.objects()] == [content]
