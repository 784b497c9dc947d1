"""The program itself: what is the most important thing to send now, and when to try again."""

from __future__ import annotations

import threading
import time
from typing import Callable, Union

from argus_uploader import journal, lock
from argus_uploader.api import Api
from argus_uploader.config import Settings
from argus_uploader.disk import Disk, Expendable
from argus_uploader.errors import Exit, LocalTrouble, Preempted, Stopped, TryLater
from argus_uploader.journal import Item, Journal, Record
from argus_uploader.link import Link
from argus_uploader.pace import Backoff, Pace
from argus_uploader.progress import Progress
from argus_uploader.recover import Recovery
from argus_uploader.sender import Sender, Sent
from argus_uploader.source import Changed, Source
from argus_uploader.spool import Candidate, Found, Look, Spool, names
from argus_uploader.transfer import Transfer, Tus

OVERDUE_S = 86400.0  # a batch this old goes before its equals: small new ones must not starve it
SET_ASIDE_S = 60.0
LOOK_SHARE = 10  # a large spool is looked at less often: at most a tenth of the time
Work = Union[Record, Candidate]
MakeTransfer = Callable[[Api, Settings, Progress, Callable[[], None]], Transfer]


def by_tus(api: Api, settings: Settings, progress: Progress, checkpoint: Callable[[], None]) -> Transfer:
    """The way in which files are sent unless somebody wants another one."""
    return Tus(api, settings.slice, progress, checkpoint, checksums=settings.checksums)


