"""A lost journal, found again at the server: which files of the spool belong to which batch, by name, size and SHA-256."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from argus_uploader import journal
from argus_uploader.api import Api
from argus_uploader.errors import Problem
from argus_uploader.journal import Item, Journal, Record
from argus_uploader.progress import Progress
from argus_uploader.source import Changed, Source
from argus_uploader.spool import Found, Spool, names

NEWEST_BATCHES = 500


class Recovery:
    """Rebuilds records. `checkpoint` is called while files are read and may raise Stopped."""

    def __init__(self, api: Api, kept: Journal, spool: Spool, progress: Progress, checkpoint: Callable[[], None]) -> None:
        self._api, self._journal, self._spool, self._progress, self._checkpoint = api, kept, spool, progress, checkpoint
        self._digests: dict[Found, str] = {}

    def run(self) -> int:
        """Looks through the vehicle's newest batches as long as files of the spool are without one; how many records were made.

        May be repeated. Raises TryLater, NotAllowed, Stopped, LocalTrouble.
        """
        wanted = self._wanted()
        made = 0
        if wanted:
            for batch in self._api.batches(NEWEST_BATCHES):
                if batch["id"] in self._journal.records or batch["status"] == "abandoned":
                    continue
                made += self._match(str(batch["id"]), wanted)
                if not wanted:
                    break
        self._journal.begin()
        return made

    def _wanted(self) -> dict[tuple[str, int], list[tuple[str, Found]]]:
        """The files that no record has, by the name they would have and their size."""
        claimed = self._journal.claimed()
        wanted: dict[tuple[str, int], list[tuple[str, Found]]] = {}
        for folder, files in self._spool.everything().items():
            called = names(folder, [found.path for found in files])
            for found in files:
                if found.size and (found.size, found.mtime_ns) not in claimed.get(found.path, set()):
                    wanted.setdefault((called[found.path], found.size), []).append((folder, found))
        return wanted

    def _match(self, batch_id: str, wanted: dict[tuple[str, int], list[tuple[str, Found]]]) -> int:
        try:
            batch = self._api.get_batch(batch_id)
        except Problem:
            return 0  # deleted between the two calls
        if not any(entry.get("size") is not None and (entry["name"], entry["size"]) in wanted for entry in _entries(batch)):
            return 0
        items, folders = [], []
        for entry in _entries(batch):
            match = self._find(entry, wanted)
            if match is not None:
                folder, item = match
                folders.append(folder)
                items.append(item)
        if not items:
            return 0
        record = Record(max(set(folders), key=folders.count), {}, items, id=batch_id, made_at=time.time())
        record.phase = journal.OPEN if batch["status"] == "pending" else journal.COMPLETED
        self._journal.save(record)
        self._progress.event("batch_recovered", batch=batch_id, folder=record.folder, files=len(items), status=batch["status"])
        return 1

    def _find(self, entry: Mapping[str, Any], wanted: dict[tuple[str, int], list[tuple[str, Found]]]) -> tuple[str, Item] | None:
        """The file of the spool that the server's entry is; it is wanted no more."""
        key = (str(entry["name"]), int(entry.get("size") or 0))
        for folder, found in wanted.get(key, ()):
            sha256 = self._digest(found)
            if sha256 and entry.get("sha256") in {sha256, "", None}:
                wanted[key].remove((folder, found))
                if not wanted[key]:
                    del wanted[key]
                item = Item(found.path, entry["name"], found.size, found.mtime_ns, sha256, found.kind, found.priority)
                return folder, item
        return None

    def _digest(self, found: Found) -> str:
        if found not in self._digests:
            try:
                with Source(self._spool.folder / found.path, found.size, found.mtime_ns) as source:
                    self._digests[found] = source.sha256(self._checkpoint)
            except Changed:
                self._digests[found] = ""
        return self._digests[found]


def _entries(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(batch.get("files") or ()), *(batch.get("uploads") or ())]
