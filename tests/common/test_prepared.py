"""A prepared query asks what the query set asks, and builds its SQL once."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import CharField, UUIDField
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from batches.models import Batch
from common.clock import EPOCH, from_now
from common.prepared import Param, Prepared, PreparedInsert, PreparedUpdate
from tests import factories
from vehicles.models import Vehicle


@pytest.fixture
def built() -> list[None]:
    return []


@pytest.fixture
def by_vin(built):
    def build():
        built.append(None)
        return Vehicle.objects.select_related("fleet").filter(vin=Param("vin", CharField())).order_by("pk")

    return Prepared(build)


@pytest.mark.django_db
def test_it_gives_the_rows_of_the_query_set_for_each_value(by_vin, built):
    one, other = factories.vehicle(), factories.vehicle()
    for vehicle in (one, other, one):
        (found,) = by_vin(vin=vehicle.vin)
        assert found == vehicle
        assert (found.name, found.created_at) == (vehicle.name, vehicle.created_at)
    assert by_vin(vin="nobody") == []
    assert by_vin.first(vin="nobody") is None
    assert len(built) == 1


@pytest.mark.django_db
def test_it_runs_the_statement_that_the_query_set_runs(by_vin):
    vehicle = factories.vehicle()
    with CaptureQueriesContext(connection) as ran:
        by_vin(vin=vehicle.vin)
        list(Vehicle.objects.select_related("fleet").filter(vin=vehicle.vin).order_by("pk"))
    prepared, plain = (query["sql"].replace("(", "").replace(")", "") for query in ran)
    assert prepared == plain


@pytest.mark.django_db
def test_a_row_that_changed_is_seen_at_the_next_call(by_vin):
    vehicle = factories.vehicle()
    assert by_vin.first(vin=vehicle.vin).name == vehicle.name
    Vehicle.objects.filter(pk=vehicle.pk).update(name="Heron")
    assert by_vin.first(vin=vehicle.vin).name == "Heron"


@pytest.mark.django_db
def test_keys_are_converted_both_ways():
    vehicle = factories.vehicle()
    batch = Batch.objects.create(vehicle=vehicle)
    pairs = Prepared(lambda: Batch.objects.filter(vehicle_id=Param("vehicle", UUIDField())).values_list("pk", "vehicle_id"))
    assert pairs(vehicle=vehicle.pk) == [(batch.pk, vehicle.pk)]


@pytest.mark.django_db
def test_a_value_that_is_missing_is_an_error(by_vin):
    with pytest.raises(KeyError):
        by_vin()


@pytest.mark.django_db(transaction=True)
def test_each_thread_asks_on_its_own_connection(by_vin):
    vehicle = factories.vehicle()
    assert by_vin.first(vin=vehicle.vin) == vehicle
    found: list[Vehicle | None] = []

    def ask() -> None:
        found.append(by_vin.first(vin=vehicle.vin))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [vehicle] * 4


insert = PreparedInsert(Batch)


@pytest.mark.django_db
def test_an_update_changes_the_rows_of_its_filter_and_says_how_many():
    one, other = factories.vehicle(), factories.vehicle()
    rename = PreparedUpdate(
        lambda: Vehicle.objects.filter(pk=Param("pk", UUIDField()), name__in=[one.name, "Heron"]),
        name=Param("name", CharField()),
        clock_offset_ms=None,
        last_contact_at=Now(),
    )
    assert [rename(pk=one.pk, name=name) for name in ("Heron", "Egret", "Stork")] == [1, 1, 0]
    one, other = (Vehicle.objects.get(pk=vehicle.pk) for vehicle in (one, other))
    assert one.name == "Egret"
    assert abs(timezone.now() - one.last_contact_at) < timedelta(minutes=1)
    assert other.last_contact_at is None


@pytest.mark.django_db
def test_an_inserted_row_is_as_a_saved_one():
    vehicle = factories.vehicle()
    saved = Batch.objects.create(vehicle=vehicle, software={"a": [1, None]})
    inserted = Batch(vehicle=vehicle, software={"a": [1, None]})
    insert(inserted)
    assert not inserted._state.adding
    told = [{**Batch.objects.filter(pk=batch.pk).values().get(), "id": None} for batch in (saved, inserted)]
    times = {name for name, value in told[0].items() if isinstance(value, datetime)}
    assert [told[0][name] for name in told[0].keys() - times] == [told[1][name] for name in told[0].keys() - times]
    assert all(abs(told[0][name] - told[1][name]) < timedelta(minutes=1) for name in times)


@pytest.mark.django_db
def test_the_database_writes_what_it_knows_better_than_the_row():
    batch = Batch(vehicle=factories.vehicle(), created_at=EPOCH, state_changed_at=EPOCH)
    PreparedInsert(Batch, uploaded_at=Now(), state_changed_at=from_now(timedelta(hours=2)))(batch)
    found = Batch.objects.get()
    assert abs(found.uploaded_at + timedelta(hours=2) - found.state_changed_at) < timedelta(milliseconds=1)
    assert abs(timezone.now() - found.uploaded_at) < timedelta(minutes=1)


@pytest.mark.django_db
def test_a_row_is_inserted_once():
    batch = Batch(vehicle=factories.vehicle())
    insert(batch)
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(batch)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_whose_insert_failed_is_rolled_back_although_the_error_was_caught():
    batch = Batch(vehicle=factories.vehicle())
    insert(batch)
    with transaction.atomic():
        Batch.objects.filter(pk=batch.pk).update(reason="changed")
        with suppress(IntegrityError):
            insert(batch)
    assert Batch.objects.get().reason == ""
