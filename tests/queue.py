"""Runs what stands in the queue, in this process: every doorbell once, or twice to show that the second changes nothing."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from common.pipeline import STAGES

ROUNDS = 10_000


def waiting() -> list[tuple[str, str]]:
    """(stage, id) of everything in the queue, oldest first."""
    stages = {path: stage for stage, path in STAGES.items()}
    return [(stages[row.task["func"]], row.task["args"][0]) for row in OrmQ.objects.order_by("pk")]


def drain(*, times: int = 1, later: timedelta = timedelta()) -> int:
    """Run due doorbells until none is left, each `times` times; `later` pretends that so much time has passed. The number run."""
    ran = 0
    for _ in range(ROUNDS):
        row = OrmQ.objects.filter(lock__lte=timezone.now() + later).order_by("pk").first()
        if row is None:
            return ran
        task = row.task
        row.delete()
        for _ in range(times):
            import_string(task["func"])(*task["args"])
            ran += 1
    raise AssertionError("the queue does not run empty")
