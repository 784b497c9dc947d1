"""The results of a batch, by their place in storage: of its files, merged, as series and as plots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from common.errors import NotFound
from files import storage
from files.models import File
from files.plots import PlotData, plot_parts
from files.result_files import Block, FileResult, Results, StreamPart

__all__ = ["STATISTICS", "Block", "FileResult", "PlotData", "Results", "batch_result", "file_results", "plot", "series"]

STATISTICS = "statistics.json"
MAX_STATISTICS = 256 << 20
FAR = (1 << 63) - 1
KNOWN_FILES = 4096


class Batch(Protocol):
    """What of a batch is needed here: which it is, and where its merged result lies (empty before it is gathered)."""

    @property
    def pk(self) -> UUID: ...
    @property
    def result_key(self) -> str: ...


class StoredResult(FileResult):
    """A result in storage. What streams it has is remembered by the process: an attempt writes its result once, under a key of its own."""

    result_key: str

    @cached_property
    def parts(self) -> list[StreamPart]:
        """As FileResult's; a plot of many files reads no summary twice."""
        return _parts(self.result_key)


@lru_cache(maxsize=KNOWN_FILES)
def _parts(result_key: str) -> list[StreamPart]:
    return FileResult("", result_key, 0, partial(_open, result_key)).parts


def file_results(batch: Batch) -> Results:
    """The current readable files of a batch, ordered by first recorded time, then name. One query; results are read when asked for.

    Of files with the same bytes the first one counts; the others are named in `copies`.
    """
    found = Results()
    rows = _without_copies(batch, found.copies)
    times = {pk: _ends(facts) for pk, _, _, facts in rows}
    messages = {pk: sum((facts.get("message_levels") or {}).values()) for pk, _, _, facts in rows}
    rows.sort(key=lambda row: (FAR if times[row[0]][0] is None else times[row[0]][0], row[1], row[0]))
    for order, (pk, name, result_key, _) in enumerate(rows):
        result = StoredResult(str(pk), name, order, partial(_open, result_key), *times[pk], messages[pk])
        result.result_key = result_key
        found.append(result)
    return found


def _without_copies(batch: Batch, copies: list[tuple[str, str]]) -> list[Any]:
    """Key, name, result key and facts of the files that count; (name, name of the first one) of the others go to `copies`."""
    fields = ("pk", "name", "result_key", "facts", "sha256", "format", "duplicate_of")
    rows = list(File.objects.readable().filter(batch_id=batch.pk).order_by("created_at", "pk").values_list(*fields))
    # A file that came first may have been tried again since, and is younger now: it has no link.
    rows.sort(key=lambda row: row[6] is not None)
    first: dict[tuple[str, str], str] = {}
    kept = []
    for pk, name, result_key, facts, sha256, file_format, duplicate_of in rows:
        if duplicate_of is not None and (sha256, file_format) in first:
            copies.append((name, first[sha256, file_format]))
            continue
        first.setdefault((sha256, file_format), name)
        kept.append((pk, name, result_key, facts))
    return kept


def batch_result(batch: Batch) -> dict[str, Any] | None:
    """statistics.json of the batch; None when it has not been gathered, or the object is gone. Raises StorageUnavailable."""
    if not batch.result_key:
        return None
    try:
        data = storage.read_bytes(f"{batch.result_key}/{STATISTICS}", MAX_STATISTICS)
    except NotFound:
        return None
    statistics: dict[str, Any] = json.loads(data)
    return statistics


def series(results: Sequence[FileResult], stream: str, signal: str) -> Iterator[Block]:
    """Times (int64, ns) and finite values (float64) of a signal, file after file, in pieces of at most 65,536.

    `stream` is the name in statistics.json. Nothing comes for a signal that no file has.
    """
    whole = results if isinstance(results, Results) else Results(results)
    for result, part in whole.parts(stream):
        if signal in part.signals:
            yield from result.values(part.key, signal)


def plot(batch: Batch, stream: str, signal: str, from_ns: int | None, to_ns: int | None, points: int) -> PlotData:
    """The points of one signal of the batch between two times (ns; None is open), about `points` of them, at most twice as many.

    No spike is lost at any zoom. Raises NotFound when the batch has no such signal.
    """
    parts = [(result, part) for result, part in file_results(batch).parts(stream) if signal in part.signals]
    if not parts:
        raise NotFound(f"The batch has no signal {stream}.{signal}.")
    return plot_parts(parts, signal, from_ns, to_ns, points)


def _open(result_key: str, path: str) -> BinaryIO:
    return storage.open_file(f"{result_key}/{path}")


def _ends(facts: dict[str, Any]) -> tuple[int | None, int | None]:
    time = facts.get("time") or {}
    return time.get("first_ns"), time.get("last_ns")
