"""Upload clients that are not ours complete, resume and check their uploads against a running server."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests import factories
from tests.api.clients import NODE, javascript
from tests.flows.live import Live, running
from tests.torture.proxy import End, Fault, Proxy

pytestmark = [pytest.mark.cluster, pytest.mark.django_db(transaction=True)]
MEGABYTE = 1 << 20
CONTENT = os.urandom(5 * MEGABYTE + 12_345)


@pytest.fixture(scope="module")
def server(django_db_setup, tmp_path_factory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("web"), workers=False) as live:
        yield live


@pytest.fixture
def road(server) -> Iterator[Proxy]:
    """What the clients are told is the server."""
    with Proxy(server.url) as proxy:
        yield proxy


class Vehicle:
    """A vehicle with an open batch, and what the server says of it."""

    def __init__(self, live: Live, road: Proxy) -> None:
        self.live, self.road, self.token = live, road, factories.token(factories.vehicle())
        self.headers = {"Authorization": f"Bearer {self.token}"}
        opened = requests.post(f"{live.url}/api/v1/batches", json={}, headers=self.headers, timeout=10)
        assert opened.status_code == 201, opened.text
        self.batch = f"{live.url}/api/v1/batches/{opened.json()['id']}"
        self.client = TusClient(self.here(f"{self.batch}/uploads"), headers=self.headers)

    def here(self, address: str) -> str:
        """The address over the road."""
        return address.replace(self.live.url, self.road.url)

    def state(self) -> dict:
        return requests.get(self.batch, headers=self.headers, timeout=10).json()

    def files(self) -> list[tuple[str, int, str]]:
        """Name, size and digest of each file in the batch."""
        return sorted((file["name"], file["size"], file["sha256"]) for file in self.state()["files"])

    def completes(self) -> bool:
        """Does the server say that it has everything?"""
        return requests.post(f"{self.batch}/complete", headers=self.headers, timeout=10).status_code == 202


@pytest.fixture
def vehicle(server, road) -> Vehicle:
    return Vehicle(server, road)


def entry(name: str, content: bytes = CONTENT) -> tuple[str, int, str]:
    return name, len(content), hashlib.sha256(content).hexdigest()


# -- tuspy -------------------------------------------------------------------------------------------------------------


def test_tuspy_uploads_a_file(vehicle):
    vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), metadata={"filename": "drive.mf4"}, chunk_size=MEGABYTE).upload()
    assert vehicle.files() == [entry("drive.mf4")]
    assert vehicle.completes()


def test_tuspy_uploads_what_was_announced_at_its_address(vehicle):
    declared = {"name": "drive.mf4", "size": len(CONTENT), "sha256": entry("")[2]}
    opened = requests.post(f"{vehicle.live.url}/api/v1/batches", json={"files": [declared]}, headers=vehicle.headers, timeout=10).json()
    (upload,) = opened["uploads"]
    uploader = vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), url=upload["url"], chunk_size=2 * MEGABYTE)
    uploader.upload()
    state = requests.get(f"{vehicle.live.url}/api/v1/batches/{opened['id']}", headers=vehicle.headers, timeout=10).json()
    assert [(file["name"], file["sha256"]) for file in state["files"]] == [("drive.mf4", declared["sha256"])]


@pytest.mark.parametrize("end", [End.RESET, End.CLOSE])
def test_tuspy_resumes_after_a_cut_where_the_server_says(vehicle, road, end):
    road.add(Fault(end, after=1_300_000))
    uploader = vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), metadata={"filename": "drive.mf4"})
    with pytest.raises((TusCommunicationError, requests.RequestException)):
        uploader.upload()
    resumed = vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), url=uploader.url, chunk_size=MEGABYTE)
    assert 1_300_000 - MEGABYTE <= resumed.offset <= 1_300_000
    resumed.upload()
    assert vehicle.files() == [entry("drive.mf4")]
    assert road.sent - len(CONTENT) <= MEGABYTE


def test_tuspy_is_done_when_only_the_last_answer_was_lost(vehicle, road):
    road.add(Fault(End.LOSE_ANSWER))
    uploader = vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), metadata={"filename": "drive.mf4"})
    with pytest.raises((TusCommunicationError, requests.RequestException)):
        uploader.upload()
    resumed = vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), url=uploader.url)
    assert resumed.offset == len(CONTENT)
    assert road.sent == len(CONTENT)
    assert vehicle.files() == [entry("drive.mf4")]


def test_tuspy_uploads_with_checksums(vehicle):
    uploader = vehicle.client.uploader(
        file_stream=io.BytesIO(CONTENT), metadata={"filename": "drive.mf4"}, chunk_size=MEGABYTE, upload_checksum=True
    )
    uploader.upload()
    assert vehicle.files() == [entry("drive.mf4")]


def test_a_checksum_of_tuspy_that_does_not_fit_changes_nothing(vehicle, monkeypatch):
    uploader = vehicle.client.uploader(
        file_stream=io.BytesIO(CONTENT), metadata={"filename": "drive.mf4"}, chunk_size=MEGABYTE, upload_checksum=True
    )
    uploader.upload_chunk()
    with monkeypatch.context() as patched:
        patched.setattr(type(uploader), "checksum_algorithm", staticmethod(lambda piece: hashlib.sha1(b"something else")))
        with pytest.raises(TusCommunicationError) as refused:
            uploader.upload_chunk()
    assert refused.value.status_code == 460
    resumed = vehicle.client.uploader(file_stream=io.BytesIO(CONTENT), url=uploader.url, chunk_size=MEGABYTE)
    assert resumed.offset == MEGABYTE
    resumed.upload()
    assert vehicle.files() == [entry("drive.mf4")]


def test_tuspy_uploads_several_files_at_once(vehicle):
    contents = {f"part {number}.mf4": os.urandom(700_000 + number) for number in range(6)}
    threads = [
        threading.Thread(
            target=vehicle.client.uploader(file_stream=io.BytesIO(content), metadata={"filename": name}, chunk_size=200_000).upload
        )
        for name, content in contents.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert vehicle.files() == sorted(entry(name, content) for name, content in contents.items())
    assert vehicle.completes()


# -- tus-js-client -----------------------------------------------------------------------------------------------------

SCRIPT = """
import fs from 'node:fs'
import { Upload } from 'tus-js-client'
const { ENDPOINT, TOKEN, OPTIONS, FILES } = process.env
const options = JSON.parse(OPTIONS)
const events = []
// Of a stream the client finds the end only by its length: with a deferred one it would wait for ever.
const source = name => options.uploadLengthDeferred ? fs.readFileSync(name) : fs.createReadStream(name)
const send = name => new Promise((resolve, reject) => {
  const upload = new Upload(source(name), {
    endpoint: ENDPOINT, headers: { Authorization: `Bearer ${TOKEN}` }, metadata: { filename: name }, uploadSize: fs.statSync(name).size,
    chunkSize: 1 << 20, retryDelays: [0, 100, 500, 2000, 3000], ...options,
    onShouldRetry: (error, attempt, o) => {
      events.push(error.originalResponse ? error.originalResponse.getStatus() : 'cut')
      return true
    },
    onSuccess: () => resolve(upload.url), onError: reject,
  })
  upload.start()
})
await Promise.all(JSON.parse(FILES).map(send))
console.log(JSON.stringify(events))
"""


class Browser:
    """Runs tus-js-client for a vehicle, in a folder with its files."""

    def __init__(self, vehicle: Vehicle, folder: Path) -> None:
        self.vehicle, self.folder = vehicle, folder

    def upload(self, contents: dict[str, bytes], options: str = "{}") -> str:
        for name, content in contents.items():
            (self.folder / name).write_bytes(content)
        return javascript(
            SCRIPT,
            self.folder,
            ENDPOINT=self.vehicle.here(f"{self.vehicle.batch}/uploads"),
            TOKEN=self.vehicle.token,
            FILES="[" + ",".join(f'"{name}"' for name in contents) + "]",
            OPTIONS=options,
        )


@pytest.fixture
def browser(vehicle, tmp_path) -> Browser:
    folder = tmp_path / "files"
    folder.mkdir()
    return Browser(vehicle, folder)


@NODE
@pytest.mark.parametrize("options", ["{}", '{"uploadDataDuringCreation": true}', '{"overridePatchMethod": true}'])
def test_tus_js_client_uploads_a_file(vehicle, browser, options):
    assert browser.upload({"drive.mf4": CONTENT}, options).strip() == "[]"
    assert vehicle.files() == [entry("drive.mf4")]
    assert vehicle.completes()


@NODE
def test_tus_js_client_uploads_a_file_of_unknown_length(vehicle, browser):
    assert browser.upload({"drive.mf4": CONTENT}, '{"uploadLengthDeferred": true, "uploadSize": null}').strip() == "[]"
    assert vehicle.files() == [entry("drive.mf4")]


@NODE
@pytest.mark.parametrize("end", [End.RESET, End.CLOSE, End.LOSE_ANSWER])
def test_tus_js_client_resumes_after_cuts_by_itself(vehicle, browser, road, end):
    road.add(Fault(), Fault(end, after=500_000), Fault(end, after=10), Fault(), Fault(end, after=MEGABYTE - 1))
    assert "cut" in browser.upload({"drive.mf4": CONTENT})
    assert len(road.happened) == 3
    assert vehicle.files() == [entry("drive.mf4")]
    assert road.sent - len(CONTENT) <= 3 * MEGABYTE


@NODE
def test_tus_js_client_uploads_several_files_at_once(vehicle, browser):
    contents = {f"part {number}.mf4": os.urandom(700_000 + number) for number in range(6)}
    browser.upload(contents)
    assert vehicle.files() == sorted(entry(name, content) for name, content in contents.items())
    assert vehicle.completes()
