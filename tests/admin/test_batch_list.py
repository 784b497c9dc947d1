"""The batch list: what a row says, what filters and search find, how pages follow each other, what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from batches.admin import queries
from batches.admin.stages import stages
from batches.models import Batch, BatchState
from events.models import EventType
from events.record import record_act
from tests import factories
from tests.admin.pages import read
from vehicles.models import Fleet

LIST = "/admin/batches/batch/"
MOST_QUERIES = 9


def in_state(state: str, **fields) -> Batch:
    """A batch that stands in this state, whatever led there."""
    if state in {"completed", "failed"}:
        fields.setdefault("completed_at", timezone.now())
    if state == "failed":
        fields.setdefault("failed_stage", "scattering")
    fields.setdefault("total_files", 4)
    return Batch.objects.create(vehicle=fields.pop("vehicle", None) or factories.vehicle(), state=state, **fields)


def listed(client, **parameters) -> list[str]:
    """Ids of the batches that a list shows, in its order."""
    response = client.get(LIST, parameters)
    read(response)
    return [str(batch.pk) for batch in response.context["cl"].result_list]


def ids(*batches: Batch) -> list[str]:
    return [str(batch.pk) for batch in batches]


def test_a_row_says_what_is_known(support):
    vehicle = factories.vehicle(name="Kestrel", vin="1A9AD7SH9SA078024")
    in_state(
        "completed",
        vehicle=vehicle,
        processed_files=3,
        failed_files=1,
        total_bytes=5_600_000,
        worst_severity="critical",
        finding_count=7,
        recorded_from=datetime(2025, 11, 20, 10, 2, tzinfo=UTC),
        recorded_to=datetime(2025, 11, 20, 10, 31, tzinfo=UTC),
        clock_flags=["backward"],
    )
    words = read(support.get(LIST)).words
    for expected in ("completed", "with issues", "Kestrel", "…078024", "demo", "2025-11-20 10:02 – 10:31", "clock steps back"):
        assert expected in words
    for expected in ("3 of 4", "1 failed", "5.6 MB", "critical"):
        assert expected in words
    assert vehicle.vin not in words


@pytest.mark.parametrize(
    ("state", "fields", "expected"),
    [
        ("pending", {}, ["active", "waiting", "waiting", "waiting"]),
        ("uploaded", {}, ["done", "queued", "waiting", "waiting"]),
        ("scattering", {"processed_files": 1}, ["done", "active", "waiting", "waiting"]),
        ("gathered", {"processed_files": 4}, ["done", "done", "done", "queued"]),
        ("completed", {"processed_files": 4}, ["done", "done", "done", "done"]),
        ("completed", {"processed_files": 3, "failed_files": 1}, ["done", "issues", "done", "done"]),
        ("failed", {"failed_stage": "scattering"}, ["done", "failed", "waiting", "waiting"]),
        ("failed", {"failed_stage": "diagnosing"}, ["done", "done", "done", "failed"]),
        ("cancelled", {}, ["done", "stopped", "waiting", "waiting"]),
        ("abandoned", {}, ["stopped", "waiting", "waiting", "waiting"]),
    ],
)
def test_the_stage_bar_shows_where_a_batch_stands(state, fields, expected):
    if state == "failed":
        fields = {"total_files": 4, **fields}
    assert [stage.status for stage in stages(Batch(state=state, **{"total_files": 4, **fields}))] == expected


def test_every_state_has_a_stage_bar():
    for state in BatchState.values:
        failed = {"failed_stage": "gathering"} if state == "failed" else {}
        assert len(stages(Batch(state=state, total_files=1, **failed))) == 4


def test_filters_find_what_they_name(support):
    fleet = Fleet.objects.create(name="North")
    other = factories.platform("other")
    failed = in_state("failed")
    issues = in_state("completed", processed_files=3, failed_files=1, worst_severity="error")
    fine = in_state("completed", processed_files=4, worst_severity="ok", vehicle=factories.vehicle(fleet=fleet))
    running = in_state("scattering", vehicle=factories.vehicle(platform=other))
    undated = in_state("pending", clock_flags=["1970"])
    assert listed(support, state="failed") == ids(failed)
    assert listed(support, state="issues") == ids(issues)
    assert listed(support, state="running") == ids(running)
    assert listed(support, state="completed") == ids(fine, issues)
    assert listed(support, severity="bad") == ids(issues)
    assert listed(support, severity="ok") == ids(fine)
    assert listed(support, fleet=str(fleet.pk)) == ids(fine)
    assert listed(support, platform=str(other.pk)) == ids(running)
    assert listed(support, clock="problem") == ids(undated)
    assert listed(support, vehicle=str(fine.vehicle_id)) == ids(fine)
    assert listed(support, state="completed", severity="error") == ids(issues)


@pytest.mark.parametrize(
    "nonsense", [{"platform": "x"}, {"fleet": "9" * 18}, {"vehicle": "nobody"}, {"received": "tomorrow"}, {"state": "lost"}]
)
def test_a_filter_value_that_means_nothing_finds_nothing(support, nonsense):
    in_state("completed")
    assert listed(support, **nonsense) == []


def test_a_day_finds_what_was_received_in_it(support):
    today, before = in_state("completed"), in_state("completed")
    Batch.objects.filter(pk=before.pk).update(created_at=datetime(2025, 3, 1, 23, 59, 59, tzinfo=UTC))
    assert listed(support, received="2025-03-01") == ids(before)
    assert listed(support, received="2025-03-02") == []
    assert listed(support, received="1d") == ids(today)


def test_search_finds_vin_parts_names_and_beginnings_of_ids(support):
    kestrel = in_state("completed", vehicle=factories.vehicle(name="Kestrel", vin="1A9AD7SH9SA078024"))
    heron = in_state("completed", vehicle=factories.vehicle(name="Heron", vin="1A9AD7SHXTA078017"))
    assert listed(support, q="078024") == ids(kestrel)
    assert listed(support, q="1a9ad7") == ids(heron, kestrel)
    assert listed(support, q="hero") == ids(heron)
    assert listed(support, q=str(kestrel.pk)) == ids(kestrel)
    assert listed(support, q=str(heron.pk)[:13]) == ids(heron)
    assert listed(support, q="1A9AD7 kestrel") == ids(kestrel)
    assert listed(support, q="kestrel heron") == []
    assert listed(support, q="' OR 1=1 --") == []


def test_search_resolves_vehicles_and_never_joins_them_into_a_pattern(support):
    in_state("completed")
    with CaptureQueriesContext(connection) as ran:
        listed(support, q="W12")
    patterns = [query["sql"] for query in ran if "LIKE" in query["sql"]]
    assert patterns
    assert not [sql for sql in patterns if "batches_batch" in sql]


def test_pages_follow_each_other_without_gap_or_repeat_even_at_one_moment(support, monkeypatch):
    from batches.admin.batches import BatchAdmin

    monkeypatch.setattr(BatchAdmin, "list_per_page", 3)
    made = [in_state("completed") for _ in range(10)]
    # Seven of one microsecond: the id alone decides.
    Batch.objects.filter(pk__in=[batch.pk for batch in made[:7]]).update(created_at=timezone.now() - timedelta(hours=1))
    expected = ids(*Batch.objects.order_by("-created_at", "-id"))
    response, found, pages = support.get(LIST), [], []
    while True:
        changelist = response.context["cl"]
        pages.append(ids(*changelist.result_list))
        found += pages[-1]
        if not changelist.older_link:
            break
        response = support.get(LIST + changelist.older_link)
    assert found == expected
    assert len(pages) == 4
    for page in reversed(pages[:-1]):
        response = support.get(LIST + response.context["cl"].newer_link)
        assert ids(*response.context["cl"].result_list) == page
    assert response.context["cl"].newer_link == ""


def test_filters_leave_the_cursor_behind_and_pages_keep_the_filters(support, monkeypatch):
    from batches.admin.batches import BatchAdmin

    monkeypatch.setattr(BatchAdmin, "list_per_page", 2)
    for _ in range(5):
        in_state("failed")
        in_state("completed")
    first = support.get(LIST, {"state": "failed"})
    second = support.get(LIST + first.context["cl"].older_link)
    assert {batch.state for batch in second.context["cl"].result_list} == {"failed"}
    filters = [link for link in read(second).links if "severity=" in link]
    assert filters
    assert not [link for link in filters if "older=" in link or "newer=" in link]


@pytest.mark.parametrize("cursor", ["x", "20250101T000000000000-zz", "", "-", "2025"])
def test_a_broken_cursor_leads_back_to_the_list(support, cursor):
    in_state("completed")
    response = support.get(LIST, {"older": cursor}, follow=True)
    assert response.status_code == 200
    assert "Batches" in words_of(response)


def words_of(response) -> str:
    return read(response).words


@pytest.mark.parametrize("parameters", [{}, {"state": "failed"}, {"state": "stuck"}, {"q": "W12"}, {"platform": "1"}, {"received": "7d"}])
def test_the_list_costs_the_same_few_queries_for_any_number_of_rows(support, parameters):
    for _ in range(2):
        in_state("failed", failed_files=1)
    support.get(LIST)
    with CaptureQueriesContext(connection) as few:
        support.get(LIST, parameters)
    for _ in range(60):
        in_state("failed", failed_files=1)
    with CaptureQueriesContext(connection) as many:
        support.get(LIST, parameters)
    assert len(many) == len(few) <= MOST_QUERIES


def test_the_list_counts_nothing_and_loads_no_manifest(support):
    in_state("completed", manifest=[{"name": "a"}])
    with CaptureQueriesContext(connection) as ran:
        support.get(LIST)
    over_batches = [query["sql"] for query in ran if 'FROM "batches_batch"' in query["sql"]]
    assert len(over_batches) == 1
    assert "COUNT(" not in over_batches[0]
    assert "manifest" not in over_batches[0]


def test_no_progress_means_that_nothing_was_heard_for_longer_than_a_file_may_take(support):
    long_ago = timezone.now() - queries.STUCK_AFTER - timedelta(minutes=1)
    stuck = in_state("scattering", state_changed_at=long_ago)
    ended = in_state("completed", state_changed_at=long_ago)
    fresh = in_state("scattering")
    settling = in_state("scattering", state_changed_at=long_ago, event_seq=1)
    settling.events.create(seq=1, type=EventType.FILE_PARSED)
    record_act(EventType.TOKEN_CREATED, {}, actor="test")
    assert listed(support, state="stuck") == ids(stuck)
    assert queries.stuck_count() == 1
    assert {str(ended.pk), str(fresh.pk)} <= set(listed(support))


def test_an_empty_list_says_how_to_begin(support):
    page = read(support.get(LIST))
    assert "No batch has come in yet" in page.words
    assert "/admin/#upload" in page.links


def test_a_search_without_result_leads_back_to_everything(support):
    in_state("completed")
    page = read(support.get(LIST, {"q": "nothing"}))
    assert "No batch fits" in page.words
    assert "?" in page.links
