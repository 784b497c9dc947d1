"""Vehicles, tokens, platforms and signal databases."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from events.models import Event, EventType
from tests import factories
from tests.admin.conftest import DBC
from tests.admin.pages import logged_in, read
from vehicles.models import INTEGRATION_SCOPES, VEHICLE_SCOPES, ApiToken, Platform, SignalDatabase, Vehicle
from vehicles.tokens import find_token, make_token

VEHICLES = "/admin/vehicles/vehicle/"
TOKENS = "/admin/vehicles/apitoken/"
DATABASES = "/admin/vehicles/signaldatabase/"
TOKEN = re.compile(r"argus_v1_[0-9A-Za-z]{12}_[0-9A-Za-z_-]{43}_[0-9A-Za-z]{6}")


def page(vehicle: Vehicle) -> str:
    return f"{VEHICLES}{vehicle.pk}/change/"


def test_a_vin_is_tidied_and_its_check_digit_only_warned_about(ops):
    fields = {"name": "Kestrel", "platform": factories.platform().pk, "fleet": ""}
    answer = ops.post(f"{VEHICLES}add/", {"vin": " 1a9ad7sh5 sa078024 ", **fields}, follow=True)
    assert "The check digit (9th character) is 5" in read(answer).words
    assert Vehicle.objects.get().vin == "1A9AD7SH5SA078024"


@pytest.mark.parametrize("vin", ["", "SHORT", "1A9AD7SH9SA07802O", "1A9AD7SH9SA0780245"])
def test_a_text_that_is_no_vin_is_refused(ops, vin):
    answer = ops.post(f"{VEHICLES}add/", {"vin": vin, "name": "", "platform": "", "fleet": ""})
    assert "errornote" in answer.content.decode()
    assert not Vehicle.objects.exists()


def test_the_vehicle_page_shows_its_batches_and_tokens(ops, vehicle):
    make_token(vehicle, VEHICLE_SCOPES, label="logger", actor="test")
    batch = factories.batch(vehicle)
    found = read(ops.get(page(vehicle)))
    assert "logger" in found.words
    assert f"/admin/batches/batch/{batch.pk}/change/" in found.links


def test_a_token_is_shown_once_and_works(ops, vehicle):
    answer = ops.post(f"{VEHICLES}{vehicle.pk}/token/", {"label": "logger"})
    read(answer)
    assert "no-store" in answer["Cache-Control"]
    (text,) = set(TOKEN.findall(answer.content.decode()))
    token = find_token(text)
    assert token is not None
    assert (token.vehicle_id, token.label, set(token.scopes)) == (vehicle.pk, "logger", set(VEHICLE_SCOPES))
    assert Event.objects.get(type=EventType.TOKEN_CREATED).actor == "user:otto"
    for path in (page(vehicle), TOKENS, f"{TOKENS}{token.pk}/change/", "/admin/events/event/"):
        assert not TOKEN.search(ops.get(path).content.decode())


def test_a_third_live_token_is_refused_with_what_to_do(ops, vehicle):
    for _ in range(2):
        ops.post(f"{VEHICLES}{vehicle.pk}/token/")
    answer = read(ops.post(f"{VEHICLES}{vehicle.pk}/token/", follow=True))
    assert "The vehicle has two live tokens already. Revoke one of them first." in answer.words
    assert ApiToken.objects.count() == 2


def test_a_revoked_token_is_refused_from_then_on(ops, vehicle):
    token, text = make_token(vehicle, VEHICLE_SCOPES, label="", actor="test")
    answer = read(ops.post(f"{TOKENS}{token.pk}/revoke/", follow=True))
    assert f"The token {token} is revoked." in answer.words
    assert find_token(text) is None
    assert "was revoked before" in read(ops.post(f"{TOKENS}{token.pk}/revoke/", follow=True)).words
    assert Event.objects.filter(type=EventType.TOKEN_REVOKED).count() == 1


def test_an_integration_gets_a_token_without_vehicle(ops):
    answer = ops.post(f"{TOKENS}add/", {"label": "warehouse", "scopes": ["batch:read"]})
    (text,) = set(TOKEN.findall(answer.content.decode()))
    token = find_token(text)
    assert token is not None
    assert (token.vehicle_id, token.scopes) == (None, ["batch:read"])
    refused = ops.post(f"{TOKENS}add/", {"label": "x", "scopes": [VEHICLE_SCOPES[0]]})
    assert "not one of the available choices" in read(refused).words
    assert set(INTEGRATION_SCOPES).isdisjoint(VEHICLE_SCOPES)


def test_tokens_are_made_and_revoked_by_post_and_permission_only(support, ops, vehicle):
    token, text = make_token(vehicle, VEHICLE_SCOPES, label="", actor="test")
    for path in (f"{VEHICLES}{vehicle.pk}/token/", f"{TOKENS}{token.pk}/revoke/"):
        assert support.post(path).status_code == 403
        assert ops.get(path).status_code == 405
        assert logged_in(factories.user(f"o{len(path)}", "ops"), csrf=True).post(path).status_code == 403
    assert support.get(f"{TOKENS}add/").status_code == 403
    assert support.get(TOKENS).status_code == 403
    assert str(token) not in support.get(page(vehicle)).content.decode()
    assert find_token(text) is not None
    assert ApiToken.objects.count() == 1


def test_a_vehicle_without_right_to_change_it_is_shown_read_only(support, vehicle):
    found = read(support.get(page(vehicle)))
    assert vehicle.vin in found.words
    assert support.post(page(vehicle), {"vin": factories.vin()}).status_code == 403


def upload(client, platform: Platform, content: bytes = DBC, name: str = "engine"):
    file = SimpleUploadedFile("engine.dbc", content)
    return client.post(f"{DATABASES}add/", {"platform": platform.pk, "name": name, "channel": "", "file": file}, follow=True)


def test_an_uploaded_dbc_is_the_next_version_and_in_use(ops):
    platform = factories.platform("J7")
    assert "engine v1 is in use from now on: 2 signals in 1 messages." in read(upload(ops, platform)).words
    read(upload(ops, platform))
    versions = list(SignalDatabase.objects.order_by("version").values_list("version", "active", "uploaded_by"))
    assert versions == [(1, False, "user:otto"), (2, True, "user:otto")]
    newest = SignalDatabase.objects.get(version=2)
    download = ops.get(f"{DATABASES}{newest.pk}/download/")
    assert download.content == DBC
    assert download["Content-Disposition"] == 'attachment; filename="engine-v2.dbc"'
    assert "engine v2" in read(ops.get(f"/admin/vehicles/platform/{platform.pk}/change/")).words


def test_what_the_reader_tolerated_is_said(ops):
    repaired = DBC.replace(b"SG_ Counter : 0|32", b"SG_ Counter : 40|32")
    answer = read(upload(ops, factories.platform("J7"), repaired))
    database = SignalDatabase.objects.get()
    assert database.warnings
    for text in database.warnings[:3]:
        assert " ".join(text.split()) in answer.words


@pytest.mark.parametrize("content", [b"", b"no dbc at all", b"\x00\xff" * 100])
def test_what_is_no_dbc_is_refused_with_the_reason(ops, content):
    answer = upload(ops, factories.platform("J7"), content)
    assert "errorlist" in answer.content.decode()
    assert not SignalDatabase.objects.exists()


def test_support_uploads_no_database(support):
    assert upload(support, factories.platform("J7")).status_code == 403


def test_a_database_can_be_taken_out_of_use_but_not_doubled(ops):
    platform = factories.platform("J7")
    upload(ops, platform)
    upload(ops, platform)
    first, second = SignalDatabase.objects.order_by("version")
    answer = ops.post(f"{DATABASES}{first.pk}/change/", {"active": "on"})
    assert "Version 2 is in use" in read(answer).words
    ops.post(f"{DATABASES}{second.pk}/change/", {})
    ops.post(f"{DATABASES}{first.pk}/change/", {"active": "on"})
    assert list(SignalDatabase.objects.order_by("version").values_list("active", flat=True)) == [True, False]
    assert SignalDatabase.objects.get(pk=first.pk).name == "engine"


def test_limits_are_edited_by_ops_and_read_by_support(support, ops):
    from diagnosis.models import SignalLimit

    fields = {"platform": "", "signal": "Coolant", "low": "", "high": "115", "duration_s": "5", "severity": "critical", "action": "Stop."}
    assert support.post("/admin/diagnosis/signallimit/add/", fields).status_code == 403
    assert ops.post("/admin/diagnosis/signallimit/add/", fields).status_code == 302
    assert SignalLimit.objects.get().high == 115
    unbounded = ops.post("/admin/diagnosis/signallimit/add/", {**fields, "signal": "Other", "high": ""})
    assert unbounded.status_code == 200
    assert "Coolant" in read(support.get("/admin/diagnosis/signallimit/")).words
