"""Writes events: `record` for a batch that the caller holds locked, `record_act` for what belongs to no batch."""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol, cast
from uuid import UUID

from django.db import models, transaction

from common.prepared import Param, PreparedInsert, PreparedUpdate
from events.models import Event, EventType

ARGUS = "argus"

_insert = PreparedInsert(Event)


class Sequenced(Protocol):
    """A locked row that numbers its events: the batch."""

    pk: UUID
    event_seq: int


def record(
    batch: Sequenced, type: EventType, payload: dict[str, Any] | None = None, *, actor: str = ARGUS, also: dict[str, Any] | None = None
) -> Event:
    """Write the next event of a batch; the caller is inside the transaction of the change and holds the batch row locked.

    `also`: further columns of the batch, written in the same statement. Raises TransactionManagementError outside a transaction.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("an event is written in the transaction of the change it tells of")
    assert isinstance(batch, models.Model)
    batch.event_seq += 1
    changed = {"event_seq": batch.event_seq, **(also or {})}
    # An UPDATE of its own and not only the caller's save(): a transition may save some fields, or none.
    _update_of(batch.__class__, tuple(changed))(pk=batch.pk, **changed)
    event = Event(batch_id=batch.pk, seq=batch.event_seq, type=type, payload=payload or {}, actor=actor)
    _insert(event)
    return event


@cache
def _update_of(model: type[models.Model], columns: tuple[str, ...]) -> PreparedUpdate:
    params = {name: Param(name, cast("models.Field[Any, Any]", model._meta.get_field(name))) for name in columns}
    return PreparedUpdate(lambda: model._default_manager.filter(pk=Param("pk", model._meta.pk)), **params)


def record_act(type: EventType, payload: dict[str, Any], *, actor: str) -> Event:
    """Write an event of no batch: a token was made, a signal database came."""
    return Event.objects.create(type=type, payload=payload, actor=actor)
