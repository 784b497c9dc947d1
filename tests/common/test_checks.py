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
