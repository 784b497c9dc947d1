"""Locks a batch and moves it: the one place where a state changes, and where the change is told."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from django_fsm import TransitionNotAllowed

from batches.models import Batch
from common.errors import NotFound, WrongState
from events.models import EventType
from events.record import ARGUS, record


def locked(batch_id: UUID) -> Batch:
    """The batch, its row locked until the end of the caller's transaction; NotFound if there is none.

    SQLite has no row locks: there the transaction itself holds the write lock from its first statement.
    """
    batch = find_locked(batch_id)
    if batch is None:
        raise NotFound
    return batch


def find_locked(batch_id: UUID) -> Batch | None:
    """As `locked`, None if there is none: a task may ring for a batch that has been deleted."""
    # The manifest may have megabytes, and every file that settles locks its batch.
    return Batch.objects.select_for_update().defer("manifest").filter(pk=batch_id).first()


def move(batch: Batch, method_name: str, *args: Any, actor: str = ARGUS, **payload: Any) -> None:
    """Run the transition `method_name(*args)` on a locked batch, save it and record StatusChanged with `payload`.

    Raises WrongState, and changes nothing, when the state or a condition does not allow it.
    """
    old_status = str(batch.state)
    try:
        getattr(batch, method_name)(*args)
    except TransitionNotAllowed:
        raise WrongState(f"The batch is {old_status}.", state=old_status) from None
    batch.state_changed_at = timezone.now()
    batch.save()
    record(batch, EventType.STATUS_CHANGED, {"old_status": old_status, "new_status": str(batch.state), **payload}, actor=actor)
