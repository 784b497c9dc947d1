"""Runs what stands in the queue, in this process: every doorbell once, or twice to show that the second changes nothing."""

from __future__ import annotations

from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from common.clock import EPOCH
from common.pipeline import STAGES
from files.models import File

ROUNDS = 10_000


def waiting() -> list[tuple[str, str]]:
    """(stage, id) of everything in the queue, oldest first."""
    stages = {path: stage for stage, path in STAGES.items()}
    return [(stages[row.task["func"]], row.task["args"][0]) for row in OrmQ.objects.order_by("pk")]


def drain(*, times: int = 1) -> int:
    """Run due doorbells until none is left, each `times` times. The number of runs."""
    ran = 0
    for _ in range(ROUNDS):
        row = OrmQ.objects.filter(lock__lte=timezone.now()).order_by("pk").first()
        if row is None:
            return ran
        task = row.task
        row.delete()
        for _ in range(times):
            import_string(task["func"])(*task["args"])
            ran += 1
    raise AssertionError("the queue does not run empty")


def skip_delays() -> None:
    """As if every delay had passed: for the doorbells and for the files that wait."""
    OrmQ.objects.update(lock=EPOCH)
    File.objects.update(next_attempt_at=EPOCH)
