"""From the first contact to the first batch, over HTTP; and what a guesser or a thief meets."""

from __future__ import annotations

import ipaddress
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from batches.models import Batch
from common.clock import EPOCH
from events.models import Event
from files.models import Upload
from tests import factories
from tests.api.conftest import API, Caller, check_shape, refused
from vehicles import enrolment
from vehicles.models import INTEGRATION_SCOPES, VEHICLE_SCOPES, ApiToken, Counter, EnrolmentToken, Preapproval, Scope, Vehicle
from vehicles.tokens import find_token, revoke_token

pytestmark = pytest.mark.django_db
ENROL, TOKEN = "/api/v1/enrol", "/api/v1/token"
VIN = "WARGUS000R0000017"


@pytest.fixture
def new_car(db) -> Caller:
    """A vehicle's program on its first day."""
    return Caller(factories.enrolment_token())


def enrol(caller: Caller, vin: Any = VIN, **said: Any) -> Any:
    return caller.post(ENROL, {"vin": vin, **said}, content_type="application/json")


def enrolled(caller: Caller, vin: str = VIN) -> tuple[Vehicle, Caller, str]:
    """A vehicle that waits, its program with the claim, and where to claim."""
    answer = enrol(caller, vin)
    assert answer.status_code == 202, answer.content
    return Vehicle.objects.get(vin=vin), Caller(answer.json()["claim"]), answer.json()["claim_url"].removeprefix("http://testserver")


# -- enrolling and claiming ----------------------------------------------------------------------------------------------


def test_from_the_first_contact_to_the_first_batch(new_car):
    answer = enrol(new_car, name="Heron", software={"vcu": "2.1"})
    assert answer.status_code == 202
    check_shape("EnrolmentAnswer", answer.json())
    assert answer.json()["state"] == "pending"
    assert answer["Cache-Control"] == "no-store"
    assert answer["Retry-After"] == str(answer.json()["retry_after"])
    claim = Caller(answer.json()["claim"])
    waiting = claim.post(f"{ENROL}/{answer.json()['id']}/claim")
    assert waiting.status_code == 202
    check_shape("WaitingAnswer", waiting.json())
    vehicle = Vehicle.objects.get(vin=VIN)
    enrolment.accept(vehicle.pk, actor="user:ops")
    given = claim.post(f"{ENROL}/{answer.json()['id']}/claim")
    assert given.status_code == 200
    assert given["Cache-Control"] == "no-store"
    check_shape("TokenAnswer", given.json())
    assert given.json()["vehicle_id"] == str(vehicle.pk)
    assert Batch.objects.get(pk=Caller(given.json()["token"]).open()).vehicle == vehicle


def test_an_expected_vehicle_need_not_wait(new_car):
    Preapproval.objects.create(vin=VIN, name="Heron", approved_by="user:ops")
    answer = enrol(new_car)
    assert (answer.status_code, answer.json()["state"], answer.json()["retry_after"]) == (202, "accepted", 0)
    given = Caller(answer.json()["claim"]).post(f"{ENROL}/{answer.json()['id']}/claim")
    assert find_token(given.json()["token"]).vehicle.name == "Heron"


def test_a_rejected_vehicle_is_told_so(new_car):
    vehicle, claim, address = enrolled(new_car)
    enrolment.reject(vehicle.pk, actor="user:ops")
    refused(claim.post(address), 403, "enrolment_rejected")
    refused(enrol(new_car), 403, "enrolment_rejected")


def test_claiming_again_gives_another_token_until_one_is_used(new_car):
    vehicle, claim, address = enrolled(new_car)
    enrolment.accept(vehicle.pk, actor="user:ops")
    lost, given = (claim.post(address).json()["token"] for _ in range(2))
    refused(Caller(lost).get(API), 401, "not_authenticated")
    assert Caller(given).get(API).status_code == 200
    refused(claim.post(address), 409, "already_claimed")


