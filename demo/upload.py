"""The demo fleet uploads as vehicles do: a spool with a folder for each batch, and the vehicle's own program to send it."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from argus_uploader import durable
from argus_uploader.api import Api
from argus_uploader.config import Settings
from argus_uploader.errors import Problem, Stopped, TryLater, UploaderError
from argus_uploader.journal import DONE, REFUSED, Item
from argus_uploader.link import Body
from argus_uploader.progress import Progress
from argus_uploader.source import Source
from argus_uploader.spool import METADATA
from argus_uploader.transfer import Remote
from argus_uploader.uploader import MakeTransfer, Uploader, by_tus

from demo.files import WrittenBatch, prepare, reference_day
from demo.fleet import VEHICLES, Batch, Vehicle

ENDED = frozenset({"completed", "failed", "abandoned", "cancelled"})
PAGE = "/admin/batches/batch/{id}/change/"
PATIENCE_S = 60.0
BREAKS_OFF_AT = 0.5
_BOUNDARY = "argus-demo-0f5c2b9ae1"
_NOT_IN_NAMES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class UploadError(Exception):
    """A batch did not get through: the sentence says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one batch ended: `error` is empty unless the upload itself did not succeed."""

    vehicle: str
    key: str
    batch_id: str = ""
    status: str = ""
    issues: bool = False
    files: int = 0
    seconds: float = 0.0
    url: str = ""
    error: str = ""

    def line(self) -> str:
        """Returns the line for the terminal."""
        if self.error:
            return f"demo  {self.vehicle}  {self.key} not uploaded: {self.error}"
        status = self.status + (" with issues" if self.issues else "")
        files = "1 file" if self.files == 1 else f"{self.files} files"
        return f"demo  {self.vehicle}  {status}  {files}  {self.seconds:.1f} s  {self.url}"


class Form:
    """Sends each file as the part `file` of a multipart form, as programs of the old API do: in one piece, from the beginning."""

    declares = False

    def __init__(self, api: Api, settings: Settings, progress: Progress, checkpoint: Callable[[], None]) -> None:
        self._api, self._progress, self._checkpoint = api, progress, checkpoint

    def send(self, batch_id: str, item: Item, source: Source, remote: Remote) -> None:
        """As `argus_uploader.transfer.Transfer` says."""
        self._checkpoint()
        name = item.name.translate(_NOT_IN_NAMES)
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()

        def chunks() -> Iterator[bytes | memoryview]:
            yield head
            yield from source.chunks(0, item.size, self._api.link.pace.chunk)
            yield tail

        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        body = Body(len(head) + item.size + len(tail), chunks(), self._progress.moved)
        self._api.send("POST", f"/api/v1/batches/{batch_id}/files", headers, body)


class Watched(Progress):
    """Remembers why something did not get through, and loses power after `breaks_off_at` of a batch's bytes (0: never)."""

    def __init__(self, breaks_off_at: float = 0.0) -> None:
        super().__init__()
        self._breaks_off_at = breaks_off_at
        self.reason = ""

    def event(self, event: str, **facts: Any) -> None:
        """Keeps the last reason."""
        self.reason = str(facts.get("reason") or self.reason)

    def moved(self, count: int) -> None:
        """Raises PowerLost at the wanted place."""
        super().moved(count)
        if 0 < self._breaks_off_at * self.total <= self.done:
            raise PowerLost


class PowerLost(Exception):
    """What a vehicle's power cut does to the program, without ending ours."""


def spool_of(folder: Path, vehicle: Vehicle) -> Path:
    """Where the vehicle keeps its batches."""
    return folder / "spool" / vehicle.name.lower()


def upload_batch(
    base_url: str, token: str, vehicle: Vehicle, batch: Batch, written: WrittenBatch, stop: threading.Event, timeout_s: float
) -> Outcome:
    """Sends the batch, unless it was sent before, and waits until it has ended. UploadError when it does not get through."""
    begun = time.monotonic()
    folder = Path(written.folder)
    _describe(folder, vehicle, batch, written)
    spool = folder.parent
    state = spool.parent.parent / "state" / spool.name
    settings = Settings(
        url=base_url, spool=str(spool), state=str(state), settled_by="rename", after="keep", poll=0.2, give_up=PATIENCE_S, backoff_limit=8.0
    )
    way: MakeTransfer = Form if vehicle.multipart else by_tus
    try:
        if batch.broken_off:
            _lose_power(settings, token, stop, way)
        uploader, batch_id = _send(settings, token, stop, way, folder.name)
        if not _is_known(uploader.api, batch_id):
            # The server has begun anew: what our journal says of it is about another one.
            uploader.journal.forget(uploader.journal.records[batch_id])
            uploader, batch_id = _send(settings, token, stop, way, folder.name)
        ended = _await_end(uploader.api, batch_id, stop, timeout_s)
    except (UploaderError, Problem, TryLater) as error:
        raise UploadError(str(error)) from error
    except Stopped as stopped:
        raise UploadError("stopped") from stopped
    issues = ended["status"] == "completed" and (
        bool(ended["failed_files"]) or any(file.get("partial") for file in ended.get("files") or ())
    )
    return Outcome(
        vehicle.name,
        batch.key,
        batch_id,
        str(ended["status"]),
        issues,
        int(ended["total_files"]),
        time.monotonic() - begun,
        base_url.rstrip("/") + PAGE.format(id=batch_id),
    )


