"""Tokens are shown once, live two at a time, and end at once."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from events.models import Event
from tests import factories
from vehicles.credentials import checksum
from vehicles.models import VEHICLE_SCOPES, ApiToken
from vehicles.tokens import TooManyTokens, find_token, make_token, revoke_token, touch

pytestmark = pytest.mark.django_db


def made(vehicle=None):
    return make_token(vehicle or factories.vehicle(), VEHICLE_SCOPES, label="test", actor="user:ops")


def test_the_text_finds_the_token_and_is_not_stored():
    token, text = made()
    assert re.fullmatch(r"argus_v1_[0-9A-Za-z]{12}_[0-9A-Za-z_-]{43}_[0-9A-Za-z]{6}", text)
    assert find_token(text) == token
    stored = " ".join(str(value) for value in ApiToken.objects.filter(pk=token.pk).values()[0].values())
    assert text.split("_", 3)[3][:43] not in stored  # the secret may have a _ itself


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t + "0",
        lambda t: t.replace("argus_v1", "argus_v2"),
        lambda t: "",
        lambda t: t[:30] + ("A" if t[30] != "A" else "B") + t[31:],
    ],
)
def test_any_other_text_finds_nothing(change):
    _, text = made()
    assert find_token(change(text)) is None


def test_the_secret_of_one_with_the_key_of_another_finds_nothing():
    (_, one), (_, two) = made(), made()
    head = "_".join([*one.split("_")[:3], two[len("argus_v1_") + 13 :].rpartition("_")[0]])
    assert find_token(f"{head}_{checksum(head)}") is None


def test_a_vehicle_has_two_live_tokens_at_most():
    vehicle = factories.vehicle()
    first, _ = made(vehicle)
    made(vehicle)
    with pytest.raises(TooManyTokens):
        made(vehicle)
    revoke_token(first, actor="user:ops")
    made(vehicle)
    assert vehicle.tokens.filter(revoked_at__isnull=True).count() == 2


def test_the_database_refuses_a_third_live_token():
    vehicle = factories.vehicle()
    made(vehicle)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiToken.objects.create(vehicle=vehicle, slot=1, key_id="x" * 12, secret_sha256="0" * 64)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiToken.objects.create(vehicle=vehicle, slot=3, key_id="x" * 12, secret_sha256="0" * 64)


def test_revoked_and_expired_tokens_find_nothing():
    token, text = made()
    assert revoke_token(token, actor="user:ops")
    assert not revoke_token(token, actor="user:ops")
    assert find_token(text) is None
    expired, text = made()
    ApiToken.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert find_token(text) is None


def test_use_is_noted_at_most_once_a_minute(django_assert_num_queries):
    token, text = made()
    touch(token)
    again = find_token(text)
    assert again.last_used_at is not None
    with django_assert_num_queries(0):
        touch(again)


def test_making_and_revoking_are_events_without_the_secret():
    token, text = made()
    revoke_token(token, actor="user:ops")
    events = Event.objects.filter(type__in=["TokenCreated", "TokenRevoked"])
    assert {event.actor for event in events} == {"user:ops"}
    assert all(text.split("_", 3)[3][:43] not in str(event.payload) for event in events)
