"""The web process is killed at each step of the end of an upload: afterwards every file is there once, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from batches.models import Batch
from batches.sweep import sweep_uploads
from files import storage
from files.models import File, Upload, UploadState
from tests import factories, queue
from tests.api.conftest import Caller
from tests.flows.live import Live, running

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).digest()
STEPS = ["finish.verified", "finish.linked", "finish.published", "finish.committed"]


class Sender:
    """A vehicle that sends one file in each way; the server dies under each of them."""

    def __init__(self, live: Live, token: str) -> None:
        self.url, self.headers = f"{live.url}/api/v1", {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}

    def call(self, method: str, path: str, data: bytes = b"", **headers: str) -> requests.Response:
        """One request on a connection of its own, again until there is a server to take it."""
        url = path if path.startswith("http") else self.url + path
        until = time.monotonic() + 30
        while True:
            try:
                return requests.request(method, url, data=data, headers={**self.headers, **headers}, timeout=30)
            except requests.ConnectionError as error:
                if "refused" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def killed(self, method: str, path: str, data: bytes, **headers: str) -> None:
        """A request that the server does not survive."""
        with pytest.raises(requests.ConnectionError):
            self.call(method, path, data, **headers)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS)
def test_a_web_process_killed_while_it_finishes_uploads_loses_and_doubles_nothing(step, tmp_path: Path, monkeypatch):
    token = factories.token(factories.vehicle())
    with monkeypatch.context() as patch:
        patch.setenv("ARGUS_FAILPOINT", step)
        with running(tmp_path, workers=False) as live:
            sender = Sender(live, token)
            batch_id = sender.call("POST", "/batches", b"{}", **{"Content-Type": "application/json"}).json()["id"]
            by_tus = begin(sender, batch_id)
            patch_headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "1000000"}
            sender.killed("PATCH", by_tus, CONTENT[1_000_000:], **patch_headers)
            sender.killed("PUT", f"/batches/{batch_id}/files/by-put", CONTENT, **{"Repr-Digest": digest()})
            sender.killed("POST", f"/batches/{batch_id}/files", form(), **{"Content-Type": "multipart/form-data; boundary=b"})
    before = {upload.name: upload.state for upload in Upload.objects.all()}
    assert set(before.values()) == {UploadState.FINISHED if step == "finish.committed" else UploadState.OPEN}

    wait_for_leases()
    sweep_uploads()
    queue.drain(times=2)

    batch = Batch.objects.get()
    files = {file.name: file for file in File.objects.filter(batch=batch)}
    assert set(files) == {"by-tus", "by-put"} | ({"by-form"} if step == "finish.committed" else set())
    assert (batch.total_files, batch.total_bytes) == (len(files), len(files) * len(CONTENT))
    for file in files.values():
        assert file.sha256 == SHA256.hex()
        assert storage.read_bytes(file.storage_key, 1 << 30) == CONTENT
    assert objects() == sorted(file.storage_key for file in files.values())
    said_again(Caller(token), str(batch.pk), by_tus)


def said_again(car: Caller, batch_id: str, by_tus: str) -> None:
    """The vehicle, which got no answer, asks and says it again."""
    count = File.objects.count()
    told = car.head(urlsplit(by_tus).path, headers={"Tus-Resumable": "1.0.0"})
    assert (told.status_code, told["Upload-Offset"]) == (200, str(len(CONTENT)))
    again = car.send(batch_id, "by-put", CONTENT, **{"Repr-Digest": digest()})
    assert (again.status_code, again.json()["sha256"]) == (200, SHA256.hex())
    assert car.complete(batch_id).status_code == 202
    assert File.objects.count() == count


def begin(sender: Sender, batch_id: str) -> str:
    """A tus upload whose first million bytes are there; its address."""
    metadata = ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in {"filename": "by-tus", "sha256": SHA256.hex()}.items()
    )
    headers = {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": metadata, "Content-Type": "application/offset+octet-stream"}
    answer = sender.call("POST", f"/batches/{batch_id}/uploads", CONTENT[:1_000_000], **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def digest() -> str:
    return f"sha-256=:{base64.b64encode(SHA256).decode()}:"


def form() -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="file"; filename="by-form"\r\n\r\n' + CONTENT + b"\r\n--b--\r\n"


def objects() -> list[str]:
    root = Path(storage.storages["default"].location)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def wait_for_leases() -> None:
    """Until the leases of the killed writers are over."""
    until = time.monotonic() + 10
    while Upload.objects.filter(lease_until__gt="1971-01-01T00:00Z", state=UploadState.OPEN).exists():
        latest = Upload.objects.order_by("-lease_until").first()
        if latest and latest.lease_until.timestamp() < time.time():
            return
        assert time.monotonic() < until
        time.sleep(0.05)
