"""Diagnose: the evidence of a batch becomes findings."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Q

from batches import claims
from batches.barrier import end
from batches.models import Batch, Severity
from batches.transitions import move
from common.errors import NotFound
from diagnosis.engine import Diagnosis, diagnose
from diagnosis.evidence import Evidence, FileFact, Limit
from diagnosis.findings import SEVERITIES
from diagnosis.known_codes import facts_of
from diagnosis.models import Finding, SignalLimit
from events.models import EventType
from events.record import record
from files import results
from files.models import File
from vehicles.signal_databases import databases_for

RULES_VERSION = 1
INSERT_ROWS = 500
TOP_CODES = 10


class ResultMissing(NotFound):
    """What gather stored is gone: no wait brings it back."""

    code = "result_missing"
    title = "The stored statistics of the batch are gone"
    action = "Parse everything again."


def diagnose_batch(batch_id: UUID) -> None:
    """Diagnose a gathered batch, or take over a diagnosis that died."""
    claims.run(claims.DIAGNOSE, batch_id, run)


def run(batch_id: UUID, fence: int) -> None:
    """Collect the evidence, ask the engine, replace the findings; a rule that raises fails the batch but keeps what the others found."""
    batch = Batch.objects.select_related("vehicle").get(pk=batch_id)
    diagnosis = diagnose(evidence_of(batch))
    with transaction.atomic():
        locked = claims.still_mine(claims.DIAGNOSE, batch_id, fence)
        if locked is None:
            return
        replace_findings(locked, diagnosis)
        worst = max((finding.severity for finding in diagnosis.findings), key=SEVERITIES.index, default="")
        if diagnosis.failures:
            names = ", ".join(failure.rule for failure in diagnosis.failures)
            # Not "ok" without findings: the rules that failed might have had some.
            locked.worst_severity, locked.finding_count = worst, len(diagnosis.findings)
            end(locked, "rule_failed", f"Rules failed: {names}. {diagnosis.failures[0].cause}")
            return
        move(locked, "finish", worst or Severity.OK, len(diagnosis.findings))
        record(locked, EventType.DIAGNOSIS_COMPLETED, verdict(diagnosis))


def evidence_of(batch: Batch) -> Evidence:
    """Everything that rules may look at; signal values are read only when a rule asks for them."""
    statistics = results.batch_result(batch)
    if statistics is None:
        raise ResultMissing
    readable = results.file_results(batch)
    limits = SignalLimit.objects.filter(Q(platform__isnull=True) | Q(platform_id=batch.vehicle.platform_id)).order_by("platform_id")
    return Evidence(
        statistics=statistics,
        limits=[
            Limit(row.signal, row.low, row.high, row.duration_s, row.severity, row.action, row.platform_id is not None) for row in limits
        ],
        files=[
            FileFact(str(file.pk), file.name, str(file.state), file.error_code, file.error, file.error_offset)
            for file in File.objects.current().filter(batch=batch).order_by("created_at", "pk")
        ],
        has_database=bool(databases_for(batch.vehicle.platform_id, batch.software)),
        code_facts=facts_of((row["code"] for row in statistics["fault_codes"]), batch.vehicle.platform_id),
        series=lambda stream, signal: results.series(readable, stream, signal),
    )


def replace_findings(batch: Batch, diagnosis: Diagnosis) -> None:
    """One diagnosis per batch: a repeat overwrites."""
    Finding.objects.filter(batch=batch).delete()
    Finding.objects.bulk_create(
        [
            Finding(
                batch=batch,
                file_id=found.file_id,
                rule=found.rule,
                rule_version=found.rule_version,
                severity=found.severity,
                code=found.code,
                sentence=found.sentence,
                action=found.action,
                stream=found.stream,
                signal=found.signal,
                from_ns=found.from_ns,
                to_ns=found.to_ns,
                count=found.count,
                details=found.details,
            )
            for found in diagnosis.findings
        ],
        batch_size=INSERT_ROWS,
    )


def verdict(diagnosis: Diagnosis) -> dict[str, object]:
    """The payload of DiagnosisCompleted."""
    coded = [finding for finding in diagnosis.findings if finding.code]
    return {
        "version": RULES_VERSION,
        "findings": len(diagnosis.findings),
        "diagnosis_summary": diagnosis.findings[0].sentence if diagnosis.findings else "Nothing conspicuous was found.",
        "top_error_codes": [{"code": finding.code, "count": finding.count, "severity": finding.severity} for finding in coded[:TOP_CODES]],
    }