@pytest.mark.parametrize("vin", ["SHORT", "WARGUS000R000001O", "wargus000r0000017", "WARGUS000R0000017 1"])
def test_what_is_no_vin_is_refused(new_car, vin):
    refused(enrol(new_car, vin), 422, "invalid_vin")
    assert not Vehicle.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_field"),
        ({"vin": None}, 422, "invalid_field"),
        ({"vin": ["x"]}, 422, "invalid_field"),
        ({"vin": VIN, "state": "active"}, 400, "unknown_field"),
        ({"vin": VIN, "fleet": 1}, 400, "unknown_field"),
        ({"vin": VIN, "name": "x" * 101}, 422, "invalid_field"),
        ({"vin": VIN, "name": "a\0b"}, 422, "invalid_field"),
        ({"vin": VIN, "name": "\ud800"}, 422, "invalid_field"),
        ({"vin": VIN, "software": {"a": ["b"]}}, 422, "invalid_field"),
        ({"vin": VIN, "software": {"a\0": "b"}}, 422, "invalid_field"),
        ({"vin": VIN, "software": {"\ud800": "b"}}, 422, "invalid_field"),
        ({"vin": VIN, "software": {"x" * 65: "b"}}, 422, "invalid_field"),
        ({"vin": VIN, "software": {str(i): "b" for i in range(101)}}, 422, "invalid_field"),
        ([], 422, "invalid_field"),
    ],
)
def test_a_wrong_body_leaves_nothing(new_car, body, status, code):
    refused(new_car.post(ENROL, body, content_type="application/json"), status, code)
    assert not Vehicle.objects.exists()


def test_bodies_are_small_and_json(new_car):
    big = b'{"vin": "' + b"x" * 70_000 + b'"}'
    refused(new_car.post(ENROL, big, content_type="application/json"), 413, "body_too_large")
    refused(new_car.post(ENROL, b"{", content_type="application/json"), 400, "malformed_body")
    refused(new_car.post(ENROL, b"[" * 60_000, content_type="application/json"), 400, "malformed_body")
    refused(new_car.post(ENROL, b"vin=x", content_type="text/plain"), 415, "unsupported_media_type")
    answer = new_car.post(ENROL, b"", content_type="application/json", headers={"Transfer-Encoding": "chunked"})
    refused(answer, 411, "length_required")


def test_each_key_opens_one_door_only(new_car, car, integration):
    refused(enrol(car), 401, "not_authenticated")
    refused(enrol(integration), 401, "not_authenticated")
    refused(new_car.get(API), 401, "not_authenticated")
    refused(new_car.post(TOKEN), 401, "not_authenticated")
    _, claim, address = enrolled(new_car)
    refused(claim.get(API), 401, "not_authenticated")
    refused(enrol(claim), 401, "not_authenticated")
    for caller in (new_car, car, integration, Caller()):
        refused(caller.post(address), 401, "not_authenticated")


def test_a_claim_of_another_enrolment_is_answered_like_one_of_none(new_car):
    _, claim, _ = enrolled(new_car)
    _, _, address = enrolled(new_car, factories.vin())
    foreign = refused(claim.post(address), 401, "not_authenticated")
    missing = refused(claim.post(f"{ENROL}/{uuid.uuid4()}/claim"), 401, "not_authenticated")
    assert {**foreign, "request_id": 0} == {**missing, "request_id": 0}


def test_a_login_enrols_nobody(admin_user):
    browser = Caller()
    browser.force_login(admin_user)
    refused(enrol(browser), 401, "not_authenticated")


def test_a_used_up_a_revoked_and_an_expired_token_are_refused(new_car):
    EnrolmentToken.objects.update(max_uses=1)
    assert enrol(new_car).status_code == 202
    refused(enrol(new_car, factories.vin()), 403, "enrolment_token_used_up")
    EnrolmentToken.objects.update(max_uses=None, expires_at=timezone.now() - timedelta(seconds=1))
    refused(enrol(new_car, factories.vin()), 401, "not_authenticated")
    EnrolmentToken.objects.update(expires_at=None, revoked_at=timezone.now())
    refused(enrol(new_car, factories.vin()), 401, "not_authenticated")


