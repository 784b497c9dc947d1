"""What people can do to a batch: who may, when, and what is asked before; each is one call of the stage module that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User

from batches import intake, retrigger
from batches.models import RUNNING, Batch, BatchState, S

RETRIGGER, CANCEL, DELETE = "batches.retrigger_batch", "batches.cancel_batch", "batches.delete_batch"
STAGE_NAMES = {S.SCATTERING: "parsing", S.GATHERING: "gathering", S.DIAGNOSING: "diagnosis"}


@dataclass(frozen=True, slots=True)
class Action:
    """A button. `ask` is the question of the confirmation page; without one the button acts at once."""

    name: str
    label: str
    explanation: str
    permission: str
    possible: Callable[[Batch], bool]
    run: Callable[..., Any]
    done: str
    ask: str = ""
    danger: bool = False


def failed_at_barrier(batch: Batch) -> bool:
    """Some files could not be read, others could."""
    return batch.state == S.FAILED and batch.failed_stage == S.SCATTERING and batch.processed_files > 0


def stage_can_be_retried(batch: Batch) -> bool:
    """Failed after the barrier: the files are read, only the stage runs again."""
    return batch.state == S.FAILED and batch.failed_stage in {S.GATHERING, S.DIAGNOSING}


def ended(batch: Batch) -> bool:
    """Completed or failed: it can run again."""
    return batch.state in {S.COMPLETED, S.FAILED}


def delete(batch_id: UUID, *, actor: str, seen_fence: int, reason: str = "") -> None:
    """Delete what the user has seen. Raises SomebodyElseActed when the batch runs again meanwhile, NotFound, StorageUnavailable."""
    if Batch.objects.filter(pk=batch_id).exclude(fence=seen_fence).exists():
        raise retrigger.SomebodyElseActed
    intake.delete_batch(batch_id, actor=actor)


ACTIONS = (
    Action(
        "retry-stage",
        "Retry from the failed stage",
        "The files are read already; only the stage that failed runs again.",
        RETRIGGER,
        stage_can_be_retried,
        retrigger.retry_stage,
        "The failed stage will run again.",
    ),
    Action(
        "retry-failed-files",
        "Retry failed files",
        "Parses only the files that failed; the others keep their results.",
        RETRIGGER,
        lambda batch: ended(batch) and batch.failed_files > 0,
        retrigger.retry_failed_files,
        "The failed files will be parsed again.",
    ),
    Action(
        "continue-without-failed",
        "Continue without failed files",
        "Gathers what could be read. The report will say which files are missing.",
        RETRIGGER,
        failed_at_barrier,
        retrigger.continue_without_failed,
        "The batch goes on with the files that could be read.",
    ),
    Action(
        "rediagnose",
        "Diagnose again",
        "Looks for findings with today's rules and limits; no file is parsed.",
        RETRIGGER,
        lambda batch: batch.state == S.COMPLETED,
        retrigger.rediagnose,
        "The batch will be diagnosed again.",
    ),
    Action(
        "reprocess",
        "Parse everything again",
        "Parses every file with the newest parsers and signal databases.",
        RETRIGGER,
        ended,
        retrigger.reprocess,
        "All files will be parsed again.",
        ask="Parse all files of this batch again? Today's statistics and findings stay until the new ones are ready.",
    ),
    Action(
        "reopen",
        "Reopen for the vehicle",
        "Lets the vehicle add files. Nothing runs until it says complete again.",
        RETRIGGER,
        lambda batch: batch.state == S.COMPLETED,
        retrigger.reopen,
        "The vehicle can add files now.",
        ask="Reopen this batch? It stays pending until the vehicle says complete again.",
    ),
    Action(
        "cancel",
        "Cancel",
        "Stops the batch; what is being worked on is dropped.",
        CANCEL,
        lambda batch: batch.state in RUNNING,
        retrigger.cancel,
        "The batch is cancelled.",
        ask="Cancel this batch? A cancelled batch cannot be started again.",
        danger=True,
    ),
    Action(
        "delete",
        "Delete",
        "Removes the batch with its files, results, findings, notes and history. One event remains that says who deleted it.",
        DELETE,
        lambda batch: True,
        delete,
        "The batch is deleted.",
        ask="Delete this batch and everything that belongs to it? This cannot be undone.",
        danger=True,
    ),
)
BY_NAME = {action.name: action for action in ACTIONS}


def allowed(batch: Batch, user: User | AnonymousUser) -> list[Action]:
    """The buttons that this user sees on this batch."""
    return [action for action in ACTIONS if action.possible(batch) and user.has_perm(action.permission)]


def stage_name(batch: Batch) -> str:
    """The stage a batch failed in, as a noun."""
    return STAGE_NAMES.get(BatchState(batch.failed_stage), "") if batch.failed_stage else ""


def perform(action: Action, batch_id: UUID, *, actor: str, seen_fence: int, reason: str) -> None:
    """Do it. Raises ArgusError when it is not possible (any more)."""
    action.run(batch_id, actor=actor, seen_fence=seen_fence, reason=reason)
