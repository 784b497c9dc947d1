"""The batch page: report, files, signals, history, notes; and what it does while results are missing or unreadable."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from batches import notes
from batches.models import Batch, Note
from common.errors import InvalidField
from diagnosis.models import Finding
from events.models import Event, EventType
from files import storage
from files.models import File
from tests import factories
from tests.admin.pages import logged_in, read

MOST_QUERIES = 22


def address(batch: Batch, below: str = "change/") -> str:
    return f"/admin/batches/batch/{batch.pk}/{below}"


def test_the_page_tells_the_whole_story(ops, diagnosed):
    page = read(ops.get(address(diagnosed)))
    assert (diagnosed.state, diagnosed.processed_files, diagnosed.failed_files) == ("completed", 2, 1)
    for words in ("completed", "with issues", "Kestrel", diagnosed.vehicle.vin, "2 read", "1 failed", "2023-11-14 22:13"):
        assert words in page.words
    assert "broken.blf" in page.words
    assert "unknown_format" in page.words
    for words in ("Temperature", "degC", "Counter", "1,800"):
        assert words in page.words
    assert "1 of 3 files could not be read" in page.words
    for words in ("BatchCreated", "uploaded → scattering", "drive_0.log was read", "broken.blf could not be read"):
        assert words in page.words


def test_findings_link_into_the_plot(ops, diagnosed):
    Finding.objects.filter(batch=diagnosed).delete()
    stream = "Engine"
    Finding.objects.create(
        batch=diagnosed,
        rule="limits",
        rule_version="1",
        severity="critical",
        sentence="Too hot.",
        stream=stream,
        signal="Temperature",
        from_ns=1_700_000_001_000_000_000,
        to_ns=1_700_000_002_000_000_000,
    )
    page = read(ops.get(address(diagnosed)))
    (link,) = [link for link in page.links if link.endswith("#plot") and "signal=" in link]
    assert link == "?signal=Engine%2FTemperature&from=1699999996000000000&to=1700000007000000000#plot"
    response = ops.get(address(diagnosed) + link)
    config = json.loads(response.context["plot"])
    assert (config["chosen"], config["from"], config["to"]) == (["Engine/Temperature"], "1699999996000000000", "1700000007000000000")
    assert config["marks"][0]["severity"] == "critical"


def test_the_plot_begins_with_the_signal_of_the_worst_finding(ops, diagnosed):
    Finding.objects.filter(batch=diagnosed).delete()
    for severity, signal in (("warning", "Counter"), ("error", "Temperature"), ("critical", "")):
        Finding.objects.create(batch=diagnosed, rule="x", rule_version="1", severity=severity, sentence="s", stream="Engine", signal=signal)
    assert ops.get(address(diagnosed)).context["chosen"] == ["Engine/Temperature"]


def test_the_page_costs_a_bounded_number_of_queries(ops, diagnosed):
    ops.get(address(diagnosed))
    with CaptureQueriesContext(connection) as few:
        ops.get(address(diagnosed))
    for number in range(30):
        factories.file(diagnosed, name=f"more-{number}.log")
        Finding.objects.create(batch=diagnosed, rule="x", rule_version="1", severity="info", sentence="s", file=File.objects.first())
        notes.add_note(diagnosed.pk, factories.user(f"person{number}"), "seen")
    with CaptureQueriesContext(connection) as many:
        ops.get(address(diagnosed))
    assert len(many) == len(few) <= MOST_QUERIES


def test_results_that_cannot_be_read_leave_the_rest_of_the_page(ops, diagnosed):
    storage.write_bytes(f"{diagnosed.result_key}/statistics.json", b"{")
    page = read(ops.get(address(diagnosed)))
    assert "stored statistics cannot be read" in page.words
    assert "broken.blf" in page.words
    storage.delete(f"{diagnosed.result_key}/statistics.json")
    page = read(ops.get(address(diagnosed)))
    assert "broken.blf" in page.words


def test_a_batch_without_results_has_a_page_in_every_state(ops):
    for state, fields in {
        "pending": {},
        "uploaded": {},
        "scattering": {},
        "scattered": {},
        "gathering": {},
        "gathered": {},
        "diagnosing": {},
        "completed": {"completed_at": timezone.now()},
        "failed": {"failed_stage": "gathering", "error_code": "gather_error", "error": "It broke.", "completed_at": timezone.now()},
        "abandoned": {},
        "cancelled": {},
    }.items():
        batch = Batch.objects.create(vehicle=factories.vehicle(), state=state, total_files=1, **fields)
        page = read(ops.get(address(batch)))
        assert state in page.words
        answer = ops.get(address(batch, "progress/")).json()
        assert answer["state"] == state
        assert answer["ended"] == (state in {"completed", "failed", "abandoned", "cancelled"})
    assert "It broke." in read(ops.get(address(Batch.objects.get(state="failed")))).words


def test_only_a_running_batch_asks_for_news(ops, finished):
    running = Batch.objects.create(vehicle=factories.vehicle(), state="gathering", total_files=1)
    assert b"progress.js" in ops.get(address(running)).content
    assert b"progress.js" not in ops.get(address(finished)).content


def test_the_plot_rests_while_files_are_parsed_again(ops, diagnosed):
    Batch.objects.filter(pk=diagnosed.pk).update(state="scattering", completed_at=None)
    response = ops.get(address(diagnosed))
    assert "the plot comes back with their results" in read(response).words
    assert b"plot.js" not in response.content
    assert "Temperature" in read(response).words


@pytest.mark.parametrize("missing", ["00000000-0000-4000-8000-000000000000", "nonsense", "1"])
def test_an_unknown_batch_is_404(ops, missing):
    assert ops.get(f"/admin/batches/batch/{missing}/change/").status_code == 404


def test_a_note_is_kept_with_its_author_and_told(support, finished):
    response = support.post(address(finished, "note/"), {"text": "Fan replaced.\r\nSecond line"})
    assert response.status_code == 302
    assert response["Location"].endswith("#notes")
    note = Note.objects.get()
    assert (note.text, note.author.username) == ("Fan replaced.\nSecond line", "susan")
    event = Event.objects.get(type=EventType.NOTE_ADDED)
    assert (event.actor, event.batch_id) == ("user:susan", finished.pk)
    assert "Fan replaced." in read(support.get(address(finished))).words


@pytest.mark.parametrize("text", ["", "   \n", "x" * 10_001, "\x00"])
def test_a_note_that_says_nothing_or_too_much_is_refused(support, finished, text):
    with pytest.raises(InvalidField):
        notes.add_note(finished.pk, factories.user("writer"), text)
    page = read(support.post(address(finished, "note/"), {"text": text}, follow=True))
    assert "The note" in page.words
    assert not Note.objects.exists()


def test_a_note_needs_its_permission_and_a_post(db, finished):
    viewer = factories.user("viewer")
    assert logged_in(viewer).post(address(finished, "note/"), {"text": "x"}).status_code == 403
    susan = logged_in(factories.user("susan2", "support"))
    assert susan.get(address(finished, "note/")).status_code == 405


# -- plot data -------------------------------------------------------------------------------------------------------


def test_plot_data_hold_the_spike_and_the_times(support, diagnosed):
    first = 1_700_000_000_000_000_000
    answer = support.get(address(diagnosed, "plot/"), {"signal": "Engine/Temperature", "t0": str(first), "points": "100"}).json()
    assert answer["unit"] == "degC"
    assert max(value for value in answer["high"] if value is not None) == pytest.approx(50.0)
    assert min(value for value in answer["low"] if value is not None) == pytest.approx(0.0)
    assert answer["t0"] == str(first)
    assert answer["t"][0] == 0
    assert 1850 <= answer["t"][-1] <= 1899
    assert len(answer["t"]) <= 210


def test_plot_data_of_a_range_are_the_samples_themselves(support, diagnosed):
    first = 1_700_000_001_000_000_000
    query = {"signal": "Engine/Temperature", "from": str(first + 495_000_000), "to": str(first + 505_000_000), "t0": str(first)}
    answer = support.get(address(diagnosed, "plot/"), query).json()
    assert answer["raw"] is True
    at = answer["t"].index(500.0)
    assert answer["high"][at] == answer["low"][at] == pytest.approx(50.0)
    assert answer["high"][at + 1] == pytest.approx(0.0)


def test_plot_requests_of_any_shape_get_an_answer(support, diagnosed):
    known = {"signal": "Engine/Temperature"}
    for query, status in [
        ({}, 400),
        ({"signal": "Engine"}, 400),
        ({"signal": "/"}, 400),
        ({**known, "from": "x"}, 400),
        ({**known, "to": "1" * 30}, 400),
        ({**known, "points": "-"}, 400),
        ({"signal": "Engine/Nothing"}, 404),
        ({"signal": "Nothing/Temperature"}, 404),
        ({**known, "from": "-" + "9" * 19, "to": "9" * 19}, 200),
        ({**known, "points": "999999999"}, 200),
        ({**known, "from": "5", "to": "1"}, 200),
    ]:
        answer = support.get(address(diagnosed, "plot/"), query)
        assert answer.status_code == status, query
        assert ("error" in answer.json()) == (status != 200), query


def test_the_plot_as_a_picture_needs_no_script(support, diagnosed):
    keys = ["Engine/Temperature", "Engine/Counter", "Engine/Nothing", "broken"]
    answer = support.get(address(diagnosed, "plot.svg"), {"signal": keys})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/svg+xml"
    text = answer.content.decode()
    assert text.count("<polygon") == 2
    assert "Temperature [degC]" in text
    assert "<script" not in text
    assert "style=" not in text
    assert "2023-11-14 22:13:20.000" in text
    page = support.get(address(diagnosed), {"signal": "Engine/Temperature"}).content.decode()
    assert f"plot.svg?signal={quote('Engine/Temperature', safe='')}" in page


def test_a_download_is_the_stored_file_as_an_attachment(support, finished):
    file = File.objects.get(batch=finished, name="broken.blf")
    answer = support.get(f"/admin/files/file/{file.pk}/download/")
    assert b"".join(answer.streaming_content) == b"not a log " * 20
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="broken.blf"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Length"] == str(file.size)


@pytest.mark.parametrize("name", ['a".log', "a\r\nSet-Cookie: x=1.log", "..", "a/../b\\c.log", "\u202egnp.exe", "Motor-Öl 🚗.log"])
def test_a_download_name_is_harmless(support, finished, name):
    file = File.objects.get(batch=finished, name="broken.blf")
    File.objects.filter(pk=file.pk).update(name=name)
    answer = support.get(f"/admin/files/file/{file.pk}/download/")
    list(answer.streaming_content)
    value = answer["Content-Disposition"]
    assert value.startswith("attachment")
    assert "Set-Cookie" not in answer.headers
    for harmful in ("\r", "\n", "/", "\u202e"):
        assert harmful not in value


def test_a_download_needs_its_permission_and_says_when_the_object_is_gone(support, finished):
    file = File.objects.get(batch=finished, name="broken.blf")
    path = f"/admin/files/file/{file.pk}/download/"
    assert logged_in(factories.user("nobody")).get(path).status_code == 403
    assert support.post(path).status_code == 405
    storage.delete(file.storage_key)
    assert support.get(path).status_code == 404
    assert support.get("/admin/files/file/00000000-0000-4000-8000-000000000000/download/").status_code == 404


def test_a_file_page_shows_its_attempts(ops, diagnosed):
    from batches.retrigger import retry_failed_files
    from tests.queue import drain

    retry_failed_files(diagnosed.pk, actor="test", seen_fence=diagnosed.fence)
    drain()
    file = File.objects.current().get(batch=diagnosed, name="broken.blf")
    page = read(ops.get(f"/admin/files/file/{file.pk}/change/"))
    assert page.words.count("unknown_format") == 3
    assert "replaced" in page.words
    assert file.sha256 in page.words
    row = next(row for row in ops.get(address(diagnosed)).context["files"] if row.file.pk == file.pk)
    assert row.tries == 2


def test_damaged_files_beyond_those_listed_are_counted_too(ops, diagnosed, monkeypatch):
    monkeypatch.setattr("batches.admin.queries.FILES_SHOWN", 1)
    File.objects.filter(batch=diagnosed, state="completed").update(partial=True)
    page = read(ops.get(address(diagnosed)))
    assert "2 files were read only in part" in page.words