class Uploader:
    """Sends what lies in a spool; one at a time for a spool. `stop` ends it at the next chunk."""

    def __init__(
        self,
        settings: Settings,
        token: Callable[[], str],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        make_transfer: MakeTransfer = by_tus,
    ) -> None:
        self.settings = settings
        self.progress = progress or Progress()
        self.stop = stop or threading.Event()
        self.link = Link(settings.server(), Pace(settings.bandwidth, self.stop), self.stop)
        self.api = Api(self.link, token)
        self._make_transfer = make_transfer
        self._waits: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._aside: dict[str, tuple[tuple[int, int], float]] = {}
        self._told: set[tuple[str, str]] = set()
        self._look_at = 0.0
        self._current: Record | None = None
        self._failed: Record | None = None
        self._advanced_at = time.monotonic()
        self._failed_at = 0.0
        self._confirmed = 0

    def run(self, *, once: bool = False) -> Exit:
        """Works until `stop`, or with `once` until nothing is left to send; how it ended.

        Raises Locked, BadConfig, NotAllowed, LocalTrouble; Stopped.
        """
        self._disk = Disk(self.settings, self.progress)
        self._disk.check()
        with lock.held(self.settings.spool_folder, self.settings.state_folder):
            self.journal = Journal(self.settings.state_folder)
            if self.journal.damaged:
                self.progress.event("journal_damaged", records=self.journal.damaged)
            self.journal.prune(self.settings.spool_folder)
            self._spool = Spool(self.settings)
            transfer = self._make_transfer(self.api, self.settings, self.progress, self._checkpoint)
            self._sender = Sender(self.api, self.journal, self._spool, self._disk, transfer, self.progress, self._checkpoint)
            self._once = once
            self._advanced()
            try:
                return self._loop()
            finally:
                self.link.close()

    @property
    def sent(self) -> list[Sent]:
        """The batches that are through, in this run."""
        return self._sender.sent

    # -- the loop ------------------------------------------------------------------------------------------------------

    def _loop(self) -> Exit:
        while True:
            if self.stop.is_set():
                raise Stopped
            self._failed = None
            try:
                look = self._look()
                best = self._best(look) if self.journal.begun else None
                if not self.journal.begun:
                    Recovery(self.api, self.journal, self._spool, self.progress, self._stop_point).run()
                    self._advanced()
                elif best is not None:
                    self._send(best)
                else:
                    ended = self._idle(look)
                    if ended is not None:
                        return ended
            except Preempted:
                continue
            except TryLater as later:
                if self._put_off(later):
                    return Exit.LEFT
            except LocalTrouble as trouble:
                if self._once:
                    raise
                self._tell_once("local_trouble", str(trouble))
                if self._failed is not None:
                    self._waits[self._failed.id] = time.monotonic() + SET_ASIDE_S
                self._sleep(self.settings.poll)

    def _send(self, work: Work) -> None:
        record = self._form(work) if isinstance(work, Candidate) else work
        if record is None:
            return
        self._current = self._failed = record
        before = (record.phase, len(record.waiting()))
        try:
            self._sender.advance(record)
        finally:
            self._current = None
            if (record.phase, len(record.waiting())) != before:
                self._advanced()
        self._waits.pop(record.id, None)
        self._backoffs.pop(record.id, None)

    def _idle(self, look: Look) -> Exit | None:
        """Nothing can be sent now: waits, or says how it ended."""
        waits = [record for record in self.journal.under_way() if record.id in self._waits]
        if self._once and not waits and not look.growing:
            if look.unreadable or self._aside:
                return Exit.LEFT
            refused = any(item.state == journal.REFUSED for record in self.journal.records.values() for item in record.items)
            return Exit.REFUSED if refused else Exit.OK
        if self._once and time.monotonic() - self._advanced_at > self.settings.give_up:
            return Exit.LEFT
        self._sleep(self.settings.poll)
        return None

    def _put_off(self, later: TryLater) -> bool:
        """Waits for another try, or has the batch wait; True when it is time to give up."""
        concerned = self._failed if self._failed is not None and not later.whole_server else None
        key = concerned.id if concerned is not None else ""
        backoff = self._backoffs.setdefault(key, Backoff(self.settings.backoff, self.settings.backoff_limit))
        if self._advanced_at > self._failed_at:
            backoff.succeeded()
        self._failed_at = time.monotonic()
        wait = backoff.next_s(later.after_s)
        if self._once and time.monotonic() + wait - self._advanced_at > self.settings.give_up:
            self.progress.event("gave_up", reason=str(later))
            return True
        self.progress.event("try_later", reason=str(later), wait_s=round(wait, 1))
        if concerned is not None:
            self._waits[key] = time.monotonic() + wait
        else:
            self.link.close()
            self._sleep(wait)
        return False

    def _sleep(self, seconds: float) -> None:
        """Waits, and meanwhile keeps the disk from filling up."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return
            if self.stop.wait(min(left, max(self.settings.poll, 1.0))):
                raise Stopped
            if until - time.monotonic() > 0 and self.settings.when_full != "never":
                self._look()

    def _advanced(self) -> None:
        """Something got through: waits are short again, and the time for giving up begins anew."""
        self._advanced_at = time.monotonic()

    # -- what next -----------------------------------------------------------------------------------------------------

    def _look(self) -> Look:
        begun = time.monotonic()
        claimed = self.journal.claimed()
        for path, (version, until) in list(self._aside.items()):
            if until > begun:
                claimed.setdefault(path, set()).add(version)
            else:
                del self._aside[path]
        try:
            look = self._spool.look(claimed, all_sessions=self._once)
        except OSError as error:
            raise LocalTrouble(f"the spool {self.settings.spool_folder} cannot be read: {error.strerror}") from error
        for path in look.empty:
            self._tell_once("empty_file", path)
        for path in look.unreadable:
            self._tell_once("unreadable_folder", path)
        self._disk.make_room(self._expendable(look))
        self._look_at = time.monotonic() + max(self.settings.poll, LOOK_SHARE * (time.monotonic() - begun))
        return look

    def _best(self, look: Look) -> Work | None:
        """The most important, of these what is overdue, of these the smallest, of these the oldest."""
        now = time.monotonic()
        ready: list[Work] = [record for record in self.journal.under_way() if self._waits.get(record.id, 0.0) <= now]
        ready += look.candidates
        return min(ready, key=rank, default=None)

    def _expendable(self, look: Look) -> list[Expendable]:
        """What may be given up when the disk is full: not what the server has accepted, that is deleted in a moment anyway."""
        unaccepted = [record for record in self.journal.under_way() if record.phase != journal.COMPLETED]
        waiting: list[Item | Found] = [item for record in unaccepted for item in record.waiting()]
        waiting += [file for candidate in look.candidates for file in candidate.files]
        return [Expendable(file.priority, file.mtime_ns, file.path, file.size) for file in waiting]

    def _form(self, candidate: Candidate) -> Record | None:
        """Makes a batch of the files, with their digests; None where none of them could be read."""
        self.progress.batch(candidate.size, 0)
        called = names(candidate.folder, [file.path for file in candidate.files])
        items = []
        for file in candidate.files:
            try:
                with Source(self._spool.folder / file.path, file.size, file.mtime_ns) as source:
                    self.progress.event("hashing", path=file.path, bytes=file.size)
                    sha256 = source.sha256(self._stop_point)
            except Changed as changed:
                self._aside[file.path] = ((file.size, file.mtime_ns), time.monotonic() + SET_ASIDE_S)
                self._tell_once("not_taken", f"{file.path}: {changed}")
                continue
            items.append(Item(file.path, called[file.path], file.size, file.mtime_ns, sha256, file.kind, file.priority))
        if not items:
            return None
        record = Record(candidate.folder, dict(candidate.declaration), items, made_at=time.time())
        self.journal.save(record)
        self._advanced()
        self.progress.event("batch_formed", batch=record.id, folder=record.folder, files=len(items), bytes=record.size)
        return record

    # -- between two slices --------------------------------------------------------------------------------------------

    def _stop_point(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def _checkpoint(self) -> None:
        """Called before each slice: something may have got through since the last one, something more important may have come."""
        self._stop_point()
        if self.progress.confirmed != self._confirmed:
            self._confirmed = self.progress.confirmed
            self._advanced()
        if time.monotonic() < self._look_at or self._current is None:
            return
        best = self._best(self._look())
        if best is not None and best is not self._current and best.priority > self._current.priority:
            self.progress.event("preempted", batch=self._current.id, priority=best.priority)
            raise Preempted

    def _tell_once(self, event: str, what: str) -> None:
        if (event, what) not in self._told:
            self._told.add((event, what))
            self.progress.event(event, detail=what)


def rank(work: Work) -> tuple[int, bool, int, float]:
    """Sorts what could be sent: what comes first is sent first."""
    begun = work.made_at if isinstance(work, Record) else work.oldest
    return (-work.priority, time.time() - begun < OVERDUE_S, work.size, begun)
