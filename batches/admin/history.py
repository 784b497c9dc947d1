"""A batch's events as sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batches.admin import queries
from common.display import count, visible
from events.models import Event, EventType

LONGEST_PAYLOAD = 300
WHAT = {
    "retry_failed_files": "retry the failed files",
    "reprocess": "parse all files again",
    "regather": "gather again",
    "retry_diagnose": "diagnose again after a failure",
    "continue_without_failed": "go on without the failed files",
    "rediagnose": "diagnose again",
    "reopen": "reopen for the vehicle",
    "cancel": "cancel",
}
KINDS = {
    EventType.BATCH_FAILED: "error",
    EventType.FILE_FAILED: "error",
    EventType.FILE_RELEASED: "warning",
    EventType.RETRY_REQUESTED: "warning",
    EventType.DIAGNOSIS_COMPLETED: "ok",
    EventType.FILE_PARSED: "ok",
    EventType.GATHERING_COMPLETED: "ok",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    seq: int | None
    type: str
    kind: str
    actor: str
    at: datetime
    sentence: str


def history(events: Iterable[Event]) -> list[Entry]:
    """Lines for the page, in the order of `events`; one query for the names of the files in them."""
    events = list(events)
    names = queries.names_of_files({file_id for event in events if isinstance(file_id := event.payload.get("file_id"), str)})
    return [
        Entry(
            event.seq, event.type, KINDS.get(EventType(event.type), "quiet"), actor(event.actor), event.created_at, sentence(event, names)
        )
        for event in events
    ]


def actor(text: str) -> str:
    """Who it was, in words."""
    kind, _, name = text.partition(":")
    return {"argus": "Argus", "vehicle": "the vehicle", "user": name, "token": f"token {name}"}.get(kind, text)


def sentence(event: Event, names: dict[str, str]) -> str:
    """What happened; a payload of an unknown shape is shown as it is."""
    payload = event.payload if isinstance(event.payload, dict) else {"value": event.payload}
    try:
        return visible(_sentence(EventType(event.type), payload, names))
    except (KeyError, TypeError, ValueError):
        return visible(plain(payload))


def _sentence(type: EventType, payload: dict[str, Any], names: dict[str, str]) -> str:
    name = names.get(str(payload.get("file_id")), "a file that is gone") if "file_id" in payload else ""
    if type == EventType.STATUS_CHANGED:
        return f"{payload['old_status']} → {payload['new_status']}" + (f": {payload['reason']}" if payload.get("reason") else "")
    if type == EventType.FILE_PARSED:
        return f"{name} was read"
    if type == EventType.FILE_FAILED:
        return f"{name} could not be read: {payload['code']}"
    if type == EventType.FILE_ADDED:
        return f"{payload.get('name') or name} arrived"
    if type == EventType.FILES_ADVANCED:
        return f"{count(payload['files'])} files: {str(payload['step']).replace('_', ' ')}"
    if type == EventType.BATCH_FAILED:
        return f"{payload['reason']} ({payload['code']} while {payload['stage']})"
    if type == EventType.DIAGNOSIS_COMPLETED:
        return f"{payload['findings']} findings. {payload['diagnosis_summary']}"
    if type == EventType.GATHERING_COMPLETED:
        return f"Statistics of {count(payload['total_files'])} files are ready"
    if type == EventType.RETRY_REQUESTED:
        wanted = WHAT.get(str(payload["what"]), str(payload["what"]))
        files = f" ({count(payload['file_count'])} files)" if payload.get("file_count") else ""
        return f"Asked to {wanted}{files}" + (f": {payload['reason']}" if payload.get("reason") else "")
    if type == EventType.BATCH_CREATED:
        return "The vehicle said that everything has arrived"
    if type == EventType.BATCH_OPENED:
        return "The batch was opened"
    if type == EventType.NOTE_ADDED:
        return "A note was written"
    return plain(payload)


def plain(payload: Any) -> str:
    """The payload itself, shortened."""
    text = ", ".join(f"{key}: {value}" for key, value in payload.items()) if isinstance(payload, dict) else json.dumps(payload)
    return text if len(text) <= LONGEST_PAYLOAD else text[:LONGEST_PAYLOAD] + "…"
