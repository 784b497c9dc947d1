"""Idempotency-Key: one effect and one answer for each key, whatever is lost, repeated or sent at once."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connections
from django.utils import timezone
from django_q.models import OrmQ

from batches import idempotency
from batches.models import Batch, BatchState, KeptAnswer
from events.models import Event
from files.models import Upload
from tests import factories
from tests.api.conftest import API, Caller, check_shape, refused

pytestmark = pytest.mark.django_db


def post(car, path: str = API, body=None, key: str | None = "k1"):
    headers = {} if key is None else {"Idempotency-Key": key}
    return car.post(path, body or {}, content_type="application/json", headers=headers)


def replayed(answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def test_a_repeated_key_gets_the_first_answer_and_opens_nothing(car):
    body = {"reason": "x", "files": [{"name": "a", "size": 1}]}
    first, second = post(car, body=body), post(car, body=body)
    assert (first.status_code, replayed(first), replayed(second)) == (201, False, True)
    assert (second.status_code, second["Location"], second["Content-Type"]) == (201, first["Location"], first["Content-Type"])
    assert second.json() == first.json()
    check_shape("BatchWithFiles", second.json())
    assert (Batch.objects.count(), Upload.objects.count(), Event.objects.filter(batch__isnull=False).count()) == (1, 1, 1)


def test_without_a_key_each_call_counts(car):
    assert not replayed(post(car, key=None))
    assert not replayed(post(car, key=None))
    assert Batch.objects.count() == 2
    assert not KeptAnswer.objects.exists()


def test_the_order_of_fields_does_not_matter(car):
    post(car, body={"reason": "x", "expected_workers": 1})
    assert replayed(post(car, body={"expected_workers": 1, "reason": "x"}))


def test_the_same_key_for_something_else_is_refused(car):
    batch_id = post(car, body={"reason": "x"}).json()["id"]
    refused(post(car, body={"reason": "y"}), 422, "idempotency_mismatch")
    refused(post(car, f"{API}/{batch_id}/complete"), 422, "idempotency_mismatch")
    refused(post(car, f"{API}/{batch_id}/abandon"), 422, "idempotency_mismatch")
    assert Batch.objects.get().state == BatchState.PENDING


def test_keys_of_two_vehicles_have_nothing_to_do_with_each_other(car, other_car):
    assert post(car).json()["id"] != post(other_car).json()["id"]


def test_another_token_of_the_vehicle_may_repeat_the_call(car, vehicle):
    first = post(car)
    again = post(Caller(factories.token(vehicle)))
    assert replayed(again)
    assert again.json() == first.json()


@pytest.mark.parametrize("key", ["", " ", "a ", "ä", "a\tb", "x" * 256])
def test_a_key_that_is_none_is_refused(car, key):
    refused(post(car, key=key), 422, "invalid_field")
    assert not Batch.objects.exists()


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b"])
def test_any_other_text_is_a_key(car, key):
    assert post(car, key=key).status_code == 201
    assert replayed(post(car, key=key))


def test_a_refusal_that_lasts_is_kept_with_the_id_of_the_new_request(car):
    first, second = (post(car, body={"files": [{"name": "x", "size": 0}]}) for _ in range(2))
    assert replayed(second)
    assert {**refused(first, 422, "empty_file"), "request_id": 0} == {**refused(second, 422, "empty_file"), "request_id": 0}


def test_a_wrong_value_is_refused_each_time(car):
    for _ in range(2):
        refused(post(car, body={"expected_workers": 0}), 422, "invalid_field")


def test_a_refusal_that_tells_how_things_stand_is_not_kept(car):
    batch_id = car.open()
    complete = f"{API}/{batch_id}/complete"
    refused(post(car, complete), 422, "batch_empty")
    body = {"files": [{"name": "drive.blf", "size": 7}]}
    refused(post(car, complete, body, key="k2"), 409, "files_pending")
    car.send(batch_id)
    assert post(car, complete, body, key="k2").status_code == 202
    assert replayed(post(car, complete, body, key="k2"))
    assert OrmQ.objects.count() == 1


def test_another_vehicles_batch_leaves_no_trace(car, other_car):
    batch_id = other_car.open()
    for path in ("complete", "abandon"):
        refused(post(car, f"{API}/{batch_id}/{path}", key=path), 404, "not_found")
    assert not KeptAnswer.objects.exists()


def test_a_failure_undoes_the_effect_and_keeps_no_answer(car, monkeypatch):
    def fail(*args, **options):
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("batches.idempotency.KeptAnswer.objects.create", fail)
        refused(post(car), 503, "database_unavailable")
    assert (Batch.objects.count(), Event.objects.filter(batch__isnull=False).count(), KeptAnswer.objects.count()) == (0, 0, 0)
    assert not replayed(post(car))


def test_complete_and_abandon_are_answered_as_the_first_time(car):
    batch_id = car.open()
    car.send(batch_id)
    first = post(car, f"{API}/{batch_id}/complete")
    Batch.objects.filter(pk=batch_id).update(state=BatchState.SCATTERING)
    assert post(car, f"{API}/{batch_id}/complete").json() == first.json()
    other = car.open()
    first = post(car, f"{API}/{other}/abandon", {"reason": "lost"}, key="k2")
    assert first.json()["status"] == "abandoned"
    again = post(car, f"{API}/{other}/abandon", {"reason": "lost"}, key="k2")
    assert replayed(again)
    assert again.json() == first.json()


def test_old_answers_are_forgotten(car):
    post(car, key="old")
    post(car, key="new")
    KeptAnswer.objects.filter(key="old").update(created_at=timezone.now() - timedelta(days=31))
    assert idempotency.forget_old() == 1
    assert idempotency.forget_old() == 0
    assert replayed(post(car, key="new"))
    assert not replayed(post(car, key="old"))


@pytest.mark.django_db(transaction=True)
def test_fifty_calls_at_once_with_one_key_open_one_batch(vehicle):
    token = factories.token(vehicle)

    def call(number: int):
        try:
            answer = post(Caller(token), body={"reason": "x"}, key="one")
            return answer.status_code, json.loads(answer.content)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(call, range(50)))
    assert {status for status, _ in answers} <= {201, 409}
    assert len({body["id"] for status, body in answers if status == 201}) == 1
    assert {body["code"] for status, body in answers if status == 409} <= {"in_progress"}
    assert Batch.objects.count() == 1
    assert replayed(post(Caller(token), body={"reason": "x"}, key="one"))


@pytest.mark.django_db(transaction=True)
def test_twenty_vehicles_programs_at_once_with_one_id_open_one_batch(vehicle):
    token, batch_id = factories.token(vehicle), uuid.uuid4()

    def call(number: int) -> int:
        try:
            return Caller(token).put(f"{API}/{batch_id}", {"reason": "x"}, content_type="application/json").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(call, range(20)))
    assert statuses == [200] * 19 + [201]
    assert Event.objects.filter(batch=batch_id).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_second_call_while_the_first_one_runs_is_told_to_wait(vehicle, monkeypatch):
    connection = connections["default"]
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer: the second call waits for the first one")
    token, original = factories.token(vehicle), KeptAnswer.objects.create
    met = []

    def create(**fields):
        with ThreadPoolExecutor(1) as pool:
            met.append(pool.submit(lambda: (post(Caller(token)), connections.close_all())[0]).result())
        return original(**fields)

    monkeypatch.setattr("batches.idempotency.KeptAnswer.objects.create", create)
    assert post(Caller(token)).status_code == 201
    (answer,) = met
    refused(answer, 409, "in_progress")
    assert answer["Retry-After"] == "1"