def _describe(folder: Path, vehicle: Vehicle, batch: Batch, written: WrittenBatch) -> None:
    """Writes what the vehicle knows of the batch beside its files."""
    content = {
        "recorded_from": written.recorded_from,
        "recorded_to": written.recorded_to,
        "clock": {"source": batch.clock_source, "synced": batch.clock_synced},
        "software": vehicle.software,
        "reason": batch.reason,
    }
    path = folder / METADATA
    if not path.exists() or json.loads(path.read_bytes()) != content:
        durable.write_json(path, content, 0o644)


def _send(settings: Settings, token: str, stop: threading.Event, way: MakeTransfer, folder: str) -> tuple[Uploader, str]:
    """Sends what is not sent, and returns the id of the batch that `folder` has become."""
    told = Watched()
    uploader = Uploader(settings, lambda: token, told, stop, way)
    uploader.run(once=True)
    record = uploader.journal.of_folder(folder)
    if record is None or record.phase != DONE:
        raise UploadError(told.reason or "there was nothing to send")
    refused = [item for item in record.items if item.state == REFUSED]
    if refused:
        raise UploadError(refused[0].reason)
    return uploader, record.id


def _lose_power(settings: Settings, token: str, stop: threading.Event, way: MakeTransfer) -> None:
    """Sends a part of what there is to send, and ends in the middle of it."""
    try:
        Uploader(settings, lambda: token, Watched(BREAKS_OFF_AT), stop, way).run(once=True)
    except PowerLost:
        return


def _is_known(api: Api, batch_id: str) -> bool:
    try:
        api.get_batch(batch_id)
    except Problem as problem:
        if problem.status in {404, 410}:
            return False
        raise
    return True


def _await_end(api: Api, batch_id: str, stop: threading.Event, timeout_s: float) -> dict[str, Any]:
    """The batch, once it has ended."""
    until = time.monotonic() + timeout_s
    pause = 0.25
    while True:
        try:
            progress = api.call("GET", f"/api/v1/batches/{batch_id}/progress")
            if progress["status"] in ENDED:
                return api.get_batch(batch_id)
        except TryLater as later:
            progress = {"status": str(later)}
        if time.monotonic() > until:
            raise UploadError(f"still {progress['status']} after {timeout_s:.0f} s")
        if stop.wait(pause):
            raise UploadError("stopped")
        pause = min(pause * 1.4, 2.0)


def run(
    base_url: str,
    tokens: dict[str, str],
    folder: Path,
    report: Callable[[str], None],
    *,
    vehicles: Sequence[Vehicle] = VEHICLES,
    parallel: int = 3,
    timeout_s: float = 1800.0,
    today: date | None = None,
) -> list[Outcome]:
    """Has every vehicle write (under `folder`, kept for the next time) and upload its batches, oldest first, `parallel` vehicles at once.

    `tokens` maps VIN to token. Calls `report` with one line for each batch when it has ended, from several threads but never two at
    once. Refused uploads become lines and outcomes with `error`; other exceptions are raised after all vehicles are done.
    """
    reference = reference_day(folder, today or datetime.now(UTC).date())
    work: queue.SimpleQueue[Vehicle] = queue.SimpleQueue()
    for vehicle in vehicles:
        work.put(vehicle)
    lock, stop = threading.Lock(), threading.Event()
    outcomes: list[Outcome] = []
    surprises: list[Exception] = []

    def settle(outcome: Outcome) -> None:
        with lock:
            outcomes.append(outcome)
            report(outcome.line())

    def drive() -> None:
        while not stop.is_set():
            try:
                vehicle = work.get_nowait()
            except queue.Empty:
                return
            try:
                _upload_vehicle(vehicle, tokens.get(vehicle.vin), base_url, reference, folder, settle, stop, timeout_s)
            except Exception as error:  # kept for the caller: the other vehicles go on
                surprises.append(error)

    threads = [threading.Thread(target=drive, name=f"demo-{number}", daemon=True) for number in range(max(1, parallel))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()
    if surprises:
        raise surprises[0]
    return outcomes


def _upload_vehicle(
    vehicle: Vehicle,
    token: str | None,
    base_url: str,
    reference: date,
    folder: Path,
    settle: Callable[[Outcome], None],
    stop: threading.Event,
    timeout_s: float,
) -> None:
    """Uploads the batches of one vehicle, one after the other."""
    if token is None:
        settle(Outcome(vehicle.name, "everything", error=f"there is no token for {vehicle.vin}"))
        return
    for batch in vehicle.batches:
        if stop.is_set():
            return
        try:
            written = prepare(vehicle, batch, reference, spool_of(folder, vehicle))
            settle(upload_batch(base_url, token, vehicle, batch, written, stop, timeout_s))
        except UploadError as error:
            settle(Outcome(vehicle.name, batch.key, error=str(error)))
