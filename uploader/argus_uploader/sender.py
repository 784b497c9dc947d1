"""The life of one batch at the server: open it, bring up its files, say complete, have everything proved, settle the files."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any, Callable

from argus_uploader import disk, journal
from argus_uploader.api import Api, own_path
from argus_uploader.disk import Disk
from argus_uploader.errors import Problem, TryLater
from argus_uploader.journal import Item, Journal, Record
from argus_uploader.progress import Progress
from argus_uploader.source import Changed, Source
from argus_uploader.spool import Spool
from argus_uploader.transfer import Refused, Remote, Transfer

MOST_RENEWALS = 5
ROUNDS = 3
# How much of what we know is said when a batch is opened: all, all but the files, nothing. The data matter more than what is said of them.
WITH_FILES, WITHOUT_FILES, BARE = 0, 1, 2
UPLOAD_ENDED = frozenset({"failed", "expired"})


@dataclass
class View:
    """A batch as the server shows it."""

    status: str
    stored: dict[str, tuple[int, str]]
    uploads: dict[str, Remote] = field(default_factory=dict)

    def has(self, item: Item) -> bool:
        """Does the server list this file with our size and SHA-256?"""
        return self.stored.get(_nfc(item.name)) == (item.size, item.sha256)


@dataclass(frozen=True)
class Sent:
    """A batch that is through: its id, its folder in the spool ("" for loose files), what was proved."""

    batch_id: str
    folder: str
    files: int
    size: int


class Sender:
    """Moves a record on, from wherever it is, until it is done."""

    def __init__(
        self, api: Api, kept: Journal, spool: Spool, files: Disk, transfer: Transfer, progress: Progress, checkpoint: Callable[[], None]
    ) -> None:
        self._api, self._journal, self._spool, self._disk = api, kept, spool, files
        self._transfer, self._progress, self._checkpoint = transfer, progress, checkpoint
        self._views: dict[str, View] = {}
        self.sent: list[Sent] = []

    def advance(self, record: Record) -> None:
        """Returns when the record is done. Whatever is raised, the next call goes on where this one stopped.

        Raises TryLater, Stopped, Preempted, NotAllowed, LocalTrouble.
        """
        try:
            if record.phase == journal.NEW:
                self._open(record)
            self._bring_up(record)
            if record.phase == journal.COMPLETED:
                self._prove(record)
        except Problem as problem:
            self._views.pop(record.id, None)
            self._start_anew(record, problem)
        except BaseException:
            # What the server has may have moved on while nobody heard its answer.
            if not self._transfer.declares:
                self._views.pop(record.id, None)
            for remote in self._views[record.id].uploads.values() if record.id in self._views else ():
                remote.offset = None
            raise

    # -- open ----------------------------------------------------------------------------------------------------------

    def _open(self, record: Record) -> None:
        while True:
            try:
                answer = self._api.put_batch(record.id, self._opening(record))
                break
            except Problem as problem:
                if problem.status not in {400, 411, 413, 422} or record.told >= BARE:
                    raise
                record.told += 1
                self._journal.save(record)
                self._progress.event("opening_refused", batch=record.id, detail=str(problem))
        record.phase = journal.OPEN
        self._journal.save(record)
        if "uploads" in answer:
            self._views[record.id] = _view(answer)
        self._progress.event("batch_opened", batch=record.id, folder=record.folder, files=len(record.waiting()), bytes=record.size)

    def _opening(self, record: Record) -> dict[str, Any]:
        declaration = {} if record.told >= BARE else dict(record.declaration)
        if record.told == WITH_FILES and self._transfer.declares:
            declaration["files"] = [
                {**_entry(item), "priority": item.priority, **({"kind": item.kind} if item.kind else {})} for item in record.waiting()
            ]
        return declaration

    # -- bring up the files --------------------------------------------------------------------------------------------

    def _bring_up(self, record: Record) -> None:
        """Until the server has accepted the batch."""
        for _ in range(ROUNDS):
            if record.phase != journal.OPEN:
                return
            self._fill(record)
        if record.phase == journal.OPEN:
            raise TryLater("the server goes on missing files that it was sent", whole_server=False)

    def _fill(self, record: Record) -> None:
        """Sends what the server lacks, then says complete."""
        view = self._views.get(record.id)
        if view is None:
            view = self._views[record.id] = _view(self._api.get_batch(record.id))
        if view.status == "abandoned":
            raise Problem(409, {"code": "wrong_state", "detail": "The batch was abandoned."}, {})
        if view.status != "pending":
            self._completed(record)
            return
        waiting = record.waiting()
        self._give_up_strays(view, waiting)
        missing = [item for item in waiting if not view.has(item)]
        known = sum((view.uploads.get(_nfc(item.name)) or Remote()).offset or 0 for item in missing)
        self._progress.batch(record.size, sum(item.size for item in waiting) - sum(item.size for item in missing) + known)
        for item in missing:
            self._progress.file(waiting.index(item) + 1, len(waiting), item.name)
            self._send(record, item, view)
        self._complete(record, view)

    def _give_up_strays(self, view: View, waiting: list[Item]) -> None:
        """Ends uploads of files that will not come: they would hold up the batch."""
        wanted = {_nfc(item.name) for item in waiting}
        for name, remote in list(view.uploads.items()):
            if name not in wanted:
                if remote.address:
                    self._api.delete_upload(remote.address)
                del view.uploads[name]

    def _send(self, record: Record, item: Item, view: View) -> None:
        name = _nfc(item.name)
        if name in view.stored:
            self._leave_out(record, item, view, journal.CHANGED, "the server has other bytes under its name")
            return
        remote = view.uploads.setdefault(name, Remote())
        try:
            with Source(self._spool.folder / item.path, item.size, item.mtime_ns) as source:
                self._progress.event("file_begun", batch=record.id, name=item.name, bytes=item.size, offset=remote.offset)
                self._transfer.send(record.id, item, source, remote)
        except Changed as changed:
            self._leave_out(record, item, view, journal.CHANGED, str(changed))
        except Refused as refused:
            self._leave_out(record, item, view, journal.REFUSED, str(refused))
        else:
            view.stored[name] = (item.size, item.sha256)
            del view.uploads[name]
            self._progress.event("file_sent", batch=record.id, name=item.name, bytes=item.size)

    def _leave_out(self, record: Record, item: Item, view: View, state: str, reason: str) -> None:
        item.state, item.reason = state, reason
        self._journal.save(record)
        self._progress.event(f"file_{state}", batch=record.id, path=item.path, reason=reason)
        remote = view.uploads.pop(_nfc(item.name), None)
        if remote is not None and remote.address:
            self._api.delete_upload(remote.address)

    # -- complete ------------------------------------------------------------------------------------------------------

    def _complete(self, record: Record, view: View) -> None:
        waiting = record.waiting()
        ours = {_nfc(item.name) for item in waiting}
        # A file that was changed after it had arrived stays in the batch as it was.
        earlier = [{"name": name, "size": size, "sha256": sha256} for name, (size, sha256) in view.stored.items() if name not in ours]
        if not waiting and not earlier:
            self._abandon(record)
            return
        try:
            self._api.complete(record.id, [*map(_entry, waiting), *earlier])
        except Problem as problem:
            self._views.pop(record.id, None)
            if problem.code != "files_pending":
                raise
            told = {kind: problem.extra[kind] for kind in ("missing", "short", "corrupt", "unexpected") if problem.extra.get(kind)}
            self._progress.event("complete_refused", batch=record.id, **told)
            return
        except TryLater:
            self._views.pop(record.id, None)
            raise
        self._completed(record)

    def _completed(self, record: Record) -> None:
        record.phase = journal.COMPLETED
        self._journal.save(record)
        self._views.pop(record.id, None)

    def _abandon(self, record: Record) -> None:
        """Nothing is left that could be sent."""
        self._api.abandon(record.id, "the vehicle has none of the files any more")
        self._progress.event("batch_abandoned", batch=record.id, folder=record.folder)
        self._end(record)

    # -- prove ---------------------------------------------------------------------------------------------------------

    def _prove(self, record: Record) -> None:
        """Settles the files that the server, asked after it had accepted the batch, lists with their size and SHA-256."""
        view = _view(self._api.get_batch(record.id))
        proved = [item for item in record.waiting() if view.has(item)]
        for item in record.waiting():
            if not view.has(item):
                item.state, item.reason = journal.CHANGED, "the server does not list it"
                self._progress.event("not_proved", batch=record.id, path=item.path)
        done = self._disk.settle(proved, record.folder)
        for item in proved:
            item.state = journal.CHANGED if done[item.path] == disk.CHANGED else journal.PROVED
        self.sent.append(Sent(record.id, record.folder, len(proved), sum(item.size for item in proved)))
        counts = {what: sum(1 for value in done.values() if value == what) for what in sorted(set(done.values()))}
        self._progress.event(
            "batch_sent", batch=record.id, folder=record.folder, files=len(proved), bytes=sum(item.size for item in proved), **counts
        )
        self._end(record)

    def _end(self, record: Record) -> None:
        """The record is kept as long as it keeps files from being taken again."""
        record.phase = journal.DONE
        self._views.pop(record.id, None)
        if any(item.state != journal.CHANGED and journal.is_there(self._spool.folder, item) for item in record.items):
            self._journal.save(record)
        else:
            self._journal.forget(record)

    def _start_anew(self, record: Record, problem: Problem) -> None:
        """The server does not have the batch any more, or not for us: the same files go up once more. After some times, refused.

        A batch that is not found is opened again under its id: the answer says whether somebody has deleted it, who will have had a
        reason. One that was abandoned, or is another vehicle's, is opened under another id.
        """
        deleted = problem.status == 410
        if deleted or (record.phase == journal.NEW and problem.status not in {404, 409}) or record.renewals >= MOST_RENEWALS:
            self._refuse(record, problem)
            return
        self._progress.event("batch_renewed", batch=record.id, reason=str(problem))
        record.renew(same_id=problem.status == 404 and record.phase != journal.NEW)
        self._journal.save(record)
        raise TryLater(f"the batch begins anew: {problem}", whole_server=False)

    def _refuse(self, record: Record, problem: Problem) -> None:
        for item in record.waiting():
            item.state, item.reason = journal.REFUSED, str(problem)
        record.reason = str(problem)
        self._progress.event("batch_refused", batch=record.id, folder=record.folder, code=problem.code, reason=str(problem))
        self._end(record)


def _view(batch: dict[str, Any]) -> View:
    stored = {_nfc(str(file["name"])): (int(file["size"]), str(file["sha256"])) for file in batch.get("files") or ()}
    uploads = {}
    for upload in batch.get("uploads") or ():
        offset = upload.get("size") if upload.get("state") == "verifying" else upload.get("offset")
        ended = upload.get("state") in UPLOAD_ENDED
        uploads[_nfc(str(upload["name"]))] = Remote() if ended else Remote(own_path(str(upload["url"])), offset, offset or 0)
    return View(str(batch.get("status")), stored, uploads)


def _entry(item: Item) -> dict[str, Any]:
    return {"name": item.name, "size": item.size, "sha256": item.sha256}


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
