"""Opening, reading, completing and deleting batches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from batches.models import Batch, BatchState
from diagnosis.models import Finding
from events.models import Event, EventType
from files import storage
from files.models import File, FileState, Upload
from tests import factories
from tests.api.conftest import API, Caller, check_shape, count, objects, refused

pytestmark = pytest.mark.django_db
FULL = {
    "recorded_from": "2026-11-01T10:00:00Z",
    "recorded_to": "2026-11-01T11:00:00+01:00",
    "clock": {"source": "gps", "offset_ms": -1.5, "synced": True},
    "software": {"logger": "1.2.3", "ECU Kälte": "é"},
    "reason": "engine warning",
    "expected_workers": 4,
}


def post(car: Client, body, path: str = API, **options):
    return car.post(path, body, content_type="application/json", **options)


# -- open --------------------------------------------------------------------------------------------------------------


def test_a_batch_is_opened_for_the_vehicle_of_the_token(car, vehicle):
    answer = post(car, {})
    assert answer.status_code == 201
    body = answer.json()
    check_shape("BatchWithFiles", body)
    assert body["vehicle"] == {"id": str(vehicle.pk), "name": vehicle.name}
    assert (body["status"], body["vin"], body["files"], body["percent"]) == ("pending", vehicle.vin, [], 0)
    assert answer["Location"] == f"http://testserver{API}/{body['id']}"
    event = Event.objects.get(batch=body["id"])
    assert (event.type, event.actor) == (EventType.BATCH_OPENED, f"vehicle:{vehicle.pk}")


def test_what_the_vehicle_says_is_kept(car):
    full = {**FULL, "recorded_to": "2026-11-01T12:00:00+01:00"}
    body = post(car, full).json()
    check_shape("BatchWithFiles", body)
    assert {name: body[name] for name in ("clock", "software", "reason", "expected_workers")} == {
        name: full[name] for name in ("clock", "software", "reason", "expected_workers")
    }
    assert (body["recorded_from"], body["recorded_to"]) == ("2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z")


@pytest.mark.parametrize(
    "field",
    ["vehicle", "vehicle_id", "vin", "id", "state", "status", "is_staff", "total_files", "processed_files", "fence", "created_at",
     "completed_at", "manifest", "worst_severity", "Reason", "reason ", "__proto__", "", "clock.source"],
)  # fmt: skip
def test_a_field_that_is_not_the_vehicles_is_refused(car, field):
    body = refused(post(car, {**FULL, "recorded_to": None, field: "x"}), 400, "unknown_field")
    assert field in body["fields"]
    assert not Batch.objects.exists()


def test_a_nested_unknown_field_is_refused_with_its_path(car):
    assert "clock.sauce" in refused(post(car, {"clock": {"sauce": "gps"}}), 400, "unknown_field")["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"recorded_from": "yesterday"},
        {"recorded_from": "2026-11-02T00:00:00Z", "recorded_to": "2026-11-01T00:00:00Z"},
        {"recorded_from": None},
        {"clock": "gps"},
        {"clock": {"synced": "perhaps"}},
        {"clock": {"offset_ms": 1e300}},
        {"software": ["1.2"]},
        {"software": {"a": {"b": "c"}}},
        {"software": {"a": None}},
        {"software": {"a\0b": "1"}},
        {"software": {"a": "1\0"}},
        {"software": {"x" * 65: "1"}},
        {"software": {"a": "x" * 201}},
        {"software": {str(n): "1" for n in range(101)}},
        {"reason": "x" * 201},
        {"reason": "a\0b"},
        {"reason": ["x"]},
        {"expected_workers": 0},
        {"expected_workers": -1},
        {"expected_workers": 2**40},
        {"expected_workers": "many"},
        [],
        "text",
        7,
    ],
)
def test_a_value_that_is_not_allowed_is_refused(car, wrong):
    refused(post(car, json.dumps(wrong)), 422, "invalid_field")
    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    "body",
    ['{"reason": "\\ud800"}', '{"software": {"a": "\\ud800"}}', '{"software": {"\\udfff": "1"}}', '{"clock": {"source": "\\ud800"}}'],
)
def test_half_a_character_is_refused(car, body):
    refused(post(car, body), 422, "invalid_field")


@pytest.mark.parametrize("body", ['{"\\ud800": 1}', '{"clock": {"a\\udfff": 1}}'])
def test_half_a_character_in_the_name_of_a_field_is_answered_escaped(car, body):
    assert "\\ud" in refused(post(car, body), 400, "unknown_field")["detail"]


@pytest.mark.parametrize("body", ["{", "\xff", "NaN", '{"clock": {"offset_ms": Infinity}}', "[" * 100_000, "1" * 5000])
def test_what_is_no_json_is_refused(car, body):
    refused(post(car, body.encode("latin-1")), 400, "malformed_body")


def test_json_has_a_limit(car, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    refused(post(car, {"reason": "x" * 100}), 413, "body_too_large")


def test_json_without_a_length_is_refused_and_not_taken_for_nothing(car):
    refused(car.generic("POST", API, b"", content_type="application/json", HTTP_TRANSFER_ENCODING="chunked"), 411, "length_required")
    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"]
)
def test_another_media_type_is_refused(car, content_type):
    refused(car.post(API, b"reason=x", content_type=content_type), 415, "unsupported_media_type")


def test_a_database_that_is_away_is_503_and_nothing_is_opened(car, monkeypatch):
    def fail(*args, **options):
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("batches.opening.record", fail)
        answer = post(car, {})
    assert refused(answer, 503, "database_unavailable")["retryable"] is True
    assert answer["Retry-After"]
    assert not Batch.objects.exists()
    assert post(car, {}).status_code == 201


# -- read --------------------------------------------------------------------------------------------------------------


def test_a_batch_shows_its_files_and_their_errors(car):
    batch_id = car.open()
    car.send(batch_id, name="good.blf")
    bad = car.send(batch_id, name="bad.blf").json()["id"]
    File.objects.filter(pk=bad).update(
        state=FileState.FAILED,
        error_class="input",
        error_code="truncated",
        error="cut at byte 5",
        error_offset=5,
        format="blf",
        partial=True,
    )
    body = car.get(f"{API}/{batch_id}").json()
    check_shape("BatchWithFiles", body)
    good, failed = body["files"]
    assert (good["name"], good["error"], good["format"], good["partial"]) == ("good.blf", None, None, False)
    assert failed["error"] == {"code": "truncated", "detail": "cut at byte 5", "offset": 5}
    assert (failed["state"], failed["format"], failed["partial"]) == ("failed", "blf", True)


def test_a_failed_batch_says_why(car, vehicle):
    batch = factories.batch(
        vehicle, state=BatchState.FAILED, failed_stage="gathering", error_code="merge", error="It broke.", completed_at=timezone.now()
    )
    body = car.get(f"{API}/{batch.pk}").json()
    check_shape("BatchWithFiles", body)
    assert (body["failed_stage"], body["error"]) == ("gathering", {"code": "merge", "detail": "It broke."})


def test_superseded_files_are_not_shown(car):
    batch_id = car.open()
    old, new = (car.send(batch_id, name=name).json()["id"] for name in ("old", "new"))
    File.objects.filter(pk=old).update(superseded_by=new)
    assert [file["id"] for file in car.get(f"{API}/{batch_id}").json()["files"]] == [new]


def test_an_unchanged_batch_is_304_and_a_changed_one_is_not(car):
    batch_id = car.open()
    etag = car.get(f"{API}/{batch_id}")["ETag"]
    for tag in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
        answer = car.get(f"{API}/{batch_id}", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
    car.send(batch_id)
    answer = car.get(f"{API}/{batch_id}", headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer["ETag"] != etag
    assert answer["Cache-Control"] == "private, no-cache"


def test_the_etag_of_a_vehicle_is_not_shared_with_who_may_not_see_the_vin(car, db):
    batch_id = car.open()
    person = factories.user("anna")
    person.user_permissions.add(*_permissions("view_batch"))
    browser = Client()
    browser.force_login(person)
    body = browser.get(f"{API}/{batch_id}")
    assert "vin" not in body.json()
    check_shape("BatchWithFiles", body.json())
    assert body["ETag"] != car.get(f"{API}/{batch_id}")["ETag"]


def _permissions(*names: str):
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(codename__in=names)


@pytest.mark.parametrize(("path", "queries"), [("", 4), ("/progress", 3), ("/findings", 3)])
def test_reading_takes_the_same_queries_whatever_the_number_of_files(car, path, queries, django_assert_max_num_queries):
    batch_id = car.open()
    batch = Batch.objects.get(pk=batch_id)
    for number in range(30):
        factories.file(batch, name=f"{number}")
    car.get(f"{API}/{batch_id}")  # the first call of a minute notes that the token was used
    with django_assert_max_num_queries(queries):
        assert car.get(f"{API}/{batch_id}{path}").status_code == 200


def test_progress_counts_bytes_of_files_that_are_read(car):
    batch_id = car.open()
    ids = [car.send(batch_id, name=str(n), content=b"x" * 100).json()["id"] for n in range(4)]
    File.objects.filter(pk=ids[0]).update(state=FileState.PARSED, result_key="r")
    File.objects.filter(pk=ids[1]).update(state=FileState.FAILED, error_class="input", error_code="x")
    File.objects.filter(pk=ids[2]).update(state=FileState.PARSING, progress_bytes=30)
    Batch.objects.filter(pk=batch_id).update(
        state=BatchState.SCATTERING, expected_worker_count=4, completed_worker_count=2, processed_files=1, failed_files=1
    )
    body = car.get(f"{API}/{batch_id}/progress").json()
    check_shape("Progress", body)
    assert body == {
        "status": "scattering", "total_files": 4, "processed_files": 1, "failed_files": 1, "expected_worker_count": 4,
        "completed_worker_count": 2, "percent": 45, "bytes_total": 400, "bytes_done": 230,
    }  # fmt: skip


def test_findings_come_worst_first(car, vehicle):
    batch = factories.batch(vehicle)
    for severity, start in (("info", 1), ("critical", 9), ("warning", None), ("critical", 2**62)):
        Finding.objects.create(
            batch=batch, rule="limits", rule_version="1", severity=severity, sentence=f"{severity} {start}", from_ns=start
        )
    body = car.get(f"{API}/{batch.pk}/findings").json()
    check_shape("Findings", body)
    assert [row["sentence"] for row in body["results"]] == ["critical 9", f"critical {2**62}", "warning None", "info 1"]
    assert body["truncated"] is False


def test_more_findings_than_are_listed_are_told(car, vehicle):
    batch = factories.batch(vehicle)
    Finding.objects.bulk_create([Finding(batch=batch, rule="x", rule_version="1", severity="info", sentence=str(n)) for n in range(1001)])
    body = car.get(f"{API}/{batch.pk}/findings").json()
    assert (len(body["results"]), body["truncated"]) == (1000, True)


# -- list --------------------------------------------------------------------------------------------------------------


def made(of, count: int) -> list[str]:
    """Batches of a vehicle, one a minute, the newest first."""
    ids = []
    for minute in range(count):
        batch = factories.batch(of)
        Batch.objects.filter(pk=batch.pk).update(created_at=datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=minute))
        ids.append(str(batch.pk))
    return ids[::-1]


def listed(caller: Client, query: str = "") -> list[str]:
    answer = caller.get(f"{API}{query}")
    assert answer.status_code == 200, answer.content
    check_shape("BatchPage", answer.json())
    return [row["id"] for row in answer.json()["results"]]


def test_a_vehicle_lists_its_own_and_an_integration_all(car, other_car, integration, vehicle):
    own = made(vehicle, 2)
    foreign = other_car.open()
    assert listed(car) == own
    assert listed(other_car) == [foreign]
    assert set(listed(integration)) == {*own, foreign}


def test_pages_follow_each_other_forth_and_back(integration, vehicle):
    ids = made(vehicle, 5)
    first = integration.get(f"{API}?page_size=2").json()
    second = integration.get(first["next"]).json()
    third = integration.get(second["next"]).json()
    assert [row["id"] for page in (first, second, third) for row in page["results"]] == ids
    assert (first["previous"], third["next"]) == (None, None)
    assert [row["id"] for row in integration.get(third["previous"]).json()["results"]] == ids[2:4]


def test_batches_of_one_moment_are_all_listed(integration, vehicle):
    ids = made(vehicle, 7)
    Batch.objects.update(created_at=datetime(2026, 11, 1, tzinfo=UTC))
    seen, address = [], f"{API}?page_size=2"
    while address:
        page = integration.get(address).json()
        seen += [row["id"] for row in page["results"]]
        address = page["next"]
    assert sorted(seen) == sorted(ids)


def test_filters_narrow(integration, vehicle):
    ids = made(vehicle, 3)
    other = factories.batch(factories.vehicle(), state=BatchState.UPLOADED, total_files=1)
    Batch.objects.filter(pk=other.pk).update(created_at=datetime(2026, 12, 1, tzinfo=UTC))
    assert listed(integration, "?status=uploaded") == [str(other.pk)]
    assert listed(integration, f"?vin={vehicle.vin.lower()}") == ids
    assert listed(integration, "?vin=UNKNOWN") == []
    assert listed(integration, "?created_after=2026-11-01T00:01:00Z&created_before=2026-11-01T00:02:00Z") == [ids[1]]


def test_a_vehicle_cannot_list_anothers_by_vin(car, vehicle, other_car):
    other_car.open()
    other = Batch.objects.get().vehicle
    assert listed(car, f"?vin={other.vin}") == []


def test_who_may_not_see_a_vin_cannot_look_for_one(vehicle):
    factories.batch(vehicle)
    person = factories.user("anna")
    person.user_permissions.add(*_permissions("view_batch"))
    browser = Caller()
    browser.force_login(person)
    assert len(listed(browser)) == 1
    refused(browser.get(f"{API}?vin={vehicle.vin}"), 403, "permission_denied")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("status=done", 422, "invalid_field"),
        ("created_after=now", 422, "invalid_field"),
        ("page_size=0", 422, "invalid_field"),
        ("page_size=1000", 422, "invalid_field"),
        ("cursor=%25", 422, "invalid_field"),
        ("cursor=cD1hYmM=", 422, "invalid_field"),  # p=abc
        ("cursor=cD0yMDI2LTk5LTk5", 422, "invalid_field"),  # p=2026-99-99
        ("vin=%00", 422, "invalid_field"),
        ("stat=failed", 400, "unknown_field"),
        ("limit=5", 400, "unknown_field"),
    ],
)
def test_a_wrong_filter_is_refused_and_not_passed_over(integration, query, status, code):
    refused(integration.get(f"{API}?{query}"), status, code)


def test_listing_takes_the_same_queries_whatever_the_number(integration, vehicle, django_assert_max_num_queries):
    made(vehicle, 40)
    integration.get(API)
    with django_assert_max_num_queries(2):
        assert len(listed(integration)) == 40


def test_the_list_reads_no_manifests(integration, vehicle, django_assert_num_queries):
    factories.batch(vehicle, manifest=[{"name": "x", "size": 1}])
    integration.get(API)
    with django_assert_num_queries(2) as captured:
        listed(integration)
    assert not any("manifest" in query["sql"] for query in captured.captured_queries)


# -- complete ----------------------------------------------------------------------------------------------------------


def test_complete_is_202_and_may_be_repeated(car):
    batch_id = car.open()
    car.send(batch_id)
    first, second = car.complete(batch_id, {"expected_workers": 2}), car.complete(batch_id)
    assert (first.status_code, second.status_code) == (202, 202)
    for answer in (first, second):
        check_shape("BatchWithFiles", answer.json())
    assert {**first.json(), "server_time": None} == {**second.json(), "server_time": None}
    assert first.json()["status"] == "uploaded"
    assert OrmQ.objects.count() == 1


def test_complete_of_nothing_is_refused(car):
    refused(car.complete(car.open()), 422, "batch_empty")


def test_complete_lists_what_is_not_as_announced(car):
    batch_id = car.open()
    car.send(batch_id)
    answer = car.complete(batch_id, {"files": [{"name": "drive.blf", "size": 8}, {"name": "other", "size": 1}]})
    body = refused(answer, 409, "files_pending")
    assert (body["missing"], body["short"], body["corrupt"], body["unexpected"]) == (["other"], ["drive.blf"], [], [])
    assert body["counts"] == {"missing": 1, "short": 1, "corrupt": 0, "unexpected": 0, "uploading": 0, "verifying": 0}
    assert body["retryable"] is False
    check_shape("FilesPendingProblem", body)
    assert Batch.objects.get(pk=batch_id).state == BatchState.PENDING
    assert OrmQ.objects.count() == 0


def test_complete_while_a_file_is_on_its_way_says_when_to_come_back(car):
    batch_id = car.open()
    car.send(batch_id)
    Upload.objects.create(batch_id=batch_id, name="slow", storage_key="raw/x/y", lease_until=timezone.now() + timedelta(minutes=1))
    answer = car.complete(batch_id)
    body = refused(answer, 409, "files_pending")
    assert (body["uploading"], body["retryable"], answer["Retry-After"]) == (["slow"], True, "5")


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ("x", 422, "invalid_field"),
        ([7], 422, "invalid_field"),
        ([{}], 422, "invalid_field"),
        ([{"name": "x"}], 422, "invalid_field"),
        ([{"name": "x", "size": -1}], 422, "invalid_field"),
        ([{"name": "x", "size": True}], 422, "invalid_field"),
        ([{"name": "x", "size": 2**63}], 422, "invalid_field"),
        ([{"name": "x\0", "size": 1}], 422, "invalid_field"),
        ([{"name": "../x", "size": 1}], 422, "invalid_field"),
        ([{"name": "x", "size": 1, "sha256": "abc"}], 422, "invalid_field"),
        ([{"name": "x", "size": 1, "sha256": 5}], 422, "invalid_field"),
        ([{"name": "x", "size": 1, "state": "completed"}], 400, "unknown_field"),
    ],
)
def test_a_manifest_that_is_none_is_refused(car, files, status, code):
    batch_id = car.open()
    car.send(batch_id)
    refused(car.complete(batch_id, {"files": files}), status, code)


@pytest.mark.parametrize("field", ["state", "status", "vehicle", "processed_files", "file"])
def test_complete_takes_no_other_fields(car, field):
    batch_id = car.open()
    car.send(batch_id)
    refused(car.complete(batch_id, {field: "x"}), 400, "unknown_field")
    assert Batch.objects.get(pk=batch_id).state == BatchState.PENDING


def test_a_manifest_in_upper_case_and_another_spelling_fits(car):
    batch_id = car.open()
    digest = car.send(batch_id, name=quote("Kälte.blf")).json()["sha256"]
    assert car.complete(batch_id, {"files": [{"name": "Ka\u0308lte.blf", "size": 7, "sha256": digest.upper()}]}).status_code == 202


# -- delete ------------------------------------------------------------------------------------------------------------


def test_an_integration_deletes_and_may_repeat_it(car, integration):
    batch_id = car.open()
    car.send(batch_id)
    car.complete(batch_id)
    assert integration.delete(f"{API}/{batch_id}").status_code == 204
    assert objects() == []
    refused(car.get(f"{API}/{batch_id}"), 404, "not_found")
    assert integration.delete(f"{API}/{batch_id}").status_code == 204
    refused(integration.delete(f"{API}/{'0' * 8}-0000-4000-8000-000000000000"), 404, "not_found")
    assert Event.objects.filter(type=EventType.BATCH_DELETED).count() == 1


def test_a_vehicle_deletes_nothing(car):
    batch_id = car.open()
    refused(car.delete(f"{API}/{batch_id}"), 403, "permission_denied")
    assert count(batch_id) == (0, 0, 0)


def test_a_storage_that_breaks_a_delete_is_503_and_the_next_one_ends_it(car, integration, monkeypatch):
    batch_id = car.open()
    car.send(batch_id)

    def fail(path):
        raise OSError(5, "no")

    with monkeypatch.context() as patch:
        patch.setattr(storage.local.shutil, "rmtree", fail)
        refused(integration.delete(f"{API}/{batch_id}"), 503, "storage_unavailable")
    assert integration.delete(f"{API}/{batch_id}").status_code == 204
    assert objects() == []


def test_a_superuser_deletes_through_the_session_with_a_csrf_token(car, admin_user):
    batch_id = car.open()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(admin_user)
    refused(browser.delete(f"{API}/{batch_id}"), 403, "permission_denied")
    secret = "a" * 32
    browser.cookies["csrftoken"] = secret
    assert browser.delete(f"{API}/{batch_id}", headers={"X-CSRFToken": secret}).status_code == 204


def test_a_caller_is_named_in_the_events(car, integration, vehicle):
    batch_id = car.open()
    car.send(batch_id)
    assert set(Event.objects.filter(batch=batch_id).values_list("actor", flat=True)) == {f"vehicle:{vehicle.pk}"}
    integration.delete(f"{API}/{batch_id}")
    assert Event.objects.get(type=EventType.BATCH_DELETED).actor.startswith("token:")
    assert isinstance(integration, Caller)


def test_a_person_with_the_longest_name_can_act(car, django_user_model):
    person = django_user_model.objects.create_superuser("n" * 150, password="a long password")
    batch_id = car.open()
    browser = Client()
    browser.force_login(person)
    assert browser.delete(f"{API}/{batch_id}").status_code == 204
    actor = Event.objects.get(type=EventType.BATCH_DELETED).actor
    assert actor.startswith("user:nnn")
    assert len(actor) == 150


# -- abandon -----------------------------------------------------------------------------------------------------------


def test_a_vehicle_that_lost_its_files_abandons_the_batch_and_may_repeat_it(car, integration):
    batch_id = post(car, {"files": [{"name": "lost", "size": 5}]}).json()["id"]
    stored = car.send(batch_id).json()["id"]
    for _ in range(2):
        answer = post(car, {"reason": "disk lost"}, f"{API}/{batch_id}/abandon")
        assert answer.status_code == 200
        check_shape("BatchWithFiles", answer.json())
        assert (answer.json()["status"], answer.json()["uploads"]) == ("abandoned", [])
        assert [file["id"] for file in answer.json()["files"]] == [stored]
    refused(car.complete(batch_id), 409, "wrong_state")
    refused(car.send(batch_id, name="late"), 409, "batch_closed")
    refused(post(integration, {}, f"{API}/{batch_id}/abandon"), 403, "permission_denied")


def test_a_running_batch_is_not_abandoned(car):
    batch_id = car.open()
    car.send(batch_id)
    car.complete(batch_id)
    refused(post(car, {}, f"{API}/{batch_id}/abandon"), 409, "wrong_state")
    assert Batch.objects.get(pk=batch_id).state == BatchState.UPLOADED


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [({"reason": "x" * 201}, 422, "invalid_field"), ({"reason": "a\0b"}, 422, "invalid_field"), ({"why": "x"}, 400, "unknown_field")],
)
def test_a_wrong_reason_abandons_nothing(car, body, status, code):
    batch_id = car.open()
    refused(post(car, body, f"{API}/{batch_id}/abandon"), status, code)
    assert Batch.objects.get(pk=batch_id).state == BatchState.PENDING


# -- copies ------------------------------------------------------------------------------------------------------------


def test_a_copy_is_kept_and_names_the_file_that_came_first(car, other_car):
    first, second = car.open(), car.open()
    original = car.send(first, content=b"same").json()
    assert original["duplicate_of"] is None
    assert car.send(second, name="again", content=b"same").json()["duplicate_of"] == original["id"]
    foreign = other_car.open()
    assert other_car.send(foreign, content=b"same").json()["duplicate_of"] is None
    (file,) = car.get(f"{API}/{second}").json()["files"]
    check_shape("FileShape", file)
    assert file["duplicate_of"] == original["id"]
    assert count(second) == (1, 4, 1)
