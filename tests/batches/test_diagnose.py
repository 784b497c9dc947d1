"""Diagnose: findings are replaced as a whole, and a rule that raises fails the batch without silencing the others."""

from __future__ import annotations

import pytest

from batches import diagnose, retrigger
from batches.models import Batch
from diagnosis.engine import RULES, Rule
from diagnosis.engine import diagnose as ask
from diagnosis.findings import ERROR, FoundFinding
from diagnosis.models import Finding
from events.models import Event
from tests import factories
from tests.queue import drain

pytestmark = pytest.mark.django_db


def raises(evidence):
    raise RuntimeError("no idea")


def finds(evidence):
    return [FoundFinding(ERROR, "The oil is gone.", "Fill it up.", code="P0520")]


def with_rules(monkeypatch, *rules) -> None:
    monkeypatch.setattr(diagnose, "diagnose", lambda evidence: ask(evidence, rules))


def completed() -> Batch:
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert batch.state == "completed"
    return batch


def test_a_rule_that_raises_fails_the_batch_and_keeps_what_the_others_found(monkeypatch):
    with_rules(monkeypatch, Rule("broken", "1", "", raises), Rule("oil", "1", "", finds))
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.failed_stage, batch.error_code) == ("failed", "diagnosing", "rule_failed")
    assert "broken" in batch.error
    assert "no idea" in batch.error
    assert [finding.rule for finding in Finding.objects.filter(batch=batch)] == ["oil"]
    assert (batch.worst_severity, batch.finding_count) == ("error", 1)


def test_a_batch_is_not_called_ok_when_the_only_rule_failed(monkeypatch):
    with_rules(monkeypatch, Rule("broken", "1", "", raises))
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.worst_severity, batch.finding_count) == ("failed", "", 0)


def test_after_the_rule_is_repaired_the_stage_alone_runs_again(monkeypatch):
    with monkeypatch.context() as patched:
        with_rules(patched, Rule("broken", "1", "", raises))
        batch = factories.uploaded({"a.log": factories.CANDUMP})
        drain()
    fence = Batch.objects.get(pk=batch.pk).fence
    retrigger.retry_stage(batch.pk, actor="user:ops", seen_fence=fence)
    assert drain() == 1
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.error, batch.failed_stage) == ("completed", "", "")


def test_diagnosing_again_replaces_the_findings(monkeypatch):
    batch = completed()
    with_rules(monkeypatch, Rule("oil", "1", "", finds))
    for _ in range(2):
        fence = Batch.objects.get(pk=batch.pk).fence
        retrigger.rediagnose(batch.pk, actor="user:ops", seen_fence=fence)
        drain(times=2)
    assert [finding.sentence for finding in Finding.objects.filter(batch=batch)] == ["The oil is gone."]
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.worst_severity, batch.finding_count) == ("completed", "error", 1)
    told = Event.objects.filter(batch=batch, type="DiagnosisCompleted").order_by("-seq")[0].payload
    assert told["diagnosis_summary"] == "The oil is gone."
    assert told["top_error_codes"] == [{"code": "P0520", "count": 1, "severity": "error"}]


def test_a_batch_without_findings_is_ok(monkeypatch):
    with_rules(monkeypatch)
    assert (completed().worst_severity, completed().finding_count) == ("ok", 0)


def test_a_batch_whose_statistics_are_gone_is_not_diagnosed_as_clean(monkeypatch):
    from files import results

    monkeypatch.setattr(results, "batch_result", lambda batch: None)
    batch = factories.uploaded({"a.log": factories.CANDUMP})
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    assert (batch.state, batch.failed_stage, batch.worst_severity) == ("failed", "diagnosing", "")
    assert "are gone" in batch.error


def test_every_rule_is_asked():
    assert {rule.id for rule in RULES} >= {"limits", "dropout", "stuck", "clock", "damaged"}