def test_no_more_than_so_many_enrolments_a_minute(new_car, settings):
    settings.ARGUS_ENROLMENTS_PER_MINUTE = 3
    for _ in range(3):
        assert enrol(new_car, factories.vin()).status_code == 202
    answer = enrol(new_car, factories.vin())
    refused(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 61
    assert Vehicle.objects.count() == 3
    assert enrol(Caller(factories.enrolment_token()), factories.vin()).status_code == 202
    Counter.objects.update(since=timezone.now() - timedelta(seconds=61))
    assert enrol(new_car, factories.vin()).status_code == 202


# -- rotating --------------------------------------------------------------------------------------------------------------


def test_a_vehicle_exchanges_its_token(vehicle):
    old = Caller(factories.token(vehicle))
    answer = old.post(TOKEN)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    check_shape("TokenAnswer", answer.json())
    new = Caller(answer.json()["token"])
    assert ApiToken.objects.order_by("created_at").first().expires_at is None
    assert new.get(API).status_code == 200
    ends = ApiToken.objects.order_by("created_at").first().expires_at
    assert timedelta(hours=23, minutes=59) < ends - timezone.now() <= timedelta(hours=24)
    assert old.get(API).status_code == 200
    assert Event.objects.get(type="TokenReplaced").payload["vehicle_id"] == str(vehicle.pk)


def test_a_third_live_token_is_refused_and_an_expired_one_makes_room(vehicle):
    old = Caller(factories.token(vehicle))
    new = Caller(old.post(TOKEN).json()["token"])
    refused(old.post(TOKEN), 409, "too_many_tokens")
    refused(new.post(TOKEN), 409, "too_many_tokens")
    ApiToken.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now() - timedelta(seconds=1))
    refused(old.get(API), 401, "not_authenticated")
    assert new.post(TOKEN).status_code == 201


def test_a_new_token_has_the_rights_of_the_old_one_and_no_more(vehicle):
    narrow = Caller(factories.token(vehicle, [Scope.BATCH_READ_OWN]))
    new = Caller(narrow.post(TOKEN).json()["token"])
    assert new.get(API).status_code == 200
    refused(new.post(API, {}, content_type="application/json"), 403, "permission_denied")


def test_only_vehicles_rotate(integration, admin_user):
    refused(integration.post(TOKEN), 403, "permission_denied")
    browser = Caller()
    browser.force_login(admin_user)
    refused(browser.post(TOKEN), 401, "not_authenticated")
    refused(Caller(factories.token(factories.vehicle(), INTEGRATION_SCOPES)).post(TOKEN), 403, "permission_denied")
    assert set(VEHICLE_SCOPES).isdisjoint(INTEGRATION_SCOPES)


# -- losing the right --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "rejected", "retired"])
def test_a_vehicle_that_is_not_active_is_refused(vehicle, state):
    caller = Caller(factories.token(vehicle))
    Vehicle.objects.update(state=state)
    refused(caller.get(API), 401, "not_authenticated")


def writing(batch: Batch, **fields: Any) -> Upload:
    """An upload that somebody is sending."""
    fields = {
        "name": "x",
        "storage_key": str(uuid.uuid4()),
        "generation": 7,
        "lease_until": timezone.now() + timedelta(seconds=5),
        **fields,
    }
    return Upload.objects.create(batch=batch, **fields)


