"""System checks that keep the settings of queue and store, and the names of stages, true."""

from __future__ import annotations

from math import ceil
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
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


LARGEST_OBJECT = 5 * 2**40


@register()
def store_can_be_used(**_: Any) -> list[CheckMessage]:
    """What can be said of the S3 settings without asking the store."""
    options = _s3_options()
    if options is None:
        return []
    problems: list[CheckMessage] = []
    for name, address in (
        ("ARGUS_S3_ENDPOINT", options.get("endpoint_url")),
        ("ARGUS_S3_PUBLIC_ENDPOINT", settings.ARGUS_S3_PUBLIC_ENDPOINT),
    ):
        parts = urlsplit(address or "https://aws")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            problems.append(Error(f"{name} must be scheme://host[:port] and nothing else", id="argus.E005"))
    if bool(options.get("access_key")) != bool(options.get("secret_key")):
        problems.append(Error("ARGUS_S3_ACCESS_KEY and ARGUS_S3_SECRET_KEY go together", id="argus.E006"))
    if settings.ARGUS_MAX_FILE_BYTES > LARGEST_OBJECT:
        problems.append(Error("ARGUS_MAX_FILE_BYTES is more than an S3 object can have (5 TiB)", id="argus.E007"))
    return problems


@register(deploy=True)
def store_is_reached_by_https(**_: Any) -> list[CheckMessage]:
    """Recordings and signed addresses should not pass a network in the clear."""
    options = _s3_options()
    addresses = [options.get("endpoint_url"), settings.ARGUS_S3_PUBLIC_ENDPOINT] if options else []
    open_ones = [address for address in addresses if address and urlsplit(address).scheme == "http"]
    return [
        Warning(f"The store is reached without TLS: {address}", id="argus.W001")
        for address in open_ones
        if urlsplit(address).hostname not in {"127.0.0.1", "localhost", "::1"}
    ]


def _s3_options() -> dict[str, Any] | None:
    """The settings of the S3 store, if files lie in one."""
    default = settings.STORAGES["default"]
    return dict(default.get("OPTIONS", {})) if default["BACKEND"].endswith("S3Storage") else None
