"""Gather and diagnose hold their batch by lease and fence, and give it back when storage or database fail."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django_q.models import OrmQ

from batches import claims
from batches.models import Batch
from batches.sweep import sweep
from common.clock import from_now
from common.errors import StorageUnavailable
from events.models import Event
from tests import factories
from tests.queue import waiting

pytestmark = pytest.mark.django_db
LONG_AGO = from_now(-timedelta(minutes=10))


@pytest.fixture
def batch() -> Batch:
    """A batch of which all files are parsed, with nothing in the queue."""
    made = factories.batch(state="scattered", total_files=1, processed_files=1)
    factories.file(made, state="parsed", result_key="results/x/1")
    Batch.objects.filter(pk=made.pk).update(total_files=1)
    return made


def seen(batch: Batch) -> Batch:
    return Batch.objects.get(pk=batch.pk)


def fail_with(error: Exception):
    def work(*_):
        raise error

    return work


def test_a_second_claim_gets_nothing_while_the_first_lives(batch):
    assert claims.claim(claims.GATHER, batch.pk) is not None
    assert claims.claim(claims.GATHER, batch.pk) is None
    assert claims.claim(claims.DIAGNOSE, batch.pk) is None


def test_a_takeover_leaves_the_old_holder_with_nothing(batch):
    old = claims.claim(claims.GATHER, batch.pk)
    Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
    new = claims.claim(claims.GATHER, batch.pk)
    assert new > old
    assert not claims.renew(claims.GATHER, batch.pk, old)
    claims.fail(claims.GATHER, batch.pk, old, "late", "too late")
    claims.release(claims.GATHER, batch.pk, old, "too late")
    assert (seen(batch).state, seen(batch).fence) == ("gathering", new)
    assert claims.renew(claims.GATHER, batch.pk, new)


def test_a_failing_storage_is_tried_again_after_its_delay_and_not_by_the_sweep_at_once(batch):
    claims.run(claims.GATHER, batch.pk, fail_with(StorageUnavailable()))
    assert seen(batch).state == "gathering"
    assert waiting() == [("gather", str(batch.pk))]
    OrmQ.objects.all().delete()
    assert sweep() == {}
    assert claims.claim(claims.GATHER, batch.pk) is None
    Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
    assert sweep() == {"gather": 1}
    assert claims.claim(claims.GATHER, batch.pk) is not None


def test_a_storage_that_stays_away_is_waited_for_longer_each_time_and_not_counted(batch):
    for _ in range(claims.MAX_ATTEMPTS + 1):
        Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
        claims.run(claims.GATHER, batch.pk, fail_with(StorageUnavailable()))
        Batch.objects.filter(pk=batch.pk).update(state_changed_at=seen(batch).state_changed_at - timedelta(minutes=2))
    waited = [event.payload["delay_s"] for event in Event.objects.filter(batch=batch, type="StageReleased").order_by("seq")]
    assert waited == [10, 120, 240, 360]
    assert (seen(batch).state, seen(batch).attempt) == ("gathering", 0)


def test_no_host_of_the_database_stands_in_the_history(batch):
    for _ in range(claims.MAX_ATTEMPTS):
        Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
        claims.run(claims.GATHER, batch.pk, fail_with(OperationalError("connection to db.internal failed")))
    assert seen(batch).event_seq == Event.objects.filter(batch=batch).count()
    assert not any("internal" in str(event.payload) for event in Event.objects.filter(batch=batch))


def test_an_error_that_nobody_foresaw_fails_the_batch_in_words_that_every_database_takes(batch):
    claims.run(claims.GATHER, batch.pk, fail_with(ValueError("a\x00b" + "x" * 5000)))
    ended = seen(batch)
    assert (ended.state, ended.failed_stage, ended.error_code) == ("failed", "gathering", "gather_error")
    assert ended.error.startswith("ValueError: a\ufffdb")
    told = Event.objects.filter(batch=batch, type="BatchFailed").get().payload
    assert told["reason"] == ended.error
    assert len(ended.error) == 2000
