"""A vehicle comes in once somebody has let it in, and nobody takes its place."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread

import pytest
from django.db import connection
from django.utils import timezone

from events.models import Event, EventType
from tests import factories
from vehicles import enrolment
from vehicles.enrolment import Announcement
from vehicles.enrolment_tokens import EnrolmentTokenUsedUp, find_enrolment_token, make_enrolment_token, revoke_enrolment_token
from vehicles.models import ApiToken, Enrolment, EnrolmentState, EnrolmentToken, Fleet, Preapproval, Vehicle, VehicleState
from vehicles.preapproval import EXAMPLE, BadVinTable, preapprove
from vehicles.tokens import VehicleNotActive, find_token, make_token, revoke_token, touch

pytestmark = pytest.mark.django_db
VIN = "WARGUS000R0000017"


def token(**fields) -> EnrolmentToken:
    return make_enrolment_token("workshop", actor="user:ops", **fields)[0]


def enrol(of: EnrolmentToken, vin: str = VIN, **said):
    return enrolment.enrol(of, Announcement(vin, **said))


def in_use(text: str | None) -> ApiToken:
    """The token, used once."""
    found = find_token(text or "")
    assert found is not None
    touch(found)
    return found


# -- enrolment tokens --------------------------------------------------------------------------------------------------


def test_the_text_finds_the_token_until_it_is_revoked_or_expired():
    made, text = make_enrolment_token("workshop", actor="user:ops", expires_at=timezone.now() + timedelta(hours=1))
    assert text.startswith(f"argus_enrol_{made.key_id}_")
    assert find_enrolment_token(text) == made
    assert text.split("_", 3)[3][:43] not in str(EnrolmentToken.objects.values().get())
    EnrolmentToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert find_enrolment_token(text) is None
    EnrolmentToken.objects.update(expires_at=None)
    assert revoke_enrolment_token(made, actor="user:ops")
    assert not revoke_enrolment_token(made, actor="user:ops")
    assert find_enrolment_token(text) is None
    assert {event.type for event in Event.objects.all()} == {"EnrolmentTokenCreated", "EnrolmentTokenRevoked"}


def test_tokens_of_another_kind_open_nothing():
    _, text = make_enrolment_token("workshop", actor="user:ops")
    assert find_token(text) is None
    assert find_enrolment_token(factories.token(factories.vehicle())) is None


def test_a_use_is_a_vehicle_and_not_a_request():
    made = token(max_uses=1)
    enrol(made)
    enrol(made)
    with pytest.raises(EnrolmentTokenUsedUp):
        enrol(made, factories.vin())
    assert EnrolmentToken.objects.get().uses == 1
    assert Vehicle.objects.count() == 1


# -- the way in --------------------------------------------------------------------------------------------------------


def test_a_new_vin_waits_and_gets_its_token_once_it_is_accepted():
    fleet = Fleet.objects.create(name="Test bench")
    made, claim = enrol(token(fleet=fleet), name="Heron", software={"vcu": "2.1"}, address="192.0.2.7")
    vehicle = Vehicle.objects.get()
    assert (vehicle.state, vehicle.name, vehicle.fleet) == (VehicleState.PENDING, "Heron", fleet)
    assert enrolment.find_enrolment(made.pk, claim) == made
    assert enrolment.claim(made) is None
    enrolment.accept(vehicle.pk, actor="user:ops", seen=made.pk)
    assert Vehicle.objects.get().state == VehicleState.ACTIVE
    assert find_token(enrolment.claim(made) or "").vehicle == vehicle
    types = [event.type for event in Event.objects.order_by("created_at", "id")]
    assert types == ["EnrolmentTokenCreated", "VehicleEnrolled", "VehicleAccepted", "TokenCreated"]
    assert VIN not in "".join(str(event.payload) for event in Event.objects.all())


def test_the_claim_is_kept_as_a_digest_and_is_of_one_enrolment():
    made, claim = enrol(token())
    other, _ = enrol(token(), factories.vin())
    assert claim.split("_", 3)[3][:43] not in str(Enrolment.objects.values())
    assert enrolment.find_enrolment(other.pk, claim) is None
    assert enrolment.find_enrolment(made.pk, claim[:-1]) is None
    assert enrolment.find_enrolment(made.pk, claim.replace("argus_claim", "argus_v1")) is None


@pytest.mark.parametrize("vin", ["", "SHORT", "WARGUS000R000001O", "wargus000r0000017", "WARGUS000R00000177", "WARGUS000R000001\0"])
def test_what_is_no_vin_leaves_nothing(vin):
    with pytest.raises(enrolment.InvalidVin):
        enrol(token(), vin)
    assert not Vehicle.objects.exists()


def test_a_lost_answer_is_repaired_by_asking_again():
    made, _ = enrol(token())
    vehicle = Vehicle.objects.get()
    enrolment.accept(vehicle.pk, actor="user:ops")
    lost = enrolment.claim(made)
    second = enrolment.claim(made)
    assert find_token(lost or "") is None
    in_use(second)
    with pytest.raises(enrolment.AlreadyClaimed):
        enrolment.claim(made)
    assert vehicle.tokens.filter(revoked_at__isnull=True).count() == 1


def test_a_claim_is_not_repeated_after_a_day_or_when_somebody_revoked_its_token():
    made, _ = enrol(token())
    enrolment.accept(Vehicle.objects.get().pk, actor="user:ops")
    enrolment.claim(made)
    Enrolment.objects.update(claimed_at=timezone.now() - timedelta(days=1, seconds=1))
    with pytest.raises(enrolment.AlreadyClaimed):
        enrolment.claim(made)
    Enrolment.objects.update(claimed_at=timezone.now())
    revoke_token(ApiToken.objects.get(), actor="user:ops")
    with pytest.raises(enrolment.AlreadyClaimed):
        enrolment.claim(made)


def test_only_the_last_enrolment_of_a_waiting_vehicle_counts():
    first, _ = enrol(token())
    second, _ = enrol(token())
    assert Vehicle.objects.count() == 1
    enrolment.accept(Vehicle.objects.get().pk, actor="user:ops")
    with pytest.raises(enrolment.EnrolmentSuperseded):
        enrolment.claim(first)
    assert enrolment.claim(second)


def test_what_came_after_the_look_is_not_accepted_with_it():
    seen, _ = enrol(token())
    vehicle = Vehicle.objects.get()
    enrol(token())
    for decide in (enrolment.accept, enrolment.reject):
        with pytest.raises(enrolment.EnrolledAgain):
            decide(vehicle.pk, actor="user:ops", seen=seen.pk)
    assert Vehicle.objects.get().state == VehicleState.PENDING


def test_a_rejected_vehicle_stays_out_until_it_is_accepted_after_all():
    made, _ = enrol(token())
    vehicle = Vehicle.objects.get()
    enrolment.reject(vehicle.pk, actor="user:ops")
    for attempt in (lambda: enrolment.claim(made), lambda: enrol(token())):
        with pytest.raises(enrolment.EnrolmentRejected):
            attempt()
    with pytest.raises(enrolment.NothingWaits):
        enrolment.reject(vehicle.pk, actor="user:ops")
    with pytest.raises(VehicleNotActive):
        make_token(vehicle, [], label="", actor="user:ops")
    enrolment.accept(vehicle.pk, actor="user:ops")
    assert enrolment.claim(made)


# -- a vehicle that is in ------------------------------------------------------------------------------------------------


def test_an_active_vin_cannot_be_taken_over():
    vehicle = factories.vehicle(vin=VIN)
    old = factories.token(vehicle)
    made, _ = enrol(token(), name="Thief")
    vehicle = Vehicle.objects.get()
    assert (made.state, vehicle.state, vehicle.name) == (EnrolmentState.PENDING, VehicleState.ACTIVE, "")
    assert enrolment.claim(made) is None
    assert find_token(old)
    enrolment.reject(vehicle.pk, actor="user:ops")
    assert Vehicle.objects.get().state == VehicleState.ACTIVE
    assert find_token(old)
    with pytest.raises(enrolment.EnrolmentRejected):
        enrolment.claim(made)


def test_an_accepted_re_enrolment_ends_the_tokens_of_before():
    vehicle = factories.vehicle(vin=VIN)
    old = [factories.token(vehicle) for _ in range(2)]
    made, _ = enrol(token())
    enrolment.accept(vehicle.pk, actor="user:ops")
    assert [find_token(text) for text in old] == [None, None]
    assert find_token(enrolment.claim(made) or "")


def test_nothing_is_decided_twice():
    vehicle = factories.vehicle()
    for decide in (enrolment.accept, enrolment.reject, enrolment.restore):
        with pytest.raises(enrolment.NothingWaits):
            decide(vehicle.pk, actor="user:ops")


def test_a_retired_vehicles_tokens_are_refused_until_it_is_restored():
    vehicle = factories.vehicle(vin=VIN)
    text = factories.token(vehicle)
    enrolment.retire(vehicle.pk, actor="user:ops")
    assert find_token(text) is None
    with pytest.raises(enrolment.NothingWaits):
        enrolment.retire(vehicle.pk, actor="user:ops")
    enrolment.restore(vehicle.pk, actor="user:ops")
    assert find_token(text)
    types = set(Event.objects.values_list("type", flat=True))
    assert {EventType.VEHICLE_RETIRED, EventType.VEHICLE_RESTORED} <= types


def test_a_retired_vehicle_that_enrols_waits_and_comes_back_with_a_new_token_only():
    vehicle = factories.vehicle(vin=VIN)
    old = factories.token(vehicle)
    enrolment.retire(vehicle.pk, actor="user:ops")
    made, _ = enrol(token())
    assert enrolment.claim(made) is None
    enrolment.accept(vehicle.pk, actor="user:ops")
    assert find_token(old) is None
    assert find_token(enrolment.claim(made) or "")


# -- pre-approval --------------------------------------------------------------------------------------------------------


def approve(text: str | bytes, **fields):
    content = text.encode() if isinstance(text, str) else text
    return preapprove(content.splitlines(keepends=True), actor="user:ops", **fields)


def test_an_expected_vin_is_in_at_once():
    fleet, platform = Fleet.objects.create(name="Demo fleet"), factories.platform("J7")
    assert approve(EXAMPLE).added == 2
    made, _ = enrol(token(), name="says of itself")
    vehicle = Vehicle.objects.get()
    assert (vehicle.state, vehicle.name, vehicle.fleet, vehicle.platform) == (VehicleState.ACTIVE, "Heron", fleet, platform)
    assert made.state == EnrolmentState.ACCEPTED
    assert not Preapproval.objects.filter(vin=VIN).exists()
    in_use(enrolment.claim(made))


def test_an_expected_vehicle_that_lost_the_answer_is_let_in_again_but_not_once_its_token_is_in_use():
    approve(f"vin\n{VIN}\n")
    one = token()
    first, _ = enrol(one)
    second, _ = enrol(one)
    with pytest.raises(enrolment.EnrolmentSuperseded):
        enrolment.claim(first)
    lost = enrolment.claim(second)
    third, _ = enrol(one)
    assert find_token(lost or "") is None
    in_use(enrolment.claim(third))
    fourth, _ = enrol(one)
    assert fourth.state == EnrolmentState.PENDING


def test_an_expected_vehicle_is_let_in_again_only_with_the_token_it_came_with():
    approve(f"vin\n{VIN}\n")
    enrol(token())
    stranger, _ = enrol(token())
    assert stranger.state == EnrolmentState.PENDING


def test_a_pre_approval_does_not_open_a_vehicle_that_is_in_already():
    factories.vehicle(vin=VIN)
    Preapproval.objects.create(vin=VIN, approved_by="user:ops")
    assert enrol(token())[0].state == EnrolmentState.PENDING


def test_a_table_accepts_what_waits_and_leaves_alone_what_is_in():
    active, waiting = factories.vehicle(), factories.enrolled()
    done = approve(f"vin;name\n{active.vin};x\n{waiting.vin};Owl\n{VIN};\n")
    assert (done.added, done.changed, done.accepted, done.active) == (1, 0, 1, 1)
    assert [Vehicle.objects.get(pk=each.pk).name for each in (active, waiting)] == ["", "Owl"]
    assert Vehicle.objects.get(pk=waiting.pk).state == VehicleState.ACTIVE
    again = approve(f"{VIN}\n".lower().encode("utf-8-sig"))
    assert (again.added, again.changed) == (0, 1)
    assert Event.objects.filter(type=EventType.VEHICLES_PREAPPROVED).count() == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The first line must name the columns"),
        ("vin\n", "The table has no vehicle."),
        ("name\nHeron\n", "The first line must name the columns"),
        ("vin,colour\n", "There is no column 'colour'"),
        (f"vin,name,fleet\n{VIN},x,Nowhere\n", "Line 2: there is no fleet 'Nowhere'."),
        (f"vin\n{VIN}\nWARGUS\n", "Line 3: 'WARGUS' is no VIN"),
        (f"{VIN}\n\n{VIN}\n", f"Line 3: {VIN} stands in line 1 already."),
        (f"vin,name\n{VIN},{'x' * 101}\n", "Line 2: the name has more than 100 characters"),
        (f'vin,name\n{VIN},"{"x" * 200_000}"\n', "Line 2: field larger than field limit"),
    ],
)
def test_a_wrong_table_is_refused_by_line_and_nothing_of_it_is_taken(text, said):
    with pytest.raises(BadVinTable) as refused:
        approve(f"WARGUS00070000025\n{text}" if text.startswith(VIN) else text)
    expected = said if not text.startswith(VIN) else said.replace("Line 3", "Line 4").replace("line 1", "line 2")
    assert expected in " ".join([refused.value.detail, *refused.value.lines])
    assert not Preapproval.objects.exists()
    assert not Event.objects.exists()


def test_up_to_twenty_wrong_lines_are_named():
    with pytest.raises(BadVinTable) as refused:
        approve("vin\n" + "x\n" * 100)
    assert len(refused.value.lines) == 21


def test_what_somebody_turned_away_is_not_undone_by_a_table():
    vehicle = factories.enrolled()
    enrolment.reject(vehicle.pk, actor="user:ops")
    with pytest.raises(BadVinTable, match=f"Line 3: {vehicle.vin} was rejected"):
        approve(f"vin\n{VIN}\n{vehicle.vin}\n")
    assert not Preapproval.objects.exists()


def test_a_spreadsheet_of_windows_is_read():
    approve(f"vin;name\r\n{VIN};Kühlwagen\r\n".encode("cp1252"))
    assert Preapproval.objects.get().name == "Kühlwagen"


def test_ten_thousand_vins_cost_a_bounded_number_of_statements(django_assert_max_num_queries):
    table = "vin\n" + "".join(f"{factories.vin()}\n" for _ in range(10_000))
    with django_assert_max_num_queries(120):
        assert approve(table).added == 10_000


# -- side by side --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_vehicle_and_one_use():
    of, problems = token(max_uses=1), []

    def run() -> None:
        try:
            enrol(of)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert Vehicle.objects.count() == 1
    assert Enrolment.objects.filter(state=EnrolmentState.PENDING).count() == 1
    assert EnrolmentToken.objects.get().uses == 1


@pytest.mark.django_db(transaction=True)
def test_many_claims_at_once_leave_one_live_token():
    made, _ = enrol(token())
    vehicle = Vehicle.objects.get()
    enrolment.accept(vehicle.pk, actor="user:ops")
    texts: list[str | None] = []

    def run() -> None:
        try:
            texts.append(enrolment.claim(made))
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 8
    assert len([text for text in texts if find_token(text or "")]) == 1
