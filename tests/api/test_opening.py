"""Batches opened with the list of their files, and under ids of the vehicle's own making."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from batches.models import Batch
from events.models import Event, EventType
from files.models import Upload, UploadState
from tests.api.conftest import API, check_shape, refused

pytestmark = pytest.mark.django_db
FILES = [
    {"name": "small.log", "size": 10, "priority": 9, "kind": "log"},
    {"name": "drive.blf", "size": 2**33, "sha256": "AB" * 32},
    {"name": "Ka\u0308lte.mf4", "size": 7},
]


def put(car, batch_id, body):
    return car.put(f"{API}/{batch_id}", body, content_type="application/json")


def post(car, body):
    return car.post(API, body, content_type="application/json")


# -- the list of files -------------------------------------------------------------------------------------------------


def test_each_announced_file_is_an_upload_with_an_address_the_urgent_first(car):
    answer = post(car, {"reason": "x", "files": FILES})
    assert answer.status_code == 201, answer.content
    body = answer.json()
    check_shape("BatchWithFiles", body)
    assert [row["name"] for row in body["uploads"]] == ["small.log", "drive.blf", "K\u00e4lte.mf4"]
    first, second, _ = body["uploads"]
    assert first == {
        "id": first["id"], "name": "small.log", "kind": "log", "priority": 9, "size": 10, "sha256": None, "offset": 0, "state": "open",
        "error": None, "url": f"http://testserver/api/v1/uploads/{first['id']}",
    }  # fmt: skip
    assert (second["sha256"], second["kind"], second["priority"]) == ("ab" * 32, "", 0)
    assert car.get(f"{API}/{body['id']}").json()["uploads"] == body["uploads"]
    for row in Upload.objects.all():
        assert (row.declared, row.state, row.storage_key) == (True, UploadState.OPEN, f"raw/{body['id']}/{row.pk}")
    assert (body["files"], body["total_files"]) == ([], 0)


def test_two_files_may_have_one_name(car):
    body = post(car, {"files": [{"name": "a", "size": 1}, {"name": "a", "size": 1}]}).json()
    assert len({row["id"] for row in body["uploads"]}) == 2


def test_an_empty_list_announces_nothing(car):
    assert post(car, {"files": []}).json()["uploads"] == []


def test_uploads_that_have_ended_are_not_on_their_way(car):
    body = post(car, {"files": FILES}).json()
    ids = [row["id"] for row in body["uploads"]]
    Upload.objects.filter(pk=ids[0]).update(state=UploadState.FINISHED)
    Upload.objects.filter(pk=ids[1]).update(state=UploadState.VERIFYING, offset=2**33)
    rows = car.get(f"{API}/{body['id']}").json()["uploads"]
    assert [(row["id"], row["state"], row["offset"]) for row in rows] == [(ids[1], "verifying", 2**33), (ids[2], "open", 0)]
    Upload.objects.filter(pk=ids[2]).update(state=UploadState.EXPIRED)
    Upload.objects.filter(pk=ids[1]).update(state=UploadState.FAILED)
    assert car.get(f"{API}/{body['id']}").json()["uploads"] == []


@pytest.mark.parametrize(
    ("change", "told"), [({"offset": 5}, 5), ({"error_code": "digest_mismatch"}, 0), ({"state": UploadState.VERIFYING}, 0)]
)
def test_what_happens_to_an_upload_changes_the_etag(car, change, told):
    body = post(car, {"files": FILES}).json()
    address = f"{API}/{body['id']}"
    etag = car.get(address)["ETag"]
    assert car.get(address, headers={"If-None-Match": etag}).status_code == 304
    Upload.objects.filter(name="small.log").update(**change)
    answer = car.get(address, headers={"If-None-Match": etag})
    assert answer.status_code == 200
    check_shape("BatchWithFiles", answer.json())
    assert answer.json()["uploads"][0]["offset"] == told


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        ({"name": "x"}, 422, "invalid_field"),
        ({"name": "x", "size": -1}, 422, "invalid_field"),
        ({"name": "../x", "size": 1}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "sha256": "0"}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "kind": "a b"}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "kind": 7}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "priority": -1}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "priority": 32768}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "priority": True}, 422, "invalid_field"),
        ({"name": "x", "size": 1, "priority": "9"}, 422, "invalid_field"),
        ({"name": "x", "size": 0}, 422, "empty_file"),
        ({"name": "x", "size": 10**10 + 1}, 413, "file_too_large"),
        ({"name": "x", "size": 1, "offset": 1}, 400, "unknown_field"),
    ],
)
@pytest.mark.parametrize("own_id", [True, False])
def test_a_list_that_cannot_be_sent_opens_nothing(car, file, status, code, own_id):
    body = {"files": [{"name": "good", "size": 1}, file]}
    refused(put(car, uuid.uuid4(), body) if own_id else post(car, body), status, code)
    assert not Batch.objects.exists()
    assert not Upload.objects.exists()


def test_more_files_than_a_batch_may_have_are_refused(car, settings):
    settings.ARGUS_MAX_FILES_PER_BATCH = 2
    refused(post(car, {"files": FILES}), 422, "batch_full")
    assert not Batch.objects.exists()


def test_fifty_thousand_files_are_announced_and_listed_in_a_second_or_two(car, django_assert_max_num_queries):
    files = [{"name": f"{n:05}.blf", "size": n + 1, "sha256": f"{n:064x}", "priority": n % 7} for n in range(50_000)]
    body = json.dumps({"files": files})
    begun = time.process_time()
    with django_assert_max_num_queries(20):
        answer = car.post(API, body, content_type="application/json")
    opened = time.process_time() - begun
    assert answer.status_code == 201
    address = f"{API}/{answer.json()['id']}"
    begun = time.process_time()
    with django_assert_max_num_queries(5):
        listed = car.get(address)
    seconds = time.process_time() - begun
    assert [row["name"] for row in listed.json()["uploads"][:2]] == ["00006.blf", "00013.blf"]
    assert len(listed.json()["uploads"]) == 50_000
    assert car.get(address, headers={"If-None-Match": listed["ETag"]}).status_code == 304
    assert opened < 4
    assert seconds < 2


# -- the vehicle's own id ----------------------------------------------------------------------------------------------


def uuid7() -> uuid.UUID:
    return uuid.UUID(int=time.time_ns() // 10**6 << 80 | 7 << 76 | 2 << 62 | uuid.uuid4().int & (1 << 62) - 1)


@pytest.mark.parametrize("make", [uuid.uuid4, uuid7])
def test_an_id_of_the_vehicles_own_is_201_then_200(car, vehicle, make):
    batch_id = make()
    first = put(car, batch_id, {"reason": "x", "files": FILES})
    assert (first.status_code, first["Location"]) == (201, f"http://testserver{API}/{batch_id}")
    check_shape("BatchWithFiles", first.json())
    car.send(batch_id, name="other.log")
    again = put(car, batch_id, {"files": FILES, "reason": "x"})
    assert (again.status_code, again["Location"]) == (200, first["Location"])
    assert again.json()["total_files"] == 1
    assert len(again.json()["uploads"]) == 3
    assert (Batch.objects.get().pk, Upload.objects.filter(declared=True).count()) == (batch_id, 3)
    assert Event.objects.filter(type=EventType.BATCH_OPENED).count() == 1


def test_what_was_opened_without_an_own_id_may_be_put_again(car):
    batch_id = car.open(reason="x")
    assert put(car, batch_id, {"reason": "x"}).status_code == 200


@pytest.mark.parametrize("other", [{}, {"reason": "y"}, {"reason": "x", "files": []}, {"reason": "x", "expected_workers": 1}])
def test_the_same_id_with_other_content_is_refused(car, other):
    batch_id = uuid.uuid4()
    put(car, batch_id, {"reason": "x"})
    refused(put(car, batch_id, other), 409, "batch_exists")
    assert Batch.objects.get().reason == "x"


def test_another_vehicles_id_is_answered_like_a_missing_one(car, other_car, vehicle):
    batch_id = uuid.uuid4()
    put(other_car, batch_id, {})
    mine, missing = put(car, batch_id, {}), car.get(f"{API}/{uuid.uuid4()}")
    refused(mine, 404, "not_found")
    assert {**mine.json(), "request_id": 0} == {**missing.json(), "request_id": 0}
    assert not Batch.objects.filter(vehicle=vehicle).exists()


@pytest.mark.parametrize(
    "batch_id",
    [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid1(), uuid.uuid5(uuid.NAMESPACE_DNS, "x"), uuid.UUID(int=4 << 76)],
)  # fmt: skip
def test_an_id_that_is_not_random_is_refused(car, batch_id):
    refused(put(car, batch_id, {}), 422, "invalid_field")
    assert not Batch.objects.exists()


def test_the_id_of_a_deleted_batch_is_not_used_again(car, other_car, integration):
    batch_id = uuid.uuid4()
    put(car, batch_id, {})
    assert integration.delete(f"{API}/{batch_id}").status_code == 204
    refused(put(car, batch_id, {}), 410, "batch_deleted")
    refused(put(other_car, batch_id, {}), 404, "not_found")
    assert not Batch.objects.exists()
    assert integration.delete(f"{API}/{batch_id}").status_code == 204


def test_an_integration_opens_nothing(integration):
    refused(put(integration, uuid.uuid4(), {}), 403, "permission_denied")
