"""Names and bounds of a result directory, for those who check one without reading Parquet."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import overload

SCHEMA = 2
SUMMARY = "summary.json"
OVERVIEW = "overview.parquet"
STREAMS = "streams"
MESSAGES = "messages.parquet"
TIME_COLUMN = "t_ns"
MAX_GAPS = 100
MAX_FAULT_CODES = 1000
NAME_KEPT = 1000  # characters of the name of a message, a bus, a source or a signal; a stream's name joins several
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
KEY = re.compile(r"[0-9]{4,9}_[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}")


def safe_name(name: str) -> str:
    """Letters, digits and `_.-` of a name, at most 80 of them; never empty and never beginning with a dot."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80].lstrip(".") or "stream"


def stream_path(directory: str | os.PathLike[str], key: str) -> Path:
    """Where the stream of this key lies."""
    return Path(directory) / STREAMS / f"{key}.parquet"


@overload
def storable(value: str) -> str: ...
@overload
def storable(value: dict[str, str]) -> dict[str, str]: ...
@overload
def storable(value: None) -> None: ...
def storable(value: str | dict[str, str] | None) -> str | dict[str, str] | None:
    """Texts of a file as every database takes them: at most 4,000 characters, without NUL and without halves of surrogate pairs."""
    if isinstance(value, dict):
        return {storable(key): storable(entry) for key, entry in value.items()}
    return None if value is None else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value[:4000])
