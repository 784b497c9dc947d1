"""Files straight to the store: real parts to signed addresses on two real servers, cut, lost, wrong, and verified before they are files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.db.models.functions import Now
from django.utils import timezone

from batches.models import Batch
from batches.sweep import sweep
from files import direct, storage
from files.models import File, Upload, UploadState
from tests import queue
from tests.api.conftest import API, Caller, check_shape, refused
from tests.files.stores import BUCKET, SERVERS, Place, Road, bad_road, lost, never, s3_storage, says

pytestmark = pytest.mark.django_db
PART = 5 << 20  # the least that S3 takes; the API asks for more, because each part costs a vehicle a request
CONTENT = os.urandom(2 * PART + 1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Store:
    """Where the test's objects lie, and the road to it."""

    place: Place
    road: Road

    def parts(self, upload: dict[str, Any]) -> list[int]:
        """Numbers of the parts that are there."""
        return [part["number"] for part in upload["parts"] if part["etag"]]


@pytest.fixture(params=SERVERS)
def store(request, s3_servers, settings, tmp_path: Path, monkeypatch) -> Iterator[Store]:
    """An S3 server, and parts that are small enough for a test."""
    server = s3_servers(request.param)
    prefix = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    monkeypatch.setattr(direct, "SMALLEST_PART", PART)
    settings.DATA_DIR = tmp_path
    settings.ARGUS_DISK_RESERVE_BYTES = 0
    with bad_road(server) as road:
        settings.STORAGES = {**settings.STORAGES, "default": s3_storage(road.url, location=prefix)}
        settings.ARGUS_S3_PUBLIC_ENDPOINT = server.url
        yield Store(Place(server=server, prefix=prefix), road)


def begin(car: Caller, batch_id: str, content: bytes = CONTENT, **fields: Any) -> Any:
    """Ask for addresses."""
    body = {"name": "drive.blf", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **fields}
    return car.post(f"{API}/{batch_id}/uploads/direct", body, content_type="application/json")


def begun(car: Caller, batch_id: str, content: bytes = CONTENT, **fields: Any) -> dict[str, Any]:
    """What the answer says."""
    answer = begin(car, batch_id, content, **fields)
    assert answer.status_code in (200, 201), answer.content
    check_shape("DirectUpload", answer.json())
    return answer.json()


def parts(car: Caller, upload_id: str) -> dict[str, Any]:
    """What is there, and new addresses."""
    answer = car.get(f"/api/v1/uploads/{upload_id}/parts")
    assert answer.status_code == 200, answer.content
    check_shape("DirectUpload", answer.json())
    return answer.json()


def complete(car: Caller, upload_id: str, sent: list[dict[str, Any]] | None = None) -> Any:
    """Say that all parts have been sent."""
    return car.post(f"/api/v1/uploads/{upload_id}/complete", {} if sent is None else {"parts": sent}, content_type="application/json")


def put(upload: dict[str, Any], *numbers: int, content: bytes = CONTENT) -> list[dict[str, Any]]:
    """Send parts to their addresses, as a vehicle does; what the store answers."""
    sent = []
    for part in upload["parts"]:
        if part["number"] in numbers or not numbers:
            start = (part["number"] - 1) * upload["part_size"]
            answer = requests.put(part["url"], data=content[start : start + part["size"]], timeout=30)
            assert answer.status_code == 200, answer.text
            sent.append({"number": part["number"], "etag": answer.headers["ETag"]})
    return sent


def in_batch(car: Caller, batch_id: str) -> tuple[list[Any], list[Any]]:
    """Files and uploads as the batch lists them."""
    batch = car.get(f"{API}/{batch_id}").json()
    return batch["files"], batch["uploads"]


# -- as it should be ---------------------------------------------------------------------------------------------------


def test_parts_sent_to_their_addresses_become_a_file(store, car):
    batch_id = car.open()
    answer = begin(car, batch_id, kind="log")
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    upload = answer.json()
    assert [(part["number"], part["size"], part["etag"]) for part in upload["parts"]] == [(1, PART, None), (2, PART, None), (3, 1000, None)]
    sent = put(upload)
    answer = complete(car, upload["id"], sent)
    assert (answer.status_code, answer.json()["state"]) == (202, "verifying")
    check_shape("DirectUpload", answer.json())
    files, uploads = in_batch(car, batch_id)
    assert (files, [entry["state"] for entry in uploads]) == ([], ["verifying"])
    assert queue.waiting() == [("verify", upload["id"])]
    queue.drain(times=2)
    files, uploads = in_batch(car, batch_id)
    assert uploads == []
    assert [(file["id"], file["name"], file["kind"], file["size"], file["sha256"]) for file in files] == [
        (upload["id"], "drive.blf", "log", len(CONTENT), SHA256)
    ]
    file = File.objects.get(pk=upload["id"])
    assert storage.read_bytes(file.storage_key, len(CONTENT)) == CONTENT
    assert store.place.stored() == [file.storage_key]
    assert car.complete(batch_id).status_code == 202


