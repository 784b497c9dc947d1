"""The overview, the sidebar, and the lists of files, findings and events."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from batches.models import Batch
from diagnosis.models import Finding
from events.models import Event, EventType
from events.record import record_act
from files.models import File
from tests import factories
from tests.admin.pages import read
from vehicles.models import Vehicle

MOST_QUERIES = 24


def test_an_empty_installation_says_what_to_do_next(ops):
    page = read(ops.get("/admin/"))
    for words in (
        "Add a platform",
        "Upload its signal database",
        "Add a vehicle",
        "Make a token",
        "curl -sS -T drive.blf http://testserver/api/v1/batches",
    ):
        assert words in page.words
    assert "/admin/vehicles/platform/add/" in page.links


def test_numbers_lead_to_lists_of_as_many_batches(ops, finished):
    long_ago = timezone.now() - timedelta(hours=2)
    for state, fields in {
        "pending": {},
        "scattering": {"total_files": 1, "state_changed_at": long_ago},
        "gathering": {"total_files": 1},
        "failed": {"failed_stage": "scattering", "completed_at": timezone.now()},
    }.items():
        Batch.objects.create(vehicle=factories.vehicle(), state=state, **fields)
    response = ops.get("/admin/")
    read(response)
    cards = {card.label: card for card in response.context["cards"]}
    assert {label: card.number for label, card in cards.items()} == {
        "Uploading": 1,
        "Running": 2,
        "No progress": 1,
        "Failed": 1,
        "With issues": 1,
        "Completed": 1,
    }
    for card in cards.values():
        assert len(ops.get(card.link).context["cl"].result_list) == card.number, card.label
    today = response.context["bars"][-1]
    assert today["number"] == 5
    assert len(ops.get(today["link"]).context["cl"].result_list) == 5


def test_serious_findings_troubled_and_silent_vehicles_are_named(ops, finished):
    silent = factories.vehicle(name="Owl")
    Vehicle.objects.filter(pk=silent.pk).update(last_contact_at=timezone.now() - timedelta(days=9))
    page = read(ops.get("/admin/"))
    assert "broken.blf could not be read." in page.words
    assert f"/admin/batches/batch/{finished.pk}/change/" in page.links
    assert f"/admin/vehicles/vehicle/{silent.pk}/change/" in page.links
    (link,) = [link for link in page.links if f"vehicle={finished.vehicle_id}" in link]
    assert [batch.pk for batch in ops.get(link).context["cl"].result_list] == [finished.pk]
    assert "unknown_format" in page.words


def test_the_overview_costs_a_bounded_number_of_queries(ops, finished):
    ops.get("/admin/")
    with CaptureQueriesContext(connection) as few:
        ops.get("/admin/")
    for _ in range(20):
        batch = Batch.objects.create(
            vehicle=factories.vehicle(), state="completed", completed_at=timezone.now(), worst_severity="critical", total_files=1
        )
        Finding.objects.create(batch=batch, rule="x", rule_version="1", severity="critical", sentence="s")
    with CaptureQueriesContext(connection) as many:
        ops.get("/admin/")
    assert len(many) == len(few) <= MOST_QUERIES


def test_the_sidebar_is_by_task_and_hides_the_queue(root):
    sections = root.get("/admin/").context["available_apps"]
    assert [section["name"] for section in sections] == ["Work", "Fleet", "Decoding and rules", "Access and audit"]
    assert admin.site.is_registered(User)
    assert admin.site.is_registered(Group)
    assert not [model for model in admin.site._registry if model._meta.app_label == "django_q"]
    assert root.get("/admin/django_q/ormq/").status_code == 404


def test_support_sees_what_it_may(support):
    names = {model["object_name"] for section in support.get("/admin/").context["available_apps"] for model in section["models"]}
    assert names == {"Batch", "Finding", "File", "Vehicle", "Fleet", "Platform", "SignalDatabase", "KnownCode", "SignalLimit", "Event"}


def test_files_are_found_by_cause_and_state(support, finished):
    replaced = factories.file(finished, name="old.log", state="failed", error_class="input", error_code="truncated", error="Too short.")
    File.objects.filter(pk=replaced.pk).update(superseded_by=File.objects.get(batch=finished, name="drive.log"))

    def names(**query) -> set[str]:
        response = support.get("/admin/files/file/", query)
        read(response)
        return {file.name for file in response.context["cl"].result_list}

    assert names() == {"drive.log", "broken.blf"}
    assert names(state="failed") == {"broken.blf"}
    assert names(code="unknown_format") == {"broken.blf"}
    assert names(code="truncated") == set()
    assert names(state="superseded") == {"old.log"}
    assert names(batch=str(finished.pk)) == {"drive.log", "broken.blf"}
    assert names(batch="nonsense") == set()


def test_findings_are_filtered_and_lead_to_their_batch(support, finished):
    Finding.objects.create(batch=finished, rule="fault_codes", rule_version="1", severity="info", sentence="P0301 pending.", code="P0301")
    assert "P0301 pending." in read(support.get("/admin/diagnosis/finding/", {"code": "P0301"})).words
    assert "P0301 pending." not in read(support.get("/admin/diagnosis/finding/", {"severity": "error"})).words
    page = read(support.get("/admin/diagnosis/finding/", {"rule": "damaged"}))
    assert f"/admin/batches/batch/{finished.pk}/change/#findings" in page.links


def test_events_are_listed_newest_first_by_type_and_batch(support, finished):
    record_act(EventType.TOKEN_CREATED, {"key_id": "abc"}, actor="user:otto")
    response = support.get("/admin/events/event/")
    read(response)
    times = [event.created_at for event in response.context["cl"].result_list]
    assert times == sorted(times, reverse=True)
    assert len(support.get("/admin/events/event/", {"type": "TokenCreated"}).context["cl"].result_list) == 1
    assert {event.batch_id for event in support.get("/admin/events/event/", {"batch": str(finished.pk)}).context["cl"].result_list} == {
        finished.pk
    }
    assert "user:otto" in read(support.get(f"/admin/events/event/{Event.objects.get(type='TokenCreated').pk}/change/")).words


@pytest.mark.parametrize("path", ["files/file", "events/event", "diagnosis/finding", "batches/batch"])
def test_lists_without_end_are_never_counted(support, finished, path):
    support.get(f"/admin/{path}/")
    with CaptureQueriesContext(connection) as ran:
        support.get(f"/admin/{path}/")
    assert not [query["sql"] for query in ran if "COUNT(" in query["sql"].upper()]
    assert len(ran) <= 9


def test_an_unknown_page_is_a_page(root):
    response = root.get("/nothing/here")
    assert response.status_code == 404
    assert "There is no such page" in response.content.decode()
    assert urlsplit("/admin/").path in response.content.decode()
