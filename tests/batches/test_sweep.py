"""The sweep brings back what was lost, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django_q.models import OrmQ, Schedule

from batches.models import Batch
from batches.scatter import scatter_batch
from batches.sweep import sweep
from batches.transitions import locked
from common.clock import from_now
from files import parsing
from files.models import File
from tests import factories
from tests.queue import drain, skip_delays, waiting

pytestmark = pytest.mark.django_db
LONG_AGO = from_now(-timedelta(minutes=10))


def lose_doorbells() -> None:
    OrmQ.objects.all().delete()


def completed(batch: Batch) -> bool:
    return Batch.objects.get(pk=batch.pk).state == "completed"


def test_it_is_scheduled():
    assert Schedule.objects.get(func="batches.tasks.sweep_batches").minutes == 1


def test_a_batch_whose_doorbell_was_lost_goes_on_at_every_stage():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    for _ in range(4):
        lose_doorbells()
        Batch.objects.filter(pk=batch.pk).update(state_changed_at=LONG_AGO)
        assert sum(sweep().values()) == 1
        stage, subject = waiting()[0]
        lose_doorbells()
        from django.utils.module_loading import import_string

        from common.pipeline import STAGES

        import_string(STAGES[stage])(subject)
    assert completed(batch)


def test_a_young_batch_is_left_to_its_doorbell():
    factories.uploaded({"a.log": factories.CANDUMP})
    lose_doorbells()
    assert sweep() == {}


def test_a_full_queue_is_not_filled_further():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    Batch.objects.filter(pk=batch.pk).update(state_changed_at=LONG_AGO)
    assert sweep() == {}
    assert len(waiting()) == 1


def test_a_file_whose_worker_died_is_taken_over():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    lose_doorbells()
    file = File.objects.get(batch=batch)
    with transaction.atomic():
        locked(batch.pk)
        assert isinstance(parsing.claim(file.pk, "a worker that dies"), parsing.Claim)
    assert sweep() == {}
    File.objects.filter(pk=file.pk).update(lease_until=LONG_AGO)
    assert sweep() == {"parse": 1}
    drain()
    assert completed(batch)
    assert File.objects.get(pk=file.pk).crash_count == 1


@pytest.mark.parametrize(("stage", "state"), [("gather", "gathering"), ("diagnose", "diagnosing")])
def test_a_batch_whose_worker_died_is_taken_over(monkeypatch, stage, state):
    batch = factories.uploaded({"a.log": factories.CANDUMP})

    def die(*_):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(f"batches.{stage}.{'gather' if stage == 'gather' else 'run'}", die)
        with pytest.raises(SystemExit):
            drain()
    lose_doorbells()
    assert Batch.objects.get(pk=batch.pk).state == state
    assert sweep() == {}
    Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
    assert sweep() == {stage: 1}
    drain()
    assert completed(batch)


def test_a_batch_that_kills_every_worker_fails_in_the_end():
    from batches import claims

    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    for pk in File.objects.filter(batch=batch).values_list("pk", flat=True):
        from batches.parse import parse_file

        parse_file(pk)
    lose_doorbells()
    for _ in range(claims.MAX_ATTEMPTS):
        assert claims.claim(claims.GATHER, batch.pk) is not None
        Batch.objects.filter(pk=batch.pk).update(lease_until=LONG_AGO)
    sweep()
    drain()
    ended = Batch.objects.get(pk=batch.pk)
    assert (ended.state, ended.failed_stage, ended.error_code) == ("failed", "gathering", "worker_crashed")


def test_nothing_is_rung_for_a_cancelled_batch():
    from batches import retrigger

    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    retrigger.cancel(batch.pk, actor="a", seen_fence=batch.fence)
    lose_doorbells()
    File.objects.update(next_attempt_at=LONG_AGO)
    Batch.objects.update(state_changed_at=LONG_AGO)
    skip_delays()
    assert sweep() == {}