def test_everything_may_be_said_again(store, car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    assert begin(car, batch_id).status_code == 200
    put(upload)
    for _ in range(2):
        assert complete(car, upload["id"]).json()["state"] == "verifying"
        assert parts(car, upload["id"])["parts"] == []
        again = begun(car, batch_id)
        assert (again["id"], again["state"], again["parts"]) == (upload["id"], "verifying", [])
    queue.drain()
    for _ in range(2):
        assert complete(car, upload["id"]).json()["state"] == "finished"
        again = begun(car, batch_id)
        assert (again["id"], again["state"], again["parts"]) == (upload["id"], "finished", [])
    assert File.objects.count() == Upload.objects.count() == 1


def test_a_vehicle_that_lost_its_memory_sends_only_what_is_missing(store, car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    put(upload, 2)
    for again in (parts(car, upload["id"]), begun(car, batch_id)):
        assert again["id"] == upload["id"]
        assert store.parts(again) == [2]
        assert [part["number"] for part in again["parts"] if part["url"]] == [1, 3]
    put(again, 1, 3)
    assert complete(car, upload["id"]).status_code == 202
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_a_file_that_was_announced_with_the_batch_keeps_its_id(store, car):
    announced = [{"name": "drive.blf", "size": len(CONTENT), "sha256": SHA256}]
    batch_id = car.open(files=announced)
    (_, (expected,)) = in_batch(car, batch_id)
    upload = begun(car, batch_id)
    assert upload["id"] == expected["id"]
    put(upload)
    complete(car, upload["id"])
    refused(car.complete(batch_id), 409, "files_pending")
    queue.drain()
    assert car.complete(batch_id).status_code == 202


def test_addresses_name_the_public_host_and_are_signed_for_one_length(store, car, settings):
    settings.ARGUS_S3_PUBLIC_ENDPOINT = "https://store.example.org"
    settings.ARGUS_S3_URL_SECONDS = 600
    upload = begun(car, car.open())
    address = urlsplit(upload["parts"][0]["url"])
    query = parse_qs(address.query)
    assert (address.scheme, address.netloc) == ("https", "store.example.org")
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["600"]
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    left = datetime.fromisoformat(upload["expires_at"]) - timezone.now()
    assert 590 < left.total_seconds() <= 600


@pytest.mark.parametrize(
    ("size", "wish", "part"),
    [
        (1, None, 16 << 20),
        (10 * 10**9, None, 16 << 20),
        (10**9, 64 << 20, 64 << 20),
        (100 * 10**9, 16 << 20, 96 << 20),
        (5 * 2**40, None, 5243 << 20),
    ],
)
def test_the_size_of_parts_grows_where_there_would_be_more_than_a_thousand(size, wish, part):
    assert direct.part_bytes(size, wish) == part
    assert -(-size // part) <= 1000


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_without_a_store_of_its_own_the_file_comes_by_argus(car):
    batch_id = car.open()
    refused(begin(car, batch_id), 409, "no_direct")
    assert Upload.objects.count() == 0
    car.post(
        f"{API}/{batch_id}/uploads",
        headers={"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": "filename YQ=="},
        content_type="application/offset+octet-stream",
    )
    upload = Upload.objects.get()
    refused(car.get(f"/api/v1/uploads/{upload.pk}/parts"), 409, "no_direct")
    refused(complete(car, upload.pk), 409, "no_direct")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"name": "../x"}, 422, "bad_filename"),
        ({"size": 0}, 422, "empty_file"),
        ({"size": 10**12}, 413, "file_too_large"),
        ({"size": -1}, 422, "invalid_field"),
        ({"sha256": "abc"}, 422, "invalid_field"),
        ({"part_size": 1000}, 422, "invalid_field"),
        ({"part_size": 1 << 30}, 422, "invalid_field"),
        ({"kind": "a b"}, 422, "invalid_field"),
        ({"way": "tus"}, 400, "unknown_field"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_made(car, s3_servers, settings, fields, status, code):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage("http://127.0.0.1:9")}
    refused(begin(car, car.open(), **fields), status, code)
    assert Upload.objects.count() == 0


def test_another_vehicle_sees_nothing_of_it(store, car, other_car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    refused(begin(other_car, batch_id), 404, "not_found")
    refused(other_car.get(f"/api/v1/uploads/{upload['id']}/parts"), 404, "not_found")
    refused(complete(other_car, upload["id"]), 404, "not_found")


def test_missing_and_wrong_parts_are_named(store, car):
    upload = begun(car, car.open())
    sent = put(upload, 1)
    problem = refused(
        complete(car, upload["id"], [{**sent[0], "etag": '"' + "0" * 32 + '"'}, {"number": 9, "etag": "x"}]), 409, "parts_missing"
    )
    assert (problem["missing"], problem["wrong"], problem["unknown"]) == ([2, 3], [1], [9])
    sent += put(upload, 2, 3)
    assert complete(car, upload["id"], sent).status_code == 202


def test_a_part_of_another_length_is_not_taken(store, car):
    upload = begun(car, car.open())
    answer = requests.put(upload["parts"][2]["url"], data=b"too much" * 200, timeout=30)
    if store.place.name == "rclone":
        assert answer.status_code == 403
        put(upload)
        assert complete(car, upload["id"]).status_code == 202
        return
    put(upload, 1, 2)  # moto_server checks no signature: the length is then seen in the list
    assert refused(complete(car, upload["id"]), 409, "parts_missing")["wrong"] == [3]
    again = parts(car, upload["id"])
    assert store.parts(again) == [1, 2]
    put(again, 3)
    assert complete(car, upload["id"]).status_code == 202
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_an_address_that_has_expired_is_refused_by_the_store(store, car, settings):
    if store.place.name == "moto":
        pytest.skip("moto_server checks no signatures")
    settings.ARGUS_S3_URL_SECONDS = 1
    upload = begun(car, car.open())
    until = datetime.fromisoformat(upload["expires_at"])
    while timezone.now() < until:
        pass
    statuses = set()
    for _ in range(30):
        answer = requests.put(upload["parts"][2]["url"], data=CONTENT[-1000:], timeout=30)
        statuses.add(answer.status_code)
        if answer.status_code in (400, 403):
            break
    assert answer.status_code in (400, 403)
    settings.ARGUS_S3_URL_SECONDS = 60
    put(parts(car, upload["id"]))
    assert complete(car, upload["id"]).status_code == 202


def test_wrong_bytes_make_no_file_and_the_same_upload_takes_the_right_ones(store, car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    put(upload, content=os.urandom(len(CONTENT)))
    assert complete(car, upload["id"]).status_code == 202
    queue.drain()
    files, (entry,) = in_batch(car, batch_id)
    assert (files, entry["state"], entry["error"], entry["offset"]) == ([], "open", "digest_mismatch", 0)
    assert store.place.stored() == []
    refused(car.get(f"/api/v1/uploads/{upload['id']}/parts"), 409, "upload_lost")
    again = begun(car, batch_id)
    assert (again["id"], again["error"]) == (upload["id"], "digest_mismatch")
    put(again)
    complete(car, upload["id"])
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_an_upload_that_the_store_has_ended_begins_again(store, car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    put(upload, 1)
    row = Upload.objects.get()
    store.place.server.client.abort_multipart_upload(Bucket=BUCKET, Key=f"{store.place.prefix}/{row.storage_key}", UploadId=row.remote_id)
    refused(car.get(f"/api/v1/uploads/{upload['id']}/parts"), 409, "upload_lost")
    refused(complete(car, upload["id"]), 409, "upload_lost")
    again = begun(car, batch_id)
    assert (again["id"], store.parts(again)) == (upload["id"], [])
    put(again)
    complete(car, upload["id"])
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_another_content_under_the_name_is_another_upload(store, car):
    batch_id = car.open()
    first = begun(car, batch_id)
    other = begun(car, batch_id, content=CONTENT[:-1])
    assert first["id"] != other["id"]


@pytest.mark.parametrize("what", [r"POST .*\?uploads$", r"GET .*uploadId="], ids=["begin", "list"])
@pytest.mark.parametrize("fault", [says(503, "SlowDown"), never, lost], ids=["503", "never", "lost"])
def test_a_store_that_fails_is_asked_again_later(store, car, what, fault):
    batch_id = car.open()
    store.road.break_next(what, fault)
    refused(begin(car, batch_id), 503, "storage_unavailable")
    upload = begun(car, batch_id)
    assert Upload.objects.count() == 1
    store.road.break_next(what, fault)
    if "GET" in what:
        refused(car.get(f"/api/v1/uploads/{upload['id']}/parts"), 503, "storage_unavailable")
        put(upload)
        store.road.break_next(what, fault)
        refused(complete(car, upload["id"]), 503, "storage_unavailable")
        assert complete(car, upload["id"]).status_code == 202


@pytest.mark.parametrize("fault", [says(200), says(503), never, lost], ids=["200 with an error", "503", "never", "lost"])
def test_a_store_that_fails_when_the_parts_are_joined_costs_nothing(store, car, fault):
    upload = begun(car, car.open())
    put(upload)
    complete(car, upload["id"])
    store.road.break_next(r"POST .*\?uploadId=", fault)
    queue.drain()
    if fault is not lost:
        assert Upload.objects.get().state == UploadState.VERIFYING
    sweep()
    queue.drain()
    assert File.objects.get().sha256 == SHA256
    assert len(store.place.stored()) == 1


def test_a_lost_doorbell_is_rung_by_the_sweep(store, car):
    upload = begun(car, car.open())
    put(upload)
    complete(car, upload["id"])
    queue.OrmQ.objects.all().delete()
    sweep()
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_a_store_that_is_away_while_the_task_opens_the_upload_is_asked_again(store, car):
    upload = begun(car, car.open())
    put(upload)
    complete(car, upload["id"])
    store.road.break_next(r"GET .*uploadId=", says(503))
    queue.drain()
    assert Upload.objects.get().state == UploadState.VERIFYING
    sweep()
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_parts_replaced_after_they_were_counted_are_asked_for_again(store, car):
    if store.place.name == "rclone":
        pytest.skip("rclone serve s3 replaces no parts")
    batch_id = car.open()
    upload = begun(car, batch_id)
    put(upload)
    complete(car, upload["id"])
    requests.put(upload["parts"][2]["url"], data=b"short", timeout=30)
    queue.drain()
    row = Upload.objects.get()
    assert (row.state, File.objects.count()) == (UploadState.OPEN, 0)
    put(parts(car, upload["id"]), 3)
    complete(car, upload["id"])
    queue.drain()
    assert File.objects.get().sha256 == SHA256


def test_a_batch_that_is_closed_takes_no_more(store, car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    put(upload)
    Batch.objects.filter(pk=batch_id).update(state="abandoned")
    refused(complete(car, upload["id"]), 409, "batch_closed")
    refused(begin(car, batch_id), 409, "batch_closed")


# -- other ways --------------------------------------------------------------------------------------------------------


def tus(car: Caller, upload_id: str, content: bytes, offset: int) -> Any:
    """PATCH."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset)}
    return car.patch(f"/api/v1/uploads/{upload_id}", content, content_type="application/offset+octet-stream", headers=headers)


def test_an_upload_can_change_its_way_and_begins_anew(store, car):
    batch_id = car.open()
    upload = begun(car, batch_id)
    put(upload, 1)
    assert tus(car, upload["id"], CONTENT[PART:], PART).status_code == 409
    assert tus(car, upload["id"], CONTENT[:1000], 0)["Upload-Offset"] == "1000"
    refused(car.get(f"/api/v1/uploads/{upload['id']}/parts"), 409, "wrong_state")
    again = begun(car, batch_id)
    assert (again["id"], store.parts(again)) == (upload["id"], [])
    put(again)
    complete(car, upload["id"])
    queue.drain()
    assert File.objects.get().sha256 == SHA256
    assert len(store.place.stored()) == 1


def test_tus_goes_through_argus_to_the_store(store, car):
    car.open(files=[{"name": "drive.blf", "size": len(CONTENT), "sha256": SHA256}])
    upload_id = str(Upload.objects.get().pk)
    at = 0
    for end in (100, PART + 5, len(CONTENT)):
        answer = tus(car, upload_id, CONTENT[at:end], at)
        assert (answer.status_code, answer["Upload-Offset"]) == (204, str(end)), answer.content
        at = end
    assert File.objects.get().sha256 == SHA256
    assert store.place.stored() == [File.objects.get().storage_key]


def test_an_upload_that_has_ended_has_no_addresses(store, car):
    upload = begun(car, car.open())
    put(upload, 1)
    assert car.delete(f"/api/v1/uploads/{upload['id']}", headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert store.place.stored() == []
    refused(car.get(f"/api/v1/uploads/{upload['id']}/parts"), 410, "upload_expired")
    refused(complete(car, upload["id"]), 410, "upload_expired")


def test_an_idle_upload_expires_with_its_parts(store, car):
    upload = begun(car, car.open())
    put(upload, 1)
    Upload.objects.update(touched_at=Now() - timezone.timedelta(days=8))
    sweep()
    assert store.place.stored() == []
    refused(car.get(f"/api/v1/uploads/{upload['id']}/parts"), 410, "upload_expired")
