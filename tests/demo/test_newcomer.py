"""One vehicle of the demo fleet waits for a decision."""

from __future__ import annotations

import pytest

from argus_site import demo_data
from vehicles.enrolment import reject, retire
from vehicles.models import EnrolmentToken, Vehicle
from vehicles.vin import vin_warning


@pytest.mark.django_db
def test_a_vehicle_waits_and_what_was_decided_stays(tmp_path):
    demo_data.vehicles(tmp_path / "tokens.json")
    waiting = Vehicle.objects.get(state="pending")
    assert (waiting.name, vin_warning(waiting.vin)) == ("Sparrow", "")
    reject(waiting.pk, actor="user:ops")
    demo_data.vehicles(tmp_path / "tokens.json")
    assert not Vehicle.objects.filter(state="pending").exists()
    assert EnrolmentToken.objects.count() == 1


@pytest.mark.django_db
def test_a_demo_vehicle_that_was_retired_keeps_nothing_from_starting(tmp_path):
    demo_data.vehicles(tmp_path / "tokens.json")
    retire(Vehicle.objects.get(name="Heron").pk, actor="user:ops")
    demo_data.vehicles(tmp_path / "tokens.json")
    assert Vehicle.objects.get(name="Heron").state == "retired"
