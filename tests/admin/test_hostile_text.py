"""Text from outside stays text: payloads in every field that a page shows, and every page crawled."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from batches import notes
from batches.models import Batch
from diagnosis.models import Finding, SignalLimit
from events.models import Event, EventType
from files import storage
from files.models import File, Upload
from tests import factories
from tests.admin.pages import crawl, read
from vehicles.models import ApiToken, Fleet, Platform, SignalDatabase, Vehicle

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</textarea></title></style><script>alert(1)</script>",
    "{{ 7|add:7 }}{% debug %}",
    "javascript:alert(1)",
    "\u202e<b>gpj.exe\u2066",
)
MARKUP = ("<script>alert", "<img src=x", "<svg onload", "<b>gpj", "' onmouseover='")


def hostile_batch(text: str) -> Batch:
    """A completed batch with this text wherever a vehicle, a database or a person could put it."""
    platform = Platform.objects.create(name=text, description=text)
    vehicle = factories.vehicle(name=text, platform=platform, fleet=Fleet.objects.create(name=text))
    batch = factories.batch(vehicle, reason=text, software={text: text}, clock={text: text}, clock_flags=[text])
    told = {
        "name": text,
        "kind": text[:32],
        "format": text[:32],
        "detection": text,
        "worker": text,
        "databases": [{"name": text, "version": text}],
    }
    facts = {"lost_bytes": 5, text: text}
    good = factories.file(batch, state="completed", result_key="results/x/1", partial=True, facts=facts, **told)
    factories.file(batch, name=text, state="failed", error_class="input", error_code=text[:32], error=text, error_offset=1)
    Upload.objects.create(batch=batch, name=text, storage_key="raw/x/1", lease_until=timezone.now())
    Finding.objects.create(
        batch=batch, file=good, rule=text, rule_version=text[:16], severity="critical", code=text, sentence=text, action=text, stream=text,
        signal=text, from_ns=0, to_ns=1, details={text: text},
    )  # fmt: skip
    for seq, kind in enumerate(EventType.values, 1):
        payload = {"reason": text, "code": text, "stage": text, "what": text, "name": text, "step": text, "files": 1, "old_status": text}
        Event.objects.create(batch=batch, seq=seq, type=kind, actor=text, payload={**payload, "new_status": text, text: [text]})
    notes_key = f"results/batches/{batch.pk}/1"
    storage.write_bytes(f"{notes_key}/statistics.json", json.dumps(hostile_statistics(text)).encode())
    Batch.objects.filter(pk=batch.pk).update(
        state="completed", completed_at=timezone.now(), processed_files=1, failed_files=1, worst_severity="critical", finding_count=1,
        result_key=notes_key, event_seq=100,
    )  # fmt: skip
    notes.add_note(batch.pk, factories.user(f"writer{Vehicle.objects.count()}"), text)
    SignalLimit.objects.create(platform=platform, signal=text, high=1, action=text)
    ApiToken.objects.create(
        vehicle=vehicle, slot=1, label=text, key_id=f"{Vehicle.objects.count():012d}", secret_sha256="0" * 64, scopes=[text]
    )
    SignalDatabase.objects.create(
        platform=platform, name=text, version=1, channel=text[:32], content=b"", compiled=b"", sha256="0" * 64, message_count=1,
        signal_count=1, warnings=[text], uploaded_by=text,
    )  # fmt: skip
    return Batch.objects.get(pk=batch.pk)


def hostile_statistics(text: str) -> dict:
    numbers = dict.fromkeys(("min", "max", "mean", "p5", "p50", "p95", "p99", "first", "last"), 1.0)
    signal = {"stream": text, "message": text, "channel": text, "signal": text, "unit": text, "kind": "enum", "choices": {"1": text}}
    return {
        "schema": 1,
        "time": {"absolute": True, "first_ns": 0, "last_ns": 10**9, "flags": [text]},
        "signals": [{**signal, **numbers, "count": 1, "null_count": 1, "gap_count": 1}],
        "streams": [{"name": text, "gap_count": 1}],
        "frames": {"total": 1, "error": 1},
        "coverage": {"frames_known": 1, "frames_unknown": 1, "ids_known": 1, "ids_unknown": 1},
        "unknown_ids": [{"channel": text, "id": text, "extended": True, "count": 1}],
        "fault_codes": [
            {
                "protocol": text,
                "code": text,
                "status": text,
                "source": text,
                "channel": text,
                "count": 1,
                "first_ns": 0,
                "last_ns": 1,
                "lamps": {text: text},
            }
        ],
        "samples": 1,
        "messages": [{"t_ns": 0, "level": text, "source": text, "text": text}, {"t_ns": None, "level": "", "source": "", "text": text}],
        "message_count": 2,
        "message_levels": {"warning": 1, "": 1},
        "files": [
            {
                "id": text,
                "name": text,
                "lost": [{"offset": 0, "length": 1, "reason": text}],
                "skipped": {text: 1},
                "undecoded": {text: text},
                "undecoded_count": 60,
                "attachments": [{"name": text, "media_type": text, "size": None}],
            }
        ],
    }


@pytest.fixture
def batches(db) -> list[Batch]:
    return [hostile_batch(text) for text in PAYLOADS]


def test_no_page_of_the_admin_runs_text_from_outside(root, batches):
    pages = crawl(root, "/admin/")
    kinds = {address.split("?")[0].replace(str(batches[0].pk), "…") for address in pages}
    assert "/admin/batches/batch/…/change/" in kinds
    for kind in ("vehicles/vehicle", "vehicles/platform", "vehicles/fleet", "vehicles/signaldatabase", "vehicles/apitoken", "files/file"):
        assert any(kind in address and "/change/" in address for address in pages), kind
    assert any("diagnosis/finding" in address for address in pages)
    assert len(pages) > 60


def test_the_payloads_are_readable_as_text_on_the_batch_page(root, batches):
    for text, batch in zip(PAYLOADS, batches, strict=True):
        response = root.get(f"/admin/batches/batch/{batch.pk}/change/")
        page = read(response)
        expected = text.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066")
        assert page.words.count(" ".join(expected.split())) > 15
        html = response.content.decode()
        assert not [markup for markup in MARKUP if markup in html]
        assert "\u202e" not in html
        assert "\u2066" not in html


def test_the_live_part_and_the_messages_escape_too(root, batches):
    for text, batch in zip(PAYLOADS, batches, strict=True):
        Batch.objects.filter(pk=batch.pk).update(state="failed", failed_stage="gathering", error=text, error_code=text[:32])
        html = root.get(f"/admin/batches/batch/{batch.pk}/progress/").json()["html"]
        assert not [markup for markup in MARKUP if markup in html]
        page = root.post(
            f"/admin/batches/batch/{batch.pk}/act/cancel/", {"fence": batch.fence, "confirmed": "1", "reason": text}, follow=True
        )
        read(page)


def test_searches_and_filters_give_the_text_back_as_text(root, batches):
    for text in PAYLOADS[:3]:
        for path in ("batches/batch", "vehicles/vehicle", "vehicles/apitoken", "diagnosis/finding", "files/file", "events/event"):
            for name in ("q", "state", "code", "batch", "received"):
                response = root.get(f"/admin/{path}/", {name: text}, follow=True)
                read(response)
                assert not [markup for markup in MARKUP if markup in response.content.decode()], (path, name)


def test_files_of_any_name_are_listed_with_visible_escapes(root, db):
    batch = factories.batch()
    factories.file(batch, name="photo\u202egpj.log")
    page = read(root.get("/admin/files/file/"))
    assert "photo\\u202egpj.log" in page.words
    assert File.objects.get().name == "photo\u202egpj.log"


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "9" * 500, "%", "_", "\\"])
def test_no_address_makes_a_list_fail(root, finished, text):
    for path in ("batches/batch", "vehicles/vehicle", "vehicles/apitoken", "diagnosis/finding", "files/file", "events/event"):
        for name in (
            "q",
            "state",
            "severity",
            "platform",
            "fleet",
            "batch",
            "code",
            "rule",
            "type",
            "vehicle",
            "received",
            "older",
            "newer",
            "nonsense",
        ):
            assert root.get(f"/admin/{path}/", {name: text}, follow=True).status_code in {200, 400}, (path, name)
    for name in ("signal", "from", "to", "points", "t0"):
        assert root.get(f"/admin/batches/batch/{finished.pk}/change/", {name: text}).status_code == 200
        assert root.get(f"/admin/batches/batch/{finished.pk}/plot/", {"signal": "a/b", name: text}).status_code in {400, 404}
