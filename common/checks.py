"""System checks that keep the queue's settings and stage names true."""

from __future__ import annotations

from math import ceil
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.db import connections
from django.utils.module_loading import import_string

from common.hooks import HOOKS
from common.pipeline import STAGES

MARGIN_SECONDS = 300
HEARTBEATS_PER_LEASE = 3


@register()
def stages_have_tasks(**_: Any) -> list[CheckMessage]:
    """Every stage and every hook names a callable that exists."""
    problems: list[CheckMessage] = []
    for name, path in {**STAGES, **HOOKS}.items():
        try:
            import_string(path)
        except ImportError as error:
            problems.append(Error(f"{'stage' if name in STAGES else 'hook'} {name!r} has no function {path!r}: {error}", id="argus.E001"))
    return problems


@register()
def retry_outlasts_prefetch(**_: Any) -> list[CheckMessage]:
    """A prefetched task must not be delivered again while the first delivery still waits or runs.

    django-q2 starts the retry clock when a task is fetched, and fetches up to queue_limit + 1 tasks ahead.
    """
    from django_q.conf import Conf

    needed = Conf.TIMEOUT * (1 + ceil((Conf.QUEUE_LIMIT + 1) / Conf.WORKERS)) + MARGIN_SECONDS
    if needed > Conf.RETRY:
        return [
            Error(f"Q_CLUSTER retry={Conf.RETRY} s must be at least {needed} s for this timeout, queue_limit and workers", id="argus.E002")
        ]
    return []


@register()
def lease_outlasts_heartbeats(**_: Any) -> list[CheckMessage]:
    """One late or failed heartbeat must not cost the lease."""
    lease, heartbeat = settings.ARGUS_LEASE_SECONDS, settings.ARGUS_HEARTBEAT_SECONDS
    if lease < HEARTBEATS_PER_LEASE * heartbeat:
        return [
            Error(
                f"ARGUS_LEASE_SECONDS={lease} must be at least {HEARTBEATS_PER_LEASE} times ARGUS_HEARTBEAT_SECONDS={heartbeat}",
                id="argus.E004",
            )
        ]
    return []


@register()
def sqlite_is_new_enough(**_: Any) -> list[CheckMessage]:
    """RETURNING needs SQLite 3.35."""
    connection = connections["default"]
    if connection.vendor == "sqlite":
        import sqlite3

        if sqlite3.sqlite_version_info < (3, 35):
            return [Error(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed", id="argus.E003")]
    return []
