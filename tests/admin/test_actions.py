"""Actions: who sees which button, what a POST does, and what it refuses."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from batches.admin.actions import ACTIONS, BY_NAME
from batches.models import Batch
from events.models import Event, EventType
from files import storage
from files.models import File
from tests import factories
from tests.admin.pages import logged_in, read
from tests.queue import drain, waiting

LIST = "/admin/batches/batch/"


def page(batch: Batch) -> str:
    return f"{LIST}{batch.pk}/change/"


def act(batch: Batch, name: str) -> str:
    return f"{LIST}{batch.pk}/act/{name}/"


def seen(batch: Batch) -> Batch:
    return Batch.objects.get(pk=batch.pk)


def buttons(client, batch: Batch) -> set[str]:
    """Names of the actions that the page offers."""
    return {form.rstrip("/").rpartition("/")[2] for form in read(client.get(page(batch))).forms if "/act/" in form}


def test_buttons_follow_the_state_and_the_permission(support, ops, root, finished):
    assert buttons(support, finished) == set()
    assert buttons(ops, finished) == {"retry-failed-files", "rediagnose", "reprocess", "reopen"}
    assert buttons(root, finished) == {"retry-failed-files", "rediagnose", "reprocess", "reopen", "delete"}
    running = Batch.objects.create(vehicle=factories.vehicle(), state="gathering", total_files=1)
    assert buttons(ops, running) == {"cancel"}
    pending = factories.batch()
    assert buttons(ops, pending) == set()


@pytest.mark.parametrize(
    ("stage", "processed", "failed", "expected"),
    [
        ("scattering", 0, 2, {"retry-failed-files", "reprocess"}),
        ("scattering", 1, 1, {"retry-failed-files", "continue-without-failed", "reprocess"}),
        ("gathering", 2, 0, {"retry-stage", "reprocess"}),
        ("diagnosing", 1, 1, {"retry-stage", "retry-failed-files", "reprocess"}),
    ],
)
def test_a_failed_batch_offers_what_helps(ops, stage, processed, failed, expected):
    from django.utils import timezone

    batch = Batch.objects.create(
        vehicle=factories.vehicle(),
        state="failed",
        failed_stage=stage,
        total_files=2,
        processed_files=processed,
        failed_files=failed,
        completed_at=timezone.now(),
    )
    assert buttons(ops, batch) == expected


def test_retry_parses_only_the_failed_file_again(ops, diagnosed):
    before = {file.name: file.pk for file in File.objects.current().filter(batch=diagnosed)}
    response = ops.post(act(diagnosed, "retry-failed-files"), {"fence": diagnosed.fence})
    assert response.status_code == 302
    assert waiting() == [("scatter", str(diagnosed.pk))]
    event = Event.objects.get(type=EventType.RETRY_REQUESTED)
    assert (event.actor, event.payload["what"]) == ("user:otto", "retry_failed_files")
    drain()
    after = {file.name: file.pk for file in File.objects.current().filter(batch=diagnosed)}
    assert {name for name in before if before[name] != after[name]} == {"broken.blf"}
    assert seen(diagnosed).state == "completed"


def test_a_double_click_acts_once(ops, finished):
    first = ops.post(act(finished, "rediagnose"), {"fence": finished.fence}, follow=True)
    second = ops.post(act(finished, "rediagnose"), {"fence": finished.fence}, follow=True)
    assert "diagnosed again" in read(first).words
    assert "Somebody else has acted" in read(second).words
    assert Event.objects.filter(type=EventType.RETRY_REQUESTED).count() == 1


def test_two_operators_meet_and_one_is_told(ops, diagnosed):
    other = logged_in(factories.user("olga", "ops"))
    ops.post(act(diagnosed, "retry-failed-files"), {"fence": diagnosed.fence})
    drain()
    answer = read(other.post(act(diagnosed, "reprocess"), {"fence": diagnosed.fence, "confirmed": "1"}, follow=True))
    assert "Somebody else has acted" in answer.words
    assert Event.objects.filter(type=EventType.RETRY_REQUESTED).count() == 1


@pytest.mark.parametrize("name", [action.name for action in ACTIONS if action.ask])
def test_a_question_is_asked_first_and_nothing_is_done_meanwhile(root, finished, name):
    if name == "cancel":
        Batch.objects.filter(pk=finished.pk).update(state="gathering", completed_at=None)
    before = seen(finished)
    question = read(root.post(act(finished, name), {"fence": before.fence}))
    assert BY_NAME[name].ask in question.words
    assert (seen(finished).state, seen(finished).fence) == (before.state, before.fence)
    assert act(finished, name) in question.forms


def test_cancel_reopen_and_their_reasons_are_in_the_history(ops, finished):
    ops.post(act(finished, "reopen"), {"fence": finished.fence, "confirmed": "1", "reason": "one more file"})
    assert seen(finished).state == "pending"
    assert "Asked to reopen for the vehicle: one more file" in read(ops.get(page(finished))).words
    running = factories.uploaded({"a.log": factories.CANDUMP})
    ops.post(act(running, "cancel"), {"fence": running.fence, "confirmed": "1"})
    assert seen(running).state == "cancelled"


def test_delete_removes_rows_and_objects_and_leaves_one_event(root, finished):
    keys = [file.storage_key for file in File.objects.filter(batch=finished)]
    response = root.post(act(finished, "delete"), {"fence": finished.fence, "confirmed": "1"})
    assert response["Location"] == LIST
    assert not Batch.objects.filter(pk=finished.pk).exists()
    assert not any(storage.exists(key) for key in keys)
    assert Event.objects.get(type=EventType.BATCH_DELETED).actor == "user:root"


def test_delete_refuses_what_has_run_again_since(root, finished):
    root.post(act(finished, "delete"), {"fence": finished.fence - 1, "confirmed": "1"})
    assert Batch.objects.filter(pk=finished.pk).exists()


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_get_is_405_and_a_post_without_the_permission_is_403(support, root, finished, name):
    fence = {"fence": finished.fence, "confirmed": "1"}
    assert root.get(act(finished, name)).status_code == 405
    assert support.post(act(finished, name), fence).status_code == 403
    assert seen(finished).fence == finished.fence


@pytest.mark.parametrize("name", [*sorted(BY_NAME), "note"])
def test_a_post_without_csrf_token_is_403(db, finished, name):
    client = logged_in(User.objects.create_superuser("chief"), csrf=True)
    path = f"{LIST}{finished.pk}/note/" if name == "note" else act(finished, name)
    assert client.post(path, {"fence": finished.fence, "confirmed": "1", "text": "x"}).status_code == 403
    assert seen(finished).fence == finished.fence


def test_ops_may_not_delete_and_nobody_edits(ops, root, finished):
    assert ops.post(act(finished, "delete"), {"fence": finished.fence, "confirmed": "1"}).status_code == 403
    assert root.post(page(finished), {"state": "pending"}).status_code == 405
    assert root.get(f"{LIST}add/").status_code == 403
    assert root.post(f"{LIST}{finished.pk}/delete/", {"post": "yes"}).status_code == 403
    for path in ("files/file", "events/event", "diagnosis/finding"):
        assert root.get(f"/admin/{path}/add/").status_code == 403
    event = Event.objects.filter(batch=finished).first()
    assert root.post(f"/admin/events/event/{event.pk}/change/", {"type": "NoteAdded"}).status_code == 403
    assert root.post(f"/admin/events/event/{event.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("fence", ["", "x", "-1", "1" * 40])
def test_a_form_without_a_proper_fence_does_nothing(ops, finished, fence):
    answer = read(ops.post(act(finished, "rediagnose"), {"fence": fence}, follow=True))
    assert "Nothing was done" in answer.words
    assert seen(finished).fence == finished.fence


def test_an_action_that_does_not_exist_is_404(ops, finished):
    assert ops.post(act(finished, "explode"), {"fence": 1}).status_code == 404
    missing = Batch(vehicle=finished.vehicle)
    assert ops.post(act(missing, "cancel"), {"fence": 1, "confirmed": "1"}).status_code == 404


def test_an_action_in_the_wrong_state_says_so(ops, finished):
    answer = read(ops.post(act(finished, "cancel"), {"fence": finished.fence, "confirmed": "1"}, follow=True))
    assert "only a running batch can be cancelled" in answer.words


def test_anonymous_people_are_sent_to_the_login(client, finished):
    for path in (LIST, page(finished), act(finished, "cancel"), f"{LIST}{finished.pk}/plot/", f"{LIST}{finished.pk}/progress/"):
        answer = client.post(path) if "/act/" in path else client.get(path)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")


def test_staff_without_permission_see_no_batch(db, finished):
    nobody = logged_in(factories.user("nobody"))
    for below in ("change/", "plot/?signal=Engine/Temperature", "plot.svg?signal=Engine/Temperature", "progress/"):
        assert nobody.get(f"{LIST}{finished.pk}/{below}").status_code == 403
    assert nobody.get(LIST).status_code == 403
    assert "no permission to see batches" in read(nobody.get("/admin/")).words


# -- many at once --------------------------------------------------------------------------------------------------


def bulk(client, batches, **extra):
    return client.post(LIST, {"action": "retry_failed_files", "_selected_action": [str(batch.pk) for batch in batches], **extra})


def test_many_batches_are_counted_first_and_then_retried_each_by_itself(ops, finished):
    clean = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    question = bulk(ops, [finished, clean])
    words = read(question).words
    assert "1 failed file of 1 batch again?" in words
    assert "1 of the chosen batches has nothing to retry" in words
    assert seen(finished).state == "completed"
    done = bulk(ops, [finished], confirmed="1", reason="newer parser", **{f"fence-{finished.pk}": finished.fence})
    assert done.status_code == 302
    assert seen(finished).state == "uploaded"
    assert Event.objects.get(type=EventType.RETRY_REQUESTED).payload["reason"] == "newer parser"
    bulk(ops, [finished], confirmed="1", **{f"fence-{finished.pk}": finished.fence})
    assert Event.objects.filter(type=EventType.RETRY_REQUESTED).count() == 1


def test_support_cannot_retry_many(support, finished):
    assert b"retry_failed_files" not in support.get(LIST).content
    bulk(support, [finished], confirmed="1", **{f"fence-{finished.pk}": finished.fence})
    assert seen(finished).state == "completed"


@pytest.mark.parametrize("fence", ["", "x", "-1", "1" * 40, "1" * 5000])
def test_many_at_once_without_a_proper_fence_does_nothing(ops, finished, fence):
    assert bulk(ops, [finished], confirmed="1", **{f"fence-{finished.pk}": fence}).status_code == 302
    assert seen(finished).state == "completed"


@pytest.mark.parametrize("key", ["x", "\0", "9" * 40, "' or 1", ""])
@pytest.mark.parametrize("path", ["batches/batch", "vehicles/vehicle", "vehicles/fleet", "vehicles/platform", "diagnosis/signallimit"])
def test_a_chosen_row_that_is_none_fails_nothing(root, finished, path, key):
    name = "retry_failed_files" if path == "batches/batch" else "delete_selected"
    assert root.post(f"/admin/{path}/", {"action": name, "_selected_action": [key]}).status_code in {200, 302, 400}


def test_there_is_no_redirect_to_pages_of_objects(root):
    for address in ("1/1", "1/x", "1/%00"):
        assert root.get(f"/admin/r/{address}/").status_code == 404
