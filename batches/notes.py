"""What people write about a batch."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from batches.models import Note
from batches.transitions import locked
from common.errors import InvalidField
from events.actors import user_actor
from events.models import EventType
from events.record import record

LONGEST = Note._meta.get_field("text").max_length or 10_000


def add_note(batch_id: UUID, user: User | AnonymousUser, text: str) -> Note:
    """Keep what `user` says about the batch, and tell of it. Raises NotFound, or InvalidField for an empty or too long text."""
    assert isinstance(user, User), "who writes has logged in"
    text = text.replace("\r\n", "\n").replace("\x00", "").strip()
    if not text:
        raise InvalidField("The note is empty.")
    if len(text) > LONGEST:
        raise InvalidField(f"The note has {len(text)} characters; at most {LONGEST} are allowed.")
    with transaction.atomic():
        batch = locked(batch_id)
        note = Note.objects.create(batch=batch, author=user, text=text)
        record(batch, EventType.NOTE_ADDED, {"note_id": note.pk}, actor=user_actor(user))
    return note
