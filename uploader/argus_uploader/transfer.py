"""One file's way to the server by tus: from the offset that the server has, in slices, whatever happens on the way."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Callable, Protocol

from argus_uploader.api import Api
from argus_uploader.errors import Problem, TryLater
from argus_uploader.journal import Item
from argus_uploader.link import Body
from argus_uploader.progress import Progress
from argus_uploader.source import Changed, Source

ODD_ANSWERS = 6
SMALLEST_SLICE = 64 * 1024
GONE = frozenset({404, 410})


class Refused(Exception):
    """The server will never take this file."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass
class Remote:
    """An upload at the server: its address ("": none yet), how many bytes it has (None: to be asked), and the most it ever had."""

    address: str = ""
    offset: int | None = None
    most: int = 0


class Transfer(Protocol):
    """A way to bring up one file. `declares`: opening the batch announces its files, each with an address of its own."""

    declares: bool

    def send(self, batch_id: str, item: Item, source: Source, remote: Remote) -> None:
        """Returns when the server has all bytes. Raises Changed, Refused, Problem, TryLater, Stopped, Preempted."""


class Tus:
    """Sends by tus 1.0.0. `checkpoint` is called before each slice and may raise Stopped or Preempted."""

    declares = True

    def __init__(self, api: Api, slice_bytes: int, progress: Progress, checkpoint: Callable[[], None], *, checksums: bool = False) -> None:
        self._api, self._slice, self._progress, self._checkpoint = api, slice_bytes, progress, checkpoint
        self._checksums = checksums

    def send(self, batch_id: str, item: Item, source: Source, remote: Remote) -> None:
        """Slice by slice; an answer that says that we are wrong about the server is followed by a look."""
        odd = 0
        while True:
            try:
                if self._step(batch_id, item, source, remote):
                    return
            except Problem as problem:
                odd += 1
                if odd > ODD_ANSWERS:
                    raise TryLater(f"{item.name} does not get on: {problem}", whole_server=False) from problem
                self._learn(problem, item, source, remote)
            except BaseException:
                remote.offset = None
                raise

    def _step(self, batch_id: str, item: Item, source: Source, remote: Remote) -> bool:
        """One request: opens the upload, asks for its offset, or sends a slice. True when all bytes are there."""
        if not remote.address:
            said = {"filename": item.name, "sha256": item.sha256, "kind": item.kind, "priority": str(item.priority)}
            remote.address, remote.offset = self._api.create_upload(batch_id, item.size, said)
        if remote.offset is None:
            found = self._api.head_upload(remote.address)
            if found.length not in {None, item.size} or found.offset > item.size:
                # An upload of other bytes under this name: ours gets one of its own.
                self._api.delete_upload(remote.address)
                remote.address = ""
                return False
            remote.offset = found.offset
            self._confirm(remote)
        if remote.offset >= item.size:
            return True
        self._checkpoint()
        source.check()
        size = min(self._slice, item.size - remote.offset)
        checksum = ""
        if self._checksums:
            digest = source.digest("sha256", remote.offset, size)
            checksum = f"sha256 {base64.b64encode(digest).decode()}"
        before, counted = remote.offset, _Counter(self._progress)
        body = Body(size, source.chunks(before, size, self._api.link.pace.chunk), counted)
        try:
            remote.offset = self._api.patch_upload(remote.address, before, body, checksum)
            self._confirm(remote)
        finally:
            self._progress.correct((remote.offset or before) - before - counted.count)
        source.check()
        return remote.offset >= item.size

    def _confirm(self, remote: Remote) -> None:
        if remote.offset is not None and remote.offset > remote.most:
            remote.most = remote.offset
            self._progress.confirmed += 1

    def _learn(self, problem: Problem, item: Item, source: Source, remote: Remote) -> None:
        """Makes of a refusal what to do next; raises what cannot be mended here."""
        remote.offset = None
        if problem.status in GONE:
            remote.address = ""
        elif problem.status == 413 and problem.code == "body_too_large" and self._slice > SMALLEST_SLICE:
            self._slice = max(SMALLEST_SLICE, self._slice // 2)
        elif problem.code == "digest_mismatch":
            if source.sha256(self._checkpoint) != item.sha256:
                raise Changed("it was changed, under the same time and size") from problem
        elif problem.status in {413, 415, 422}:
            raise Refused(problem.code, str(problem)) from problem
        elif problem.code not in {"offset_mismatch", "upload_lost", "checksum_mismatch"}:
            raise problem


class _Counter:
    """Passes on how many bytes have left, and remembers it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.count = 0

    def __call__(self, count: int) -> None:
        self.count += count
        self._progress.moved(count)
