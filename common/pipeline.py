"""The stages of a batch and the doorbell that rings them: the row is the truth, a task only says "look again"."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_q.conf import Conf
from django_q.humanhash import uuid
from django_q.models import OrmQ
from django_q.signing import SignedPackage

# stage -> dotted path of its task; checked against the code by `manage.py check` (common.checks).
STAGES: dict[str, str] = {
    "verify": "batches.tasks.verify_upload",
    "scatter": "batches.tasks.scatter_batch",
    "parse": "batches.tasks.parse_file",
    "gather": "batches.tasks.gather_batch",
    "diagnose": "batches.tasks.diagnose_batch",
}

BULK_ROWS = 1000


class NotInTransaction(RuntimeError):
    """Work is enqueued only inside the transaction that makes it due."""


def enqueue(stage: str, subject: UUID, *, delay: timedelta | None = None) -> None:
    """Ring `stage` for one batch, file or upload, in the caller's transaction; `delay` keeps the doorbell silent that long.

    Raises NotInTransaction outside `transaction.atomic`, KeyError for an unknown stage.
    """
    enqueue_many(stage, [subject], delay=delay)


def enqueue_many(stage: str, subjects: Iterable[UUID], *, delay: timedelta | None = None) -> None:
    """Ring `stage` once for each subject, in bulk inserts."""
    if not transaction.get_connection().in_atomic_block:
        raise NotInTransaction(f"enqueue({stage!r}) needs a transaction: the doorbell and the state commit together")
    task = STAGES[stage]
    names = [str(subject) for subject in subjects]
    due = timezone.now() + (delay or timedelta())
    OrmQ.objects.bulk_create([_row(task, name, due) for name in names], batch_size=BULK_ROWS)


def _row(task: str, name: str, due: object) -> OrmQ:
    """The row that `async_task` would write with the ORM broker, without its two extra queries."""
    tag = uuid()
    package = {
        "id": tag[1],
        "name": tag[0],
        "func": task,
        "args": (name,),
        "kwargs": {},
        "started": timezone.now(),
        "ack_failure": Conf.ACK_FAILURES,
    }
    return OrmQ(key=Conf.CLUSTER_NAME, payload=SignedPackage.dumps(package), lock=due)
