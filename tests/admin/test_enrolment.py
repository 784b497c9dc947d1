"""Operators let vehicles in, turn them away, and make what vehicles announce themselves with."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event, EventType
from tests import factories
from tests.admin.pages import logged_in, read
from vehicles import enrolment
from vehicles.enrolment import Announcement, enrol
from vehicles.enrolment_tokens import find_enrolment_token
from vehicles.models import Enrolment, EnrolmentToken, Fleet, Preapproval, Vehicle, VehicleState
from vehicles.preapproval import EXAMPLE

VEHICLES = "/admin/vehicles/vehicle/"
TOKENS = "/admin/vehicles/enrolmenttoken/"
EXPECTED = "/admin/vehicles/preapproval/"
TEXT = re.compile(r"argus_enrol_[0-9A-Za-z]{12}_[0-9A-Za-z_-]{43}_[0-9A-Za-z]{6}")
HOSTILE = "<script>alert(1)</script>"


def ask(client, action: str, *vehicles: Vehicle):
    """The page that asks before anything is done."""
    return client.post(VEHICLES, {"action": f"{action}_vehicles", "index": "0", "_selected_action": [v.pk for v in vehicles]})


def decide(client, action: str, *vehicles: Vehicle):
    """Answer it: the fields of the page as it was shown."""
    page = ask(client, action, *vehicles).content.decode()
    fields: dict[str, list[str]] = {}
    form = page[page.index('class="card question"') :]
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    return client.post(VEHICLES, fields, follow=True)


def states() -> list[str]:
    return sorted(Vehicle.objects.values_list("state", flat=True))


# -- decisions -----------------------------------------------------------------------------------------------------------


def test_what_waits_stands_on_the_overview_and_leads_to_the_list(ops, support):
    assert "wait for a decision" not in read(ops.get("/admin/")).words
    waiting = factories.enrolled(name="Heron")
    again = factories.vehicle(name="Owl")
    factories.enrolled(again.vin)
    page = read(ops.get("/admin/"))
    assert page.words.index("Heron") < page.words.index("Uploading")
    assert "Vehicles that wait for a decision 2" in page.words
    assert "enrolled again" in page.words
    (link,) = {link for link in page.links if "state=waiting" in link}
    assert {vehicle.pk for vehicle in ops.get(link).context["cl"].result_list} == {waiting.pk, again.pk}
    assert "Heron" in read(support.get("/admin/")).words


def test_vehicles_are_accepted_after_a_look(ops):
    first, second = factories.enrolled(name="Heron", address="192.0.2.7", software={"vcu": "2.1"}), factories.enrolled()
    page = read(ask(ops, "accept", first, second))
    for words in ("Accept 2 vehicles?", "Heron", first.vin, "192.0.2.7", "vcu 2.1", "workshop"):
        assert words in page.words
    assert states() == ["pending", "pending"]
    assert "2 vehicles accepted." in read(decide(ops, "accept", first, second)).words
    assert states() == ["active", "active"]
    assert Event.objects.filter(type=EventType.VEHICLE_ACCEPTED, actor="user:otto").count() == 2


@pytest.mark.parametrize(("action", "before", "after"), [("reject", "pending", "rejected"), ("retire", "active", "retired")])
def test_the_other_decisions(ops, action, before, after):
    vehicle = factories.enrolled()
    Vehicle.objects.update(state=before)
    assert f"1 vehicle {after}." in read(decide(ops, action, vehicle)).words
    assert states() == [after]


def test_a_retired_vehicle_is_restored_and_a_rejected_one_accepted(ops):
    retired, rejected = factories.vehicle(state="retired"), factories.vehicle(state="rejected")
    decide(ops, "restore", retired)
    decide(ops, "accept", rejected)
    assert states() == ["active", "active"]


def test_vehicles_in_another_state_are_left_out_and_it_is_said(ops):
    waiting, active = factories.enrolled(), factories.vehicle()
    assert "1 of the chosen vehicles is in another state" in read(ask(ops, "accept", waiting, active)).words
    assert "None of the chosen vehicles can be accepted." in read(decide_nothing(ops, active)).words


def decide_nothing(client, vehicle: Vehicle):
    return client.post(VEHICLES, {"action": "accept_vehicles", "index": "0", "_selected_action": [vehicle.pk]}, follow=True)


def test_an_enrolment_that_came_after_the_look_is_not_accepted(ops):
    vehicle = factories.enrolled()
    seen = Enrolment.objects.get().pk
    factories.enrolled(vehicle.vin)
    answer = ops.post(
        VEHICLES,
        {"action": "accept_vehicles", "index": "0", "_selected_action": [vehicle.pk], f"seen-{vehicle.pk}": seen, "confirmed": "1"},
        follow=True,
    )
    assert "enrolled again since you looked" in read(answer).words
    assert states() == ["pending"]


def test_two_operators_at_once_do_it_once(ops):
    vehicle = factories.enrolled()
    enrolment.accept(vehicle.pk, actor="user:other")
    fields = {"action": "accept_vehicles", "index": "0", "_selected_action": [vehicle.pk], "confirmed": "1"}
    assert "does not wait for a decision" in read(ops.post(VEHICLES, fields, follow=True)).words
    assert Event.objects.filter(type=EventType.VEHICLE_ACCEPTED).count() == 1


def test_a_vin_that_was_enrolled_from_several_places_is_pointed_out(ops):
    token = find_enrolment_token(factories.enrolment_token())
    vehicle = enrol(token, Announcement(factories.vin(), address="192.0.2.7"))[0].vehicle
    enrol(token, Announcement(vehicle.vin, address="203.0.113.9"))
    assert "Enrolled 2 times, from 2 addresses" in read(ask(ops, "accept", vehicle)).words
    assert "enrolled from 2 addresses" in read(ops.get(f"{VEHICLES}{vehicle.pk}/change/")).words


def test_only_who_may_decides(support, vehicle):
    waiting = factories.enrolled()
    page = support.get(VEHICLES, {"state": "waiting"})
    assert "accept_vehicles" not in page.content.decode()
    assert "Accept" not in read(support.get(f"{VEHICLES}{waiting.pk}/change/")).words
    support.post(VEHICLES, {"action": "accept_vehicles", "index": "0", "_selected_action": [waiting.pk], "confirmed": "1"})
    assert Vehicle.objects.get(pk=waiting.pk).state == VehicleState.PENDING
    assert logged_in(factories.user("o2", "ops"), csrf=True).post(VEHICLES, {"action": "accept_vehicles"}).status_code == 403


def test_the_page_of_a_waiting_vehicle_offers_the_decision_and_no_token(ops):
    vehicle = factories.enrolled(name="Heron", address="192.0.2.7")
    page = read(ops.get(f"{VEHICLES}{vehicle.pk}/change/"))
    for words in ("waits for a decision", "192.0.2.7", "Accept", "Reject", "Enrolments"):
        assert words in page.words
    assert "Make token" not in page.words
    refused = ops.post(f"{VEHICLES}{vehicle.pk}/token/", follow=True)
    assert "The vehicle is not active" in read(refused).words


def test_an_active_vehicle_that_enrolled_again_is_explained(ops, vehicle):
    factories.enrolled(vehicle.vin)
    page = read(ops.get(f"{VEHICLES}{vehicle.pk}/change/"))
    assert "tokens that it had are revoked then" in page.words
    assert "enrolled again" in read(ops.get(VEHICLES)).words


def test_the_clock_and_the_contact_are_shown_and_filtered(ops):
    now = timezone.now()
    wrong = factories.vehicle(name="Heron", clock_offset_ms=-90_000, clock_measured_at=now, last_contact_at=now)
    factories.vehicle(name="Owl", clock_offset_ms=250, clock_measured_at=now - timedelta(minutes=3))
    page = read(ops.get(VEHICLES))
    assert "1 min 30 s behind" in page.words
    assert "250 ms ahead" in page.words
    assert [vehicle.pk for vehicle in ops.get(VEHICLES, {"clock": "off"}).context["cl"].result_list] == [wrong.pk]
    assert "1 min 30 s behind" in read(ops.get(f"{VEHICLES}{wrong.pk}/change/")).words


@pytest.mark.parametrize(("name", "value"), [("state", "nonsense"), ("clock", "nonsense")])
def test_an_unknown_choice_chooses_nothing(ops, vehicle, name, value):
    assert list(ops.get(VEHICLES, {name: value}).context["cl"].result_list) == []


def test_empty_lists_say_what_to_do(ops, support):
    assert "No vehicle yet" in read(ops.get(VEHICLES)).words
    assert "No enrolment token yet" in read(ops.get(TOKENS)).words
    assert "No VIN is expected" in read(ops.get(EXPECTED)).words
    factories.vehicle()
    assert "Nothing waits" in read(ops.get(VEHICLES, {"state": "waiting"})).words
    assert support.get(TOKENS).status_code == 403
    assert support.get(EXPECTED).status_code == 403


def test_what_a_vehicle_says_of_itself_is_text(ops):
    vehicle = factories.enrolled(name=HOSTILE, software={HOSTILE: HOSTILE})
    EnrolmentToken.objects.update(label=HOSTILE)
    for answer in (
        ops.get("/admin/"),
        ops.get(VEHICLES),
        ops.get(TOKENS),
        ops.get(f"{VEHICLES}{vehicle.pk}/change/"),
        ask(ops, "accept", vehicle),
    ):
        assert HOSTILE in read(answer).words


@pytest.mark.parametrize("text", ["x", "9" * 40, "00000000-0000-4000-8000-000000000000"])
def test_rows_that_are_none_are_no_error_of_the_server(ops, vehicle, text):
    answer = ops.post(VEHICLES, {"action": "accept_vehicles", "index": "0", "_selected_action": [text], "confirmed": "1"})
    assert answer.status_code in {302, 400}


def test_the_list_costs_a_bounded_number_of_queries(ops, django_assert_max_num_queries):
    for _ in range(30):
        factories.enrolled()
    with django_assert_max_num_queries(12):
        ops.get(VEHICLES)


# -- the certificate ---------------------------------------------------------------------------------------------------


def test_a_certificate_is_set_in_any_form_and_is_an_event(ops, vehicle, settings):
    settings.ARGUS_MTLS_HEADER = "X-Client-Cert-Fingerprint"
    fields = {"vin": vehicle.vin, "name": "", "platform": "", "fleet": ""}
    page = f"{VEHICLES}{vehicle.pk}/change/"
    assert ops.post(page, {**fields, "certificate_sha256": ":".join(["AB"] * 32)}).status_code == 302
    assert Vehicle.objects.get().certificate_sha256 == "ab" * 32
    assert Event.objects.get(type=EventType.CERTIFICATE_CHANGED).actor == "user:otto"
    assert "64 hexadecimal digits" in read(ops.post(page, {**fields, "certificate_sha256": "abc"})).words
    other = factories.vehicle()
    twice = ops.post(f"{VEHICLES}{other.pk}/change/", {**fields, "vin": other.vin, "certificate_sha256": "ab" * 32})
    assert "already exists" in read(twice).words
    assert ops.post(page, {**fields, "certificate_sha256": ""}).status_code == 302
    assert Vehicle.objects.get(pk=vehicle.pk).certificate_sha256 is None


def test_without_a_proxy_that_checks_them_certificates_cannot_be_set(ops, vehicle):
    fields = {"vin": vehicle.vin, "name": "", "platform": "", "fleet": "", "certificate_sha256": "ab" * 32}
    ops.post(f"{VEHICLES}{vehicle.pk}/change/", fields)
    assert Vehicle.objects.get().certificate_sha256 is None


def test_saving_the_page_writes_only_what_was_changed_on_it(ops, vehicle):
    with CaptureQueriesContext(connection) as ran:
        ops.post(f"{VEHICLES}{vehicle.pk}/change/", {"vin": vehicle.vin, "name": "Heron", "platform": vehicle.platform_id, "fleet": ""})
    (update,) = [query["sql"] for query in ran if query["sql"].startswith('UPDATE "vehicles_vehicle"')]
    assert '"name" = ' in update
    assert '"state"' not in update
    assert '"last_contact_at"' not in update


# -- enrolment tokens ----------------------------------------------------------------------------------------------------


def test_an_enrolment_token_is_shown_once_and_works(ops):
    fleet = Fleet.objects.create(name="Test bench")
    ends = (timezone.now() + timedelta(days=7)).strftime("%Y-%m-%dT%H:%M")
    answer = ops.post(f"{TOKENS}add/", {"label": "image 2026.11", "fleet": fleet.pk, "platform": "", "expires_at": ends, "max_uses": "50"})
    read(answer)
    assert "no-store" in answer["Cache-Control"]
    (text,) = set(TEXT.findall(answer.content.decode()))
    token = find_enrolment_token(text)
    assert (token.label, token.fleet, token.max_uses) == ("image 2026.11", fleet, 50)
    assert token.expires_at.strftime("%Y-%m-%dT%H:%M") == ends
    assert Event.objects.get(type=EventType.ENROLMENT_TOKEN_CREATED).actor == "user:otto"
    for path in (TOKENS, f"{TOKENS}{token.pk}/change/", "/admin/events/event/"):
        assert not TEXT.search(ops.get(path).content.decode())


@pytest.mark.parametrize(
    "wrong", [{"label": ""}, {"expires_at": "2020-01-01T00:00"}, {"max_uses": "0"}, {"max_uses": "-1"}, {"fleet": "x"}]
)
def test_a_wrong_form_makes_none(ops, wrong):
    answer = ops.post(f"{TOKENS}add/", {"label": "x", **wrong})
    assert "errorlist" in answer.content.decode()
    assert not EnrolmentToken.objects.exists()


def test_a_revoked_token_lets_nobody_in(ops, support):
    text = factories.enrolment_token()
    token = EnrolmentToken.objects.get()
    assert support.post(f"{TOKENS}{token.pk}/revoke/").status_code == 403
    assert ops.get(f"{TOKENS}{token.pk}/revoke/").status_code == 405
    assert "is revoked." in read(ops.post(f"{TOKENS}{token.pk}/revoke/", follow=True)).words
    assert find_enrolment_token(text) is None
    assert "was revoked before" in read(ops.post(f"{TOKENS}{token.pk}/revoke/", follow=True)).words


def test_states_of_tokens_are_told_apart(ops):
    now = timezone.now()
    for label, fields in {"a": {}, "b": {"expires_at": now}, "c": {"max_uses": 0}, "d": {"revoked_at": now}}.items():
        EnrolmentToken.objects.create(label=label, key_id=label, secret_sha256="0" * 64, **fields)
    page = read(ops.get(TOKENS))
    for words in ("live", "expired", "used up", "revoked"):
        assert words in page.words


# -- expected VINs -----------------------------------------------------------------------------------------------------


def send(client, content: bytes):
    return client.post(f"{EXPECTED}import/", {"file": SimpleUploadedFile("vins.csv", content)}, follow=True)


def test_the_example_on_the_page_can_be_imported(ops):
    Fleet.objects.create(name="Demo fleet")
    factories.platform("J7")
    page = read(ops.get(f"{EXPECTED}import/"))
    assert "vin,name,fleet,platform" in page.words
    assert "2 VINs are expected now." in read(send(ops, EXAMPLE.encode())).words
    assert {approval.approved_by for approval in Preapproval.objects.all()} == {"user:otto"}


def test_a_wrong_table_is_shown_by_line_and_nothing_is_taken(ops):
    page = read(send(ops, f"vin,name\n{factories.vin()},ok\n{HOSTILE},x\nWARGUS,x\n".encode()))
    assert "Nothing was taken." in page.words
    assert "Line 3:" in page.words
    assert "Line 4: 'WARGUS' is no VIN" in page.words
    assert not Preapproval.objects.exists()
    assert "must name the columns" in read(send(ops, b"\x00\xff\x00")).words


def test_one_vin_is_added_by_hand_and_only_where_there_is_no_vehicle(ops, vehicle):
    fields = {"name": "Heron", "fleet": "", "platform": ""}
    ops.post(f"{EXPECTED}add/", {"vin": " 1a9ad7sh5 sa078024 ", **fields})
    assert Preapproval.objects.get().vin == "1A9AD7SH5SA078024"
    assert Preapproval.objects.get().approved_by == "user:otto"
    assert "There is a vehicle with this VIN already" in read(ops.post(f"{EXPECTED}add/", {"vin": vehicle.vin, **fields})).words
    assert "errorlist" in ops.post(f"{EXPECTED}add/", {"vin": "SHORT", **fields}).content.decode()
    ops.post(f"{EXPECTED}{Preapproval.objects.get().pk}/delete/", {"post": "yes"})
    assert not Preapproval.objects.exists()


def test_support_expects_nobody(support):
    assert support.get(f"{EXPECTED}import/").status_code == 403
    assert send(support, EXAMPLE.encode()).status_code == 403
