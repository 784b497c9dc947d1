"""A batch's events as sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
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


def _because(payload: dict[str, Any]) -> str:
    return f": {payload['reason']}" if payload.get("reason") else ""


def _again(payload: dict[str, Any]) -> str:
    return f", a copy of a file that came before ({payload['duplicate_why']})" if payload.get("duplicate_of") else ""


def _retry(payload: dict[str, Any], name: str) -> str:
    files = f" ({count(payload['file_count'])} files)" if payload.get("file_count") else ""
    return f"Asked to {WHAT.get(str(payload['what']), str(payload['what']))}{files}{_because(payload)}"


# what each type says of its payload and of the name of its file; other types show the payload
SENTENCES: dict[EventType, Callable[[dict[str, Any], str], str]] = {
    EventType.BATCH_OPENED: lambda payload, name: "The batch was opened",
    EventType.BATCH_CREATED: lambda payload, name: "The vehicle said that everything has arrived",
    EventType.STATUS_CHANGED: lambda payload, name: f"{payload['old_status']} → {payload['new_status']}{_because(payload)}",
    EventType.FILE_ADDED: lambda payload, name: f"{payload.get('name') or name} arrived{_again(payload)}",
    EventType.UPLOAD_ENDED: lambda payload, name: f"The upload of {payload['name']} was ended{_because(payload)}",
    EventType.FILE_PARSED: lambda payload, name: f"{name} was read",
    EventType.FILE_FAILED: lambda payload, name: f"{name} could not be read: {payload['code']}",
    EventType.FILES_ADVANCED: lambda payload, name: f"{count(payload['files'])} files: {str(payload['step']).replace('_', ' ')}",
    EventType.GATHERING_COMPLETED: lambda payload, name: f"Statistics of {count(payload['total_files'])} files are ready",
    EventType.DIAGNOSIS_COMPLETED: lambda payload, name: f"{payload['findings']} findings. {payload['diagnosis_summary']}",
    EventType.BATCH_FAILED: lambda payload, name: f"{payload['reason']} ({payload['code']} while {payload['stage']})",
    EventType.RETRY_REQUESTED: _retry,
    EventType.NOTE_ADDED: lambda payload, name: "A note was written",
}


def plain(payload: Any) -> str:
    """The payload itself, shortened."""
    text = ", ".join(f"{key}: {value}" for key, value in payload.items()) if isinstance(payload, dict) else json.dumps(payload)
    return text if len(text) <= LONGEST_PAYLOAD else text[:LONGEST_PAYLOAD] + "…"


def sentence(event: Event, names: dict[str, str]) -> str:
    """What happened; a payload of an unknown shape is shown as it is."""
    payload = event.payload if isinstance(event.payload, dict) else {"value": event.payload}
    say = SENTENCES.get(EventType(event.type))
    if say is None:
        return visible(plain(payload))
    try:
        return visible(say(payload, names.get(str(payload.get("file_id")), "a file that is gone")))
    except (KeyError, TypeError, ValueError):
        return visible(plain(payload))