@pytest.mark.parametrize("how", ["revoked", "retired"])
def test_losing_the_right_evicts_the_writers_of_this_vehicle_only(vehicle, how):
    mine, other = factories.batch(vehicle), factories.batch()
    rows = {batch: writing(batch) for batch in (mine, other)}
    ended, nobody = writing(mine, state="finished"), writing(mine, lease_until=EPOCH)
    text = factories.token(vehicle)
    if how == "revoked":
        revoke_token(find_token(text), actor="user:ops")
    else:
        enrolment.retire(vehicle.pk, actor="user:ops")
    generations = {upload.pk: upload.generation for upload in Upload.objects.all()}
    assert generations == {rows[mine].pk: 8, rows[other].pk: 7, ended.pk: 7, nobody.pk: 7}
    assert Upload.objects.get(pk=rows[mine].pk).state == "open"


# -- guessing ----------------------------------------------------------------------------------------------------------------


def guess(text: str, address: str = "203.0.113.9") -> Any:
    return Client(REMOTE_ADDR=address, raise_request_exception=False).get(API, headers={"Authorization": f"Bearer {text}"})


def test_guessing_is_answered_429_and_locks_nobody_out(vehicle, settings):
    settings.ARGUS_REFUSALS_PER_MINUTE = 5
    good = factories.token(vehicle)
    for _ in range(5):
        refused(guess("argus_v1_nonsense"), 401, "not_authenticated")
    answer = guess("argus_v1_nonsense")
    refused(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 61
    assert guess("argus_v1_nonsense", "198.51.100.1").status_code == 401
    assert guess(good).status_code == 200  # behind the address of the guesser too
    Counter.objects.update(since=timezone.now() - timedelta(seconds=61))
    refused(guess("argus_v1_nonsense"), 401, "not_authenticated")


def test_guesses_at_one_key_are_counted_from_wherever_they_come(vehicle, settings):
    settings.ARGUS_REFUSALS_PER_MINUTE = 5
    good = factories.token(vehicle)
    ApiToken.objects.update(secret_sha256="0" * 64)
    answers = [guess(good, f"203.0.113.{i}").status_code for i in range(7)]
    assert answers == [401] * 5 + [429] * 2


def test_an_attacker_leaves_few_rows_and_above_the_limit_writes_nothing(settings, django_assert_num_queries):
    settings.ARGUS_REFUSALS_PER_MINUTE = 5
    for i in range(20):
        guess("argus_v1_nonsense", f"2001:db8::{i:x}")
    assert list(Counter.objects.values_list("subject", "count")) == [("refused:2001:db8::/64", 5)]
    with django_assert_num_queries(1):
        guess("argus_v1_nonsense", "2001:db8::ffff")
    Counter.objects.update(since=timezone.now() - timedelta(hours=1))
    guess("argus_v1_nonsense", "198.51.100.1")
    assert Counter.objects.get().subject == "refused:198.51.100.1"


def test_guesses_behind_a_trusted_proxy_are_counted_by_the_guesser(settings):
    settings.ARGUS_REFUSALS_PER_MINUTE = 2
    settings.ARGUS_TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8")]
    codes = []
    for forwarded in ["1.1.1.1", "6.6.6.6, 1.1.1.1", "7.7.7.7, 1.1.1.1, 10.0.0.9", "2.2.2.2"]:
        client = Client(REMOTE_ADDR="10.0.0.1", headers={"X-Forwarded-For": forwarded, "Authorization": "Bearer x"})
        codes.append(client.get(API).status_code)
    assert codes == [401, 401, 429, 401]
    assert Client(REMOTE_ADDR="1.2.3.4", headers={"X-Forwarded-For": "1.1.1.1", "Authorization": "Bearer x"}).get(API).status_code == 401


def test_guessing_enrolment_tokens_and_claims_is_counted_too(new_car, settings):
    settings.ARGUS_REFUSALS_PER_MINUTE = 2
    _, _, address = enrolled(new_car)
    codes = [enrol(Caller("argus_enrol_x")).status_code, Caller("argus_claim_x").post(address).status_code]
    codes += [enrol(Caller("argus_enrol_x")).status_code, Caller("argus_claim_x").post(address).status_code]
    assert codes == [401, 401, 429, 429]
    assert enrol(new_car).status_code == 202
