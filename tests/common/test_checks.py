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
