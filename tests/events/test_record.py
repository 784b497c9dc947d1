"""Events are numbered by their batch and written with the change they tell of."""

import pytest
from django.db import IntegrityError, transaction

from batches.models import Batch
from batches.transitions import locked
from events.models import Event, EventType
from events.record import record, record_act
from tests import factories


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_nothing_is_recorded():
    batch = factories.batch()
    with pytest.raises(transaction.TransactionManagementError):
        record(batch, EventType.NOTE_ADDED)
    assert not Event.objects.filter(batch=batch).exists()


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_event_leaves_no_gap():
    batch = factories.batch()
    with transaction.atomic():
        record(locked(batch.pk), EventType.NOTE_ADDED)
        transaction.set_rollback(True)
    with transaction.atomic():
        record(locked(batch.pk), EventType.NOTE_ADDED)
    assert list(Event.objects.filter(batch=batch).values_list("seq", flat=True)) == [1]
    assert Batch.objects.get(pk=batch.pk).event_seq == 1


@pytest.mark.django_db
def test_a_number_is_given_once():
    batch = factories.batch()
    record(batch, EventType.NOTE_ADDED)
    with pytest.raises(IntegrityError), transaction.atomic():
        Event.objects.create(batch=batch, seq=1, type=EventType.NOTE_ADDED)


@pytest.mark.django_db
def test_an_act_belongs_to_no_batch():
    event = record_act(EventType.TOKEN_REVOKED, {}, actor="user:ops")
    assert (event.batch_id, event.seq) == (None, None)


@pytest.mark.django_db
def test_unknown_types_are_refused():
    with pytest.raises(IntegrityError), transaction.atomic():
        record_act("Surprise", {}, actor="x")
