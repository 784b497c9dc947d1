"""The system checks find what they are for."""

import pytest
from django_q.conf import Conf

from common import checks, pipeline


def test_a_misspelt_stage_is_found(monkeypatch):
    assert checks.stages_have_tasks() == []
    monkeypatch.setitem(pipeline.STAGES, "gather", "batches.tasks.gahter_batch")
    assert [problem.id for problem in checks.stages_have_tasks()] == ["argus.E001"]


@pytest.mark.parametrize(("retry", "found"), [(Conf.RETRY, []), (Conf.TIMEOUT + 1, ["argus.E002"])])
def test_a_retry_that_would_deliver_twice_is_found(monkeypatch, retry, found):
    monkeypatch.setattr(Conf, "RETRY", retry)
    assert [problem.id for problem in checks.retry_outlasts_prefetch()] == found


@pytest.mark.parametrize(("lease", "heartbeat", "found"), [(60, 10, []), (30, 10, []), (29, 10, ["argus.E004"])])
def test_a_lease_that_one_late_heartbeat_would_lose_is_found(settings, lease, heartbeat, found):
    settings.ARGUS_LEASE_SECONDS, settings.ARGUS_HEARTBEAT_SECONDS = lease, heartbeat
    assert [problem.id for problem in checks.lease_outlasts_heartbeats()] == found


@pytest.mark.parametrize(
    ("options", "public", "found"),
    [
        ({"endpoint_url": None}, "", []),
        ({"endpoint_url": "https://s3.example.org:3900", "access_key": "a", "secret_key": "b"}, "https://store.example.org", []),
        ({"endpoint_url": "s3.example.org"}, "", ["argus.E005"]),
        ({"endpoint_url": "https://s3.example.org/bucket"}, "ftp://x", ["argus.E005", "argus.E005"]),
        ({"endpoint_url": None, "access_key": "a", "secret_key": None}, "", ["argus.E006"]),
    ],
)
def test_a_store_that_cannot_be_used_is_found(settings, options, public, found):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}}
    settings.ARGUS_S3_PUBLIC_ENDPOINT = public
    assert [problem.id for problem in checks.store_can_be_used()] == found


def test_a_file_larger_than_an_object_is_found(settings):
    settings.ARGUS_MAX_FILE_BYTES = 6 * 2**40
    assert checks.store_can_be_used() == []
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {}}}
    assert [problem.id for problem in checks.store_can_be_used()] == ["argus.E007"]


@pytest.mark.parametrize(
    ("address", "found"), [("https://s3.example.org", []), ("http://127.0.0.1:9000", []), ("http://s3.example.org", ["argus.W001"])]
)
def test_a_store_without_tls_is_warned_of(settings, address, found):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"endpoint_url": address}},
    }
    assert [problem.id for problem in checks.store_is_reached_by_https()] == found
