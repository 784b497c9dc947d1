"""What is known about batches on their way: one small file for each, replaced atomically, so that a power cut forgets nothing.

The files' offsets are not in it: the server knows them.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from argus_uploader import durable
from argus_uploader.errors import LocalTrouble

VERSION = 1
BEGUN = "begun"

# Phases of a batch: the server may not know it; takes files; has accepted `complete`; every proved file was dealt with.
NEW, OPEN, COMPLETED, DONE = "new", "open", "completed", "done"
# States of a file: to be sent with this batch; not this version any more; the server will not have it; proved and dealt with.
HERE, CHANGED, REFUSED, PROVED = "here", "changed", "refused", "proved"


@dataclass
class Item:
    """A file of a batch: `path` in the spool, `name` for the server, and by which size and time (ns) this version is known."""

    path: str
    name: str
    size: int
    mtime_ns: int
    sha256: str
    kind: str = ""
    priority: int = 0
    state: str = HERE
    reason: str = ""


@dataclass
class Record:
    """A batch; `told` says how much of what we know goes into its opening (less where the server refused it)."""

    folder: str
    declaration: dict[str, Any]
    items: list[Item]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    phase: str = NEW
    told: int = 0
    renewals: int = 0
    made_at: float = 0.0
    reason: str = ""

    def waiting(self) -> list[Item]:
        """The files that belong to the batch and are not done with: the most important first, of these the smallest."""
        return sorted((item for item in self.items if item.state == HERE), key=lambda item: (-item.priority, item.size, item.path))

    @property
    def priority(self) -> int:
        """That of the most important file."""
        return max((item.priority for item in self.items), default=0)

    @property
    def size(self) -> int:
        """Bytes of all files that are to be sent."""
        return sum(item.size for item in self.items if item.state == HERE)

    def renew(self, *, same_id: bool) -> None:
        """The same files are to be sent once more, in this batch or in another one."""
        if not same_id:
            self.id = str(uuid.uuid4())
        self.phase, self.renewals = NEW, self.renewals + 1


class Journal:
    """All records, in memory and in `folder`."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "journal"
        self.records: dict[str, Record] = {}
        self._saved_as: dict[int, str] = {}
        self.damaged = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in self._folder.glob(".*.tmp"):
                path.unlink()
            for path in sorted(self._folder.glob("*.json")):
                self._load(path)
        except OSError as error:
            raise LocalTrouble(f"the journal in {self._folder} cannot be used: {error.strerror}") from error

    def _load(self, path: Path) -> None:
        try:
            record = _read(json.loads(path.read_bytes()))
        except (ValueError, TypeError, KeyError):
            # The server knows the batch: `recover` finds it again.
            path.rename(path.with_suffix(".damaged"))
            durable.remove(self._folder / BEGUN)
            self.damaged += 1
            return
        self.records[record.id] = record
        self._saved_as[id(record)] = record.id

    @property
    def begun(self) -> bool:
        """False for a new journal: what the server has of the files in the spool is not known."""
        return (self._folder / BEGUN).exists()

    def begin(self) -> None:
        """From now on the journal knows every batch of the spool."""
        with _writing(self._folder):
            durable.write(self._folder / BEGUN, b"")

    def save(self, record: Record) -> None:
        """Keeps the record, on disk before this returns; LocalTrouble."""
        before = self._saved_as.get(id(record), record.id)
        with _writing(self._folder):
            durable.write_json(self._path(record.id), {"version": VERSION, **asdict(record)})
            if before != record.id:
                durable.remove(self._path(before))
                self.records.pop(before, None)
        self.records[record.id] = record
        self._saved_as[id(record)] = record.id

    def forget(self, record: Record) -> None:
        """Removes the record; LocalTrouble."""
        with _writing(self._folder):
            durable.remove(self._path(record.id))
        self.records.pop(record.id, None)
        self._saved_as.pop(id(record), None)

    def of_folder(self, folder: str) -> Record | None:
        """The newest batch made of this folder."""
        found = [record for record in self.records.values() if record.folder == folder]
        return max(found, key=lambda record: record.made_at, default=None)

    def under_way(self) -> list[Record]:
        """Batches with something to do."""
        return [record for record in self.records.values() if record.phase != DONE]

    def claimed(self) -> dict[str, set[tuple[int, int]]]:
        """Which versions (size, mtime in ns) of which paths belong to a batch."""
        found: dict[str, set[tuple[int, int]]] = {}
        for record in self.records.values():
            for item in record.items:
                if item.state != CHANGED:
                    found.setdefault(item.path, set()).add((item.size, item.mtime_ns))
        return found

    def prune(self, spool: Path) -> None:
        """Forgets done batches none of whose files is in the spool any more."""
        for record in [record for record in self.records.values() if record.phase == DONE]:
            if not any(item.state != CHANGED and is_there(spool, item) for item in record.items):
                self.forget(record)

    def described(self) -> list[dict[str, Any]]:
        """What the journal knows, for people."""
        return [
            {
                "batch": record.id,
                "folder": record.folder,
                "phase": record.phase,
                "files": len(record.items),
                "bytes": sum(item.size for item in record.items),
                "refused": {item.path: item.reason for item in record.items if item.state == REFUSED},
            }
            for record in self.records.values()
        ]

    def _path(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.json"


def _read(found: dict[str, Any]) -> Record:
    if found.pop("version") != VERSION:
        raise ValueError("another version")
    return Record(items=[Item(**item) for item in found.pop("items")], **found)


def is_there(spool: Path, item: Item) -> bool:
    """Is this version of the file in the spool?"""
    try:
        found = (spool / item.path).lstat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (item.size, item.mtime_ns)


@contextlib.contextmanager
def _writing(folder: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise LocalTrouble(f"the journal in {folder} cannot be written: {error.strerror}") from error
