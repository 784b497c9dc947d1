"""Scatter rings every file that has not been parsed, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from batches.models import Batch
from batches.scatter import scatter_batch
from common import pipeline
from tests import factories
from tests.queue import drain, skip_delays, waiting

pytestmark = pytest.mark.django_db


def test_complete_rings_scatter_and_scatter_rings_each_file():
    batch = factories.uploaded({"a.log": factories.CANDUMP, "b.log": factories.CANDUMP})
    assert waiting() == [("scatter", str(batch.pk))]
    scatter_batch(batch.pk)
    batch = Batch.objects.get(pk=batch.pk)
    assert batch.state == "scattering"
    assert (batch.expected_worker_count, batch.completed_worker_count) == (2, 0)
    assert sorted(waiting()[1:]) == sorted(("parse", str(pk)) for pk in batch.files.values_list("pk", flat=True))


def test_a_second_scatter_changes_nothing():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    scatter_batch(batch.pk)
    before = waiting()
    scatter_batch(batch.pk)
    assert waiting() == before


def test_scatter_of_a_batch_that_does_not_exist_is_quiet():
    scatter_batch(factories.uuid.uuid4())


def test_scatter_of_many_files_needs_few_queries(django_assert_max_num_queries):
    batch = factories.batch()
    for number in range(60):
        factories.file(batch, name=f"{number}.log")
    from batches.intake import complete_batch

    complete_batch(batch.pk, None, actor="test")
    with django_assert_max_num_queries(12):
        scatter_batch(batch.pk)
    assert len(waiting()) == 61


@pytest.mark.django_db(transaction=True)
def test_enqueue_outside_a_transaction_is_refused():
    with pytest.raises(pipeline.NotInTransaction):
        pipeline.enqueue("scatter", factories.uuid.uuid4())
    assert waiting() == []


@pytest.mark.django_db(transaction=True)
def test_enqueue_in_a_transaction_that_is_rolled_back_leaves_nothing():
    with transaction.atomic():
        pipeline.enqueue("scatter", factories.uuid.uuid4())
        transaction.set_rollback(True)
    assert waiting() == []


def test_a_delayed_doorbell_is_silent_until_then():
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    with transaction.atomic():
        pipeline.enqueue("scatter", batch.pk, delay=timedelta(minutes=1))
    assert drain() == 0
    skip_delays()
    assert drain() == 1
