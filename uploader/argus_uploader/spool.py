"""What lies in the spool and is ready to be sent, and which files belong together."""

from __future__ import annotations

import fnmatch
import json
import os
import stat
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argus_uploader.config import LARGEST_PRIORITY, Settings

METADATA = "metadata.json"
MARKER = ".done"
PARTIAL = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", ".lock", "~")
NAME_BYTES = 255
DEEPEST = 16
MOST_FILES = 50_000  # of a batch, on the server
LARGEST_METADATA = 1024 * 1024
SERIOUS = ("recorded_from", "recorded_to", "clock", "software", "reason")
KIND_LENGTH = 32


@dataclass(frozen=True)
class Found:
    """A file in the spool: its path there, and by what this version of it is known."""

    path: str
    size: int
    mtime_ns: int
    kind: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Candidate:
    """Files that will be one batch; `folder` is empty for loose files. `declaration` is what is said of the batch."""

    folder: str
    files: tuple[Found, ...]
    declaration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def priority(self) -> int:
        """That of the most important file."""
        return max(file.priority for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def oldest(self) -> float:
        """When the first of its files was changed last, in seconds since 1970 by the vehicle's clock."""
        return min(file.mtime_ns for file in self.files) / 1e9


@dataclass(frozen=True)
class Look:
    """What a look at the spool has found; `growing` counts files that may still be written to, or wait for their session's end."""

    candidates: tuple[Candidate, ...] = ()
    growing: int = 0
    empty: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Spool:
    """Looks at the folder again and again, and remembers since when each file has rested (by a clock that cannot be set)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.spool_folder
        self._excluded = {os.path.realpath(str(path)) for path in (settings.sent, settings.state_folder)}
        self._rested: dict[str, tuple[object, float]] = {}
        self._seen: set[str] = set()

    def look(self, claimed: Mapping[str, set[tuple[int, int]]], *, all_sessions: bool = False) -> Look:
        """The batches that could be formed now, out of files that are not `claimed` by one (sizes and times by path).

        With `all_sessions` the last session of loose files is taken as ended. OSError where the spool itself cannot be read.
        """
        self._seen = set()
        unreadable: list[str] = []
        files, folders = self._list("", unreadable)
        self._loose_changed(files)
        candidates: list[Candidate] = []
        growing, empty = 0, []
        for name in folders:
            inside = self._tree(name, unreadable)
            fresh = [found for found in inside if (found.size, found.mtime_ns) not in claimed.get(found.path, set())]
            wanted, metadata = self._described(name, fresh)
            empty += [found.path for found in wanted if not found.size]
            wanted = [found for found in wanted if found.size]
            if not wanted:
                continue
            if self._folder_settled(name, inside):
                for begin in range(0, len(wanted), MOST_FILES):
                    candidates.append(Candidate(name, tuple(wanted[begin : begin + MOST_FILES]), metadata))
            else:
                growing += len(wanted)
        fresh = [found for found in files if (found.size, found.mtime_ns) not in claimed.get(found.path, set())]
        empty += [found.path for found in fresh if not found.size]
        settled = [found for found in fresh if found.size and self._settled(found)]
        still = sum(1 for found in fresh if found.size) - len(settled)
        sessions, open_files = self._sessions(settled, still, all_sessions=all_sessions)
        candidates += sessions
        self._rested = {path: rested for path, rested in self._rested.items() if path in self._seen}
        return Look(tuple(candidates), growing + still + open_files, tuple(empty), tuple(unreadable))

    def everything(self) -> dict[str, list[Found]]:
        """All files, settled or not, by the folder that makes them a batch. OSError where the spool cannot be read."""
        unreadable: list[str] = []
        files, folders = self._list("", unreadable)
        loose = [self._with_rules(found, os.path.basename(found.path), {}, {}) for found in files]
        return {"": loose, **{name: self._described(name, self._tree(name, unreadable))[0] for name in folders}}

    # -- listing -------------------------------------------------------------------------------------------------------

    def _list(self, below: str, unreadable: list[str]) -> tuple[list[Found], list[str]]:
        """Files and folders right in `below`, by name; without links, hidden ones, markers and what is partial by its name."""
        files, folders = [], []
        try:
            entries = sorted(os.scandir(str(self.folder / below)), key=lambda entry: entry.name)
        except OSError:
            if not below:
                raise
            unreadable.append(below)
            return [], []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower().endswith(PARTIAL) or entry.name.endswith(MARKER):
                continue
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # gone between the two calls
            if stat.S_ISREG(found.st_mode):
                files.append(Found(path, found.st_size, found.st_mtime_ns))
            elif stat.S_ISDIR(found.st_mode) and os.path.realpath(entry.path) not in self._excluded and entry.name != "lost+found":
                folders.append(path)
        return files, folders

    def _tree(self, folder: str, unreadable: list[str], depth: int = 1) -> list[Found]:
        files, folders = self._list(folder, unreadable)
        if depth < DEEPEST:
            for below in folders:
                files += self._tree(below, unreadable, depth + 1)
        return files

    # -- rest ----------------------------------------------------------------------------------------------------------

    def _rests(self, key: str, print_: object, seconds: float) -> bool:
        """Has what `key` names been `print_` for so long?"""
        now = time.monotonic()
        self._seen.add(key)
        before = self._rested.get(key)
        if before is None or before[0] != print_:
            self._rested[key] = (print_, now)
            return seconds <= 0
        return now - before[1] >= seconds

    def _settled(self, found: Found) -> bool:
        rests = self._rests(found.path, (found.size, found.mtime_ns), self._settings.settle)
        if self._settings.settled_by == "rename" or (self.folder / (found.path + MARKER)).exists():
            return True
        return rests and self._settings.settled_by == "rest"

    def _folder_settled(self, name: str, inside: list[Found]) -> bool:
        marked = (self.folder / name / MARKER).exists() or (self.folder / (name + MARKER)).exists()
        rests = self._rests(name + "/", tuple(inside), self._settings.settle)
        if self._settings.settled_by == "rename" or marked:
            return True
        return rests and self._settings.settled_by == "rest"

    # -- loose files ---------------------------------------------------------------------------------------------------

    def _loose_changed(self, files: list[Found]) -> None:
        self._rests("", tuple(files), 0)

    def _sessions(self, settled: list[Found], still: int, *, all_sessions: bool) -> tuple[list[Candidate], int]:
        """The batches of loose files, and how many files wait for the end of their session."""
        described = [self._with_rules(found, os.path.basename(found.path), {}, {}) for found in settled]
        groups: list[list[Found]] = []
        size = 0
        gap_ns = int(self._settings.session_gap * 1e9)
        for found in sorted(described, key=lambda file: (file.mtime_ns, file.path)):
            last = groups[-1][-1] if groups else None
            full = last is not None and (len(groups[-1]) >= self._settings.batch_files or size + found.size > self._settings.batch_bytes)
            if last is None or full or (gap_ns and found.mtime_ns - last.mtime_ns > gap_ns):
                groups.append([])
                size = 0
            groups[-1].append(found)
            size += found.size
        open_files = 0
        if groups and not self._ended(groups[-1], size, still, all_sessions=all_sessions):
            open_files = len(groups.pop())
        declaration = self._declaration({})
        return [Candidate("", tuple(group), declaration) for group in groups], open_files

    def _ended(self, group: list[Found], size: int, still: int, *, all_sessions: bool) -> bool:
        """Is the last session over? What is still being written belongs to it."""
        gap = self._settings.session_gap
        if gap <= 0 or len(group) >= self._settings.batch_files or size >= self._settings.batch_bytes:
            return True
        if still:
            return False
        quiet = time.monotonic() - self._rested[""][1] >= gap
        return all_sessions or quiet or time.time() - group[-1].mtime_ns / 1e9 > gap

    # -- what is said of them ------------------------------------------------------------------------------------------

    def _described(self, folder: str, files: list[Found]) -> tuple[list[Found], dict[str, Any]]:
        """The files to send with kinds and priorities, and the declaration. A metadata.json that cannot be read is a file like others."""
        path = f"{folder}/{METADATA}"
        metadata = read_metadata(self.folder / path)
        if metadata is None:
            metadata = {}
        else:
            files = [found for found in files if found.path != path]
        kinds, priorities = _rules(metadata, "kinds", "kind"), _rules(metadata, "priorities", "priority")
        return (
            [self._with_rules(found, found.path[len(folder) + 1 :], kinds, priorities) for found in files],
            self._declaration(metadata),
        )

    def _with_rules(self, found: Found, name: str, kinds: Mapping[str, Any], priorities: Mapping[str, Any]) -> Found:
        kind = _first(name, kinds, _first(name, self._settings.kinds, self._settings.kind))
        priority = _first(name, priorities, _first(name, self._settings.priorities, self._settings.priority))
        if isinstance(priority, bool) or not isinstance(priority, int):
            priority = self._settings.priority
        kind = kind if isinstance(kind, str) else ""
        return Found(found.path, found.size, found.mtime_ns, kind[:KIND_LENGTH], min(max(0, priority), LARGEST_PRIORITY))

    def _declaration(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: metadata[name] for name in SERIOUS if metadata.get(name)}
        if self._settings.software:
            told = said.get("software")
            said["software"] = {**self._settings.software, **(told if isinstance(told, dict) else {})}
        if self._settings.reason:
            said.setdefault("reason", self._settings.reason)
        return said


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The object in a metadata.json; {} where there is none, None where it cannot be read as one."""
    try:
        handle = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        try:
            content = file.read(LARGEST_METADATA + 1)
            found = json.loads(content) if len(content) <= LARGEST_METADATA else None
        except (OSError, ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def names(folder: str, paths: Iterable[str]) -> dict[str, str]:
    """What each path is called on the server: no folder, no control character, at most 255 bytes, each name once."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for path in paths:
        inside = path[len(folder) + 1 :] if folder else path
        plain = unicodedata.normalize("NFC", inside.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        plain = "".join("_" if char == "\\" or unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} else char for char in plain)
        plain = plain.replace("/", "__").strip() or "_"
        name, number = _fitting(plain, ""), 1
        while name in taken:
            number += 1
            name = _fitting(plain, f"~{number}")
        taken.add(name)
        found[path] = name
    return found


def _fitting(name: str, mark: str) -> str:
    """The name with `mark` before its suffix, cut to what the server takes."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem or len(suffix.encode()) > 32:
        stem, dot, suffix = name, "", ""
    end = mark + dot + suffix
    room = NAME_BYTES - len(end.encode())
    return unicodedata.normalize("NFC", stem.encode()[:room].decode("utf-8", "ignore")) + end


def _rules(metadata: Mapping[str, Any], plural: str, singular: str) -> dict[str, Any]:
    """Values by pattern, and the one for all other files of the folder."""
    rules = metadata.get(plural)
    rules = dict(rules) if isinstance(rules, dict) else {}
    return {**rules, "*": metadata[singular]} if singular in metadata else rules


def _first(name: str, rules: Mapping[str, Any], otherwise: Any) -> Any:
    """The value of the first pattern that the path in the batch, or its last part, fits."""
    base = name.rpartition("/")[2]
    for pattern, value in rules.items():
        if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(base, pattern):
            return value
    return otherwise
