"""Files on their way on the batch page, the end of one by an operator, and copies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from batches.models import Batch, BatchState
from batches.opening import open_batch
from batches.receiving import Offer, take_file
from events.models import Event, EventType
from files import uploads
from files.models import File, Upload, UploadState, Way
from tests import factories
from tests.admin.pages import read

pytestmark = pytest.mark.django_db


def address(batch: Batch, below: str = "change/") -> str:
    return f"/admin/batches/batch/{batch.pk}/{below}"


@pytest.fixture
def batch(vehicle) -> Batch:
    """A batch with one file here, one half sent, one that must come again, one not begun."""
    files = [{"name": name, "size": 2000, "priority": priority} for name, priority in (("half.blf", 5), ("again.blf", 0), ("later.blf", 0))]
    batch = open_batch(vehicle, {}, files, actor="vehicle:x")
    take_file(batch.pk, Offer("here.blf", size=4), [b"here"], actor="vehicle:x")
    Upload.objects.filter(name="half.blf").update(offset=500, way=Way.TUS, touched_at=timezone.now() - timedelta(minutes=3))
    Upload.objects.filter(name="again.blf").update(way=Way.PUT, error_code="digest_mismatch")
    return batch


def test_the_page_shows_what_is_on_its_way(support, batch):
    page = read(support.get(address(batch)))
    for words in (
        "3 files, 500 B of 6.0 kB",
        "interrupted half.blf 500 B of 2.0 kB 25 % priority 5 by tus last contact 3 min",
        "must come again again.blf 0 B of 2.0 kB 0 % by PUT",
        "digest_mismatch",
        "announced later.blf 0 B of 2.0 kB",
    ):
        assert words in page.words, page.words
    assert "End…" not in page.words


def test_who_sends_now_stands_first(support, batch):
    Upload.objects.filter(name="later.blf").update(lease_until=timezone.now() + timedelta(minutes=1))
    words = read(support.get(address(batch))).words
    assert words.index("sending later.blf") < words.index("interrupted half.blf")


def test_the_refresh_brings_it_too_and_stops_with_the_upload(support, batch):
    Upload.objects.filter(name="half.blf").update(offset=1500)
    news = support.get(address(batch, "progress/")).json()
    assert 'value="75"' in news["arriving"]
    Upload.objects.update(state=UploadState.FINISHED)
    assert support.get(address(batch, "progress/")).json()["arriving"].strip() == ""
    Upload.objects.update(state=UploadState.OPEN)
    Batch.objects.update(state=BatchState.ABANDONED)
    assert support.get(address(batch, "progress/")).json()["arriving"].strip() == ""


def test_fifty_are_shown_and_all_are_counted(support, vehicle, django_assert_max_num_queries):
    batch = open_batch(vehicle, {}, [{"name": f"{n}.blf", "size": 10} for n in range(300)], actor="x")
    support.get(address(batch, "progress/"))
    with django_assert_max_num_queries(7):
        news = support.get(address(batch, "progress/")).json()
    assert news["arriving"].count("<li>") == 50
    assert "300 files" in news["arriving"]
    assert "250 more" in news["arriving"]


def test_an_operator_ends_an_upload_after_a_question(ops, batch):
    upload = Upload.objects.get(name="half.blf")
    with uploads.writing(upload, way=Way.TUS) as writer:
        writer.restart()
        writer.receive([b"x" * 10], offset=0)
    page = read(ops.get(address(batch)))
    link = address(batch, f"upload/{upload.pk}/end/")
    assert link in page.links
    assert "End the upload of half.blf?" in read(ops.get(link)).words
    assert Upload.objects.get(pk=upload.pk).state == UploadState.OPEN
    answer = ops.post(link, {"reason": "the vehicle is scrapped"}, follow=True)
    assert "The upload is ended." in read(answer).words
    upload.refresh_from_db()
    assert (upload.state, upload.storage_key) == (UploadState.FAILED, "")
    event = Event.objects.get(type=EventType.UPLOAD_ENDED)
    assert (event.actor, event.payload["name"], event.payload["reason"]) == ("user:otto", "half.blf", "the vehicle is scrapped")
    assert "The upload of half.blf was ended: the vehicle is scrapped" in read(ops.get(address(batch))).words
    assert ops.get(link).status_code == 404
    assert "The upload is failed" in read(ops.post(link, follow=True)).words


def test_who_may_not_cancel_ends_nothing(support, batch):
    upload = Upload.objects.get(name="half.blf")
    link = address(batch, f"upload/{upload.pk}/end/")
    assert support.get(link).status_code == 403
    assert support.post(link).status_code == 403
    assert Upload.objects.get(pk=upload.pk).state == UploadState.OPEN


def test_an_upload_of_another_batch_is_not_found_below_this_one(ops, batch, vehicle):
    other = open_batch(vehicle, {}, [{"name": "x", "size": 1}], actor="x")
    upload = Upload.objects.get(batch=other)
    link = address(batch, f"upload/{upload.pk}/end/")
    assert ops.get(link).status_code == 404
    ops.post(link)
    assert Upload.objects.get(pk=upload.pk).state == UploadState.OPEN


def test_a_copy_names_its_original_with_a_link(support, vehicle):
    first, second = factories.batch(vehicle), factories.batch(vehicle)
    original = take_file(first.pk, Offer("a.blf", size=4), [b"same"], actor="x")[0]
    copy = take_file(second.pk, Offer("b.blf", size=4), [b"same"], actor="x")[0]
    assert File.objects.get(pk=copy.pk).duplicate_of_id == original.pk
    page = read(support.get(address(second)))
    assert f"copy of a.blf in batch {str(first.pk)[:8]}" in page.words
    assert f"/admin/files/file/{original.pk}/change/" in page.links
    assert "b.blf arrived, a copy of a file that came before (same SHA-256)" in page.words
    of_file = read(support.get(f"/admin/files/file/{copy.pk}/change/"))
    assert f"The vehicle has sent the same bytes before (same SHA-256): a.blf in batch {str(first.pk)[:8]}" in of_file.words
    assert f"/admin/files/file/{original.pk}/change/" in of_file.links
    assert "Copy" not in read(support.get(f"/admin/files/file/{original.pk}/change/")).words
