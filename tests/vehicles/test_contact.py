"""Each contact is noted, with how far the vehicle's clock is off, at most once a minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.http import http_date

from tests import factories
from vehicles.contact import note_contact, told_time_ms
from vehicles.models import Vehicle

MOMENT = datetime(2026, 11, 24, 2, 30, 15, 250_000, tzinfo=UTC)
MS = int(MOMENT.timestamp() * 1000)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, None),
        ({"HTTP_X_ARGUS_TIME": str(MS)}, MS),
        ({"HTTP_X_ARGUS_TIME": "2026-11-24T02:30:15.250Z"}, MS),
        ({"HTTP_X_ARGUS_TIME": "2026-11-24T03:30:15.250+01:00"}, MS),
        ({"HTTP_X_ARGUS_TIME": "-1"}, -1),
        ({"HTTP_DATE": "Tue, 24 Nov 2026 02:30:15 GMT"}, MS - 250),
        ({"HTTP_X_ARGUS_TIME": str(MS), "HTTP_DATE": "Thu, 01 Jan 1970 00:00:00 GMT"}, MS),
        ({"HTTP_X_ARGUS_TIME": "2026-11-24T02:30:15"}, None),
        ({"HTTP_X_ARGUS_TIME": "2026-13-40T99:99:99Z"}, None),
        ({"HTTP_X_ARGUS_TIME": "9" * 16}, None),
        ({"HTTP_X_ARGUS_TIME": "soon"}, None),
        ({"HTTP_DATE": "yesterday"}, None),
    ],
)
def test_the_vehicles_own_time_is_read(headers, told):
    assert told_time_ms(headers) == told


@pytest.mark.django_db
@pytest.mark.parametrize(("ahead_s", "off"), [(0, False), (-59, False), (90, True), (-90, True), (-1_750_000_000, True)])
def test_the_offset_is_kept_and_a_minute_is_too_much(ahead_s, off):
    vehicle = factories.vehicle()
    note_contact(vehicle, {"HTTP_X_ARGUS_TIME": str(int((timezone.now().timestamp() + ahead_s) * 1000))})
    noted = Vehicle.objects.get()
    assert abs(noted.clock_offset_ms - ahead_s * 1000) < 500
    assert noted.clock_measured_at == noted.last_contact_at
    assert noted.clock_is_off is off


@pytest.mark.django_db
def test_a_contact_without_a_time_leaves_the_last_measurement():
    vehicle = factories.vehicle()
    before = timezone.now() - timedelta(hours=1)
    Vehicle.objects.update(clock_offset_ms=5, clock_measured_at=before, last_contact_at=before)
    note_contact(Vehicle.objects.get(), {})
    noted = Vehicle.objects.get(pk=vehicle.pk)
    assert (noted.clock_offset_ms, noted.clock_measured_at) == (5, before)
    assert noted.last_contact_at > before


@pytest.mark.django_db
def test_a_minute_has_one_write_of_a_vehicle_whatever_it_sends(django_assert_num_queries):
    vehicle = factories.vehicle()
    stale = Vehicle.objects.get()
    note_contact(vehicle, {})
    noted = Vehicle.objects.get()
    with django_assert_num_queries(0):
        note_contact(noted, {"HTTP_X_ARGUS_TIME": "1"})
    note_contact(stale, {"HTTP_X_ARGUS_TIME": "1"})  # a request that began before the first one had written
    assert Vehicle.objects.get().clock_offset_ms is None
    assert Vehicle.objects.get().last_contact_at == noted.last_contact_at


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["X-Argus-Time", "Date"])
def test_every_call_is_a_contact(header):
    vehicle = factories.vehicle()
    past = timezone.now() - timedelta(minutes=5)
    value = past.isoformat() if header == "X-Argus-Time" else http_date(past.timestamp())
    answer = Client().get("/api/v1/batches", headers={"Authorization": f"Bearer {factories.token(vehicle)}", header: value})
    assert answer.status_code == 200
    noted = Vehicle.objects.get()
    assert noted.last_contact_at is not None
    assert -302_000 < noted.clock_offset_ms < -299_000
