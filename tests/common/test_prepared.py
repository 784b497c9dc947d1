"""A prepared query asks what the query set asks, and builds its SQL once."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.db.models import CharField, UUIDField
from django.test.utils import CaptureQueriesContext

from batches.models import Batch
from common.prepared import Param, Prepared
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
