"""What the queue can ring: ids in, one call, nothing else. Any of them may run twice."""

from __future__ import annotations

from uuid import UUID

from batches import diagnose, gather, parse, scatter, sweep, verify


def verify_upload(upload_id: str) -> None:
    """An upload whose bytes are all there becomes a File."""
    verify.verify_upload(UUID(upload_id))


def scatter_batch(batch_id: str) -> None:
    """uploaded -> scattering."""
    scatter.scatter_batch(UUID(batch_id))


def parse_file(file_id: str) -> None:
    """One file: pending -> parsing -> parsed | failed."""
    parse.parse_file(UUID(file_id))


def gather_batch(batch_id: str) -> None:
    """scattered -> gathering -> gathered."""
    gather.gather_batch(UUID(batch_id))


def diagnose_batch(batch_id: str) -> None:
    """gathered -> diagnosing -> completed."""
    diagnose.diagnose_batch(UUID(batch_id))


def sweep_batches() -> None:
    """Every minute: ring again what was lost. Scheduled by a migration."""
    sweep.sweep()
