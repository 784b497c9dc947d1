"""Who caused an event, as text: what users are called, and how an actor is read back."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from events.models import Event

LONGEST = Event._meta.get_field("actor").max_length or 150


def user_actor(user: AbstractBaseUser | AnonymousUser) -> str:
    """`user:<name>`, cut to what the column holds."""
    return f"user:{user.get_username()}"[:LONGEST]
