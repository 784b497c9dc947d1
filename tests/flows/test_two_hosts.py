"""One upload, two web hosts that share nothing but the database and the bucket of a real S3 server."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from batches.sweep import sweep_uploads
from files import storage
from files.models import File, Upload
from tests import factories, queue
from tests.api.conftest import API
from tests.files.stores import BUCKET, KEY, PART, SECRET, Place, s3_storage
from tests.flows.live import Live, running

CONTENT = os.urandom(3 * PART)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def tus(live: Live, token: str, method: str, path: str, data: bytes = b"", **headers: str) -> requests.Response:
    """One request, again until there is a process to take it."""
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0", **headers}
    until = time.monotonic() + 30
    while True:
        try:
            return requests.request(method, live.url + path, data=data, headers=headers, timeout=60)
        except requests.ConnectionError as error:
            if "refused" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.1)


def patch(live: Live, token: str, path: str, start: int, end: int) -> requests.Response:
    """The bytes from `start` to `end`."""
    return tus(
        live, token, "PATCH", path, CONTENT[start:end], **{"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
    )


def cut(live: Live, token: str, path: str, start: int, end: int) -> None:
    """A request that promises all the rest, and whose connection ends at `end`."""
    address = urlsplit(live.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        lines = [
            f"PATCH {path} HTTP/1.1",
            f"Host: {address.netloc}",
            f"Authorization: Bearer {token}",
            "Tus-Resumable: 1.0.0",
            "Content-Type: application/offset+octet-stream",
            f"Upload-Offset: {start}",
            f"Content-Length: {len(CONTENT) - start}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + CONTENT[start:end])


def where(live: Live, token: str, path: str) -> int:
    """The offset as HEAD tells it, once no lively writer holds the upload."""
    return int(tus(live, token, "HEAD", path).headers["Upload-Offset"])


@pytest.mark.django_db(transaction=True)
def test_an_upload_goes_on_at_another_host_after_a_cut_and_after_a_kill(tmp_path: Path, settings, monkeypatch, s3_servers):
    server = s3_servers("rclone")
    place = Place(server=server, prefix=tmp_path.name)
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(server.url, location=place.prefix)}
    for name, value in {
        "ARGUS_STORAGE": "s3",
        "ARGUS_S3_BUCKET": BUCKET,
        "ARGUS_S3_ENDPOINT": server.url,
        "ARGUS_S3_ACCESS_KEY": KEY,
        "ARGUS_S3_SECRET_KEY": SECRET,
        "ARGUS_S3_PREFIX": place.prefix,
        "ARGUS_S3_PART_BYTES": str(PART),
    }.items():
        monkeypatch.setenv(name, value)
    token = factories.token(factories.vehicle())
    with ExitStack() as hosts:
        for name in "ab":
            (tmp_path / name).mkdir()
        first = hosts.enter_context(running(tmp_path / "a", workers=False))
        monkeypatch.setenv("ARGUS_FAILPOINT", "finish.published")
        second = hosts.enter_context(running(tmp_path / "b", workers=False))

        answer = tus(first, token, "POST", API, b"{}", **{"Content-Type": "application/json"})
        created = tus(
            first,
            token,
            "POST",
            f"{API}/{answer.json()['id']}/uploads",
            **{"Upload-Length": str(len(CONTENT)), "Upload-Metadata": "filename YQ=="},
        )
        path = urlsplit(created.headers["Location"]).path

        assert patch(first, token, path, 0, 3_000_000).status_code == 204
        assert patch(second, token, path, 3_000_000, 9_000_000).headers["Upload-Offset"] == "9000000"
        assert where(first, token, path) == 9_000_000

        cut(first, token, path, 9_000_000, 12_500_000)
        until = time.monotonic() + 10
        while (offset := where(second, token, path)) < 11_500_000:
            assert time.monotonic() < until, offset

        with pytest.raises(requests.ConnectionError):
            patch(second, token, path, offset, len(CONTENT))
        assert File.objects.count() == 0
        until = time.monotonic() + 15
        while File.objects.count() == 0:
            where(first, token, path)
            sweep_uploads()
            queue.drain()
            assert time.monotonic() < until, first.tail()
        assert where(first, token, path) == len(CONTENT)
    file = File.objects.get()
    assert (file.sha256, file.size, str(file.pk)) == (SHA256, len(CONTENT), path.rpartition("/")[2])
    assert storage.read_bytes(file.storage_key, 1 << 30) == CONTENT
    assert [key for key in place.stored() if not key.endswith(".part")] == [file.storage_key]
    assert Upload.objects.get().state == "finished"
