"""A vehicle's upload client for the demo fleet, with the standard library only: create, send, complete, wait for the outcome."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from demo.files import WrittenBatch, WrittenFile, prepare, reference_day
from demo.fleet import VEHICLES, Batch, Vehicle

CHUNK = 256 * 1024
ENDED = frozenset({"completed", "failed", "abandoned", "cancelled"})
PAGE = "/admin/batches/batch/{id}/change/"
NOTE = "uploaded.json"
_RETRY_STATUS = frozenset({423, 429, 503, 507})
_BOUNDARY = "argus-demo-0f5c2b9ae1"


class UploadError(Exception):
    """The server refused a request, or could not be reached: the sentence says what to do."""


class ProblemError(UploadError):
    """An error answer of the API (RFC 9457) with its status and stable code."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after_s: float | None) -> None:
        self.status = status
        self.code = str(problem.get("code") or http.client.responses.get(status, "error"))
        self.retryable = status in _RETRY_STATUS or (status == 409 and problem.get("retryable") is True)
        self.retry_after_s = retry_after_s
        detail = str(problem.get("detail") or problem.get("title") or "")
        named = [f"{key}: {problem[key]}" for key in ("missing", "short", "corrupt", "unexpected") if problem.get(key)]
        action = str(problem.get("action") or "")
        super().__init__(
            " ".join(part for part in (f"{status} {self.code}:", detail, "; ".join(named), f"({action})" if action else "") if part)
        )


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


class Client:
    """Requests of one vehicle. `patience_s` is how long it repeats a request that is refused for now or does not get through."""

    def __init__(self, base_url: str, token: str, *, patience_s: float = 60.0, stop: threading.Event | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UploadError(f"{base_url!r} is no address of a server")
        self.base_url = base_url.rstrip("/")
        self._connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._token = token
        self._patience_s = patience_s
        self.stop = stop or threading.Event()

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Sends `body` as JSON (None: no body) and returns the JSON answer; ProblemError for an error answer, UploadError for none."""
        if body is None:
            return self.send(method, path, {}, lambda: iter(()))
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return self.send(method, path, headers, lambda: iter([content]))

    def send(self, method: str, path: str, headers: dict[str, str], body: Callable[[], Iterator[bytes]]) -> dict[str, Any]:
        """Streams `body()` (called anew for each try); `headers` must have its Content-Length."""
        until = time.monotonic() + self._patience_s
        pause = 0.5
        while True:
            try:
                return self._once(method, path, headers, body())
            except ProblemError as problem:
                if not problem.retryable or time.monotonic() > until:
                    raise
                wait = pause if problem.retry_after_s is None else min(problem.retry_after_s, 30.0)
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > until:
                    raise UploadError(f"{self.base_url} does not answer: {error or type(error).__name__}") from error
                wait = pause
            if self.stop.wait(wait):
                raise UploadError("stopped")
            pause = min(pause * 2, 8.0)

    def _once(self, method: str, path: str, headers: dict[str, str], body: Iterator[bytes]) -> dict[str, Any]:
        connection = self._connect(self._host, self._port, timeout=60)
        try:
            connection.putrequest(method, self._prefix + path)
            sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "User-Agent": "argus-demo", **headers}
            if method not in {"GET", "HEAD"}:
                sent.setdefault("Content-Length", "0")
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for chunk in body:
                    connection.send(chunk)
            except (BrokenPipeError, ConnectionResetError):
                # The server has answered without wanting the rest: its answer says why.
                return _answer(connection.getresponse())
            return _answer(connection.getresponse())
        finally:
            connection.close()


def _answer(response: http.client.HTTPResponse) -> dict[str, Any]:
    content = response.read()
    try:
        answer = json.loads(content) if content else {}
    except ValueError:
        answer = {"detail": content[:200].decode("utf-8", "replace")}
    if not isinstance(answer, dict):
        answer = {"detail": str(answer)[:200]}
    if response.status >= 400:
        after = response.headers.get("Retry-After", "")
        raise ProblemError(response.status, answer, float(after) if after.isdigit() else None)
    return answer


def put_file(client: Client, batch_id: str, file: WrittenFile, path: Path) -> None:
    """Streams one file as the body of a PUT, with its digest in `Repr-Digest` (RFC 9530)."""
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.size), "Repr-Digest": f"sha-256=:{digest}:"}
    client.send("PUT", f"/api/v1/batches/{batch_id}/files/{quote(file.name, safe='')}", headers, lambda: _chunks(path))


def post_file(client: Client, batch_id: str, file: WrittenFile, path: Path) -> None:
    """Streams one file as the part `file` of a multipart form."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(head) + file.size + len(tail)),
    }

    def body() -> Iterator[bytes]:
        yield head
        yield from _chunks(path)
        yield tail

    client.send("POST", f"/api/v1/batches/{batch_id}/files", headers, body)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


class UploadNote:
    """Remembers which batch became which id, so that a second start goes on with the same batch instead of a double."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NOTE
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """Returns the batch id of `key`, or None."""
        with self._lock:
            return self._read().get(key)

    def put(self, key: str, batch_id: str) -> None:
        """Keeps `batch_id` for `key`, on disk before this returns."""
        with self._lock:
            known = self._read() | {key: batch_id}
            scratch = self._path.with_suffix(".part")
            scratch.write_text(json.dumps(known, indent=1) + "\n")
            scratch.replace(self._path)

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def upload_batch(client: Client, vehicle: Vehicle, batch: Batch, written: WrittenBatch, note: UploadNote, timeout_s: float) -> Outcome:
    """Uploads one batch and waits until it has ended; goes on with a batch that `note` knows. UploadError when that is not possible."""
    begun = time.monotonic()
    content = hashlib.sha256("".join(file.sha256 for file in written.files).encode()).hexdigest()[:16]
    key = f"{vehicle.vin} {batch.key} {content}"
    state = _known_batch(client, note.get(key))
    if state is None:
        state = client.call("POST", "/api/v1/batches", _declaration(vehicle, batch, written))
        note.put(key, state["id"])
    batch_id = str(state["id"])
    if state["status"] == "pending":
        stored = {(file["name"], file["sha256"]) for file in state.get("files") or ()}
        send = post_file if vehicle.multipart else put_file
        for file in written.files:
            if (file.name, file.sha256) not in stored:
                send(client, batch_id, file, written.path(file))
        manifest = [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in written.files]
        client.call("POST", f"/api/v1/batches/{batch_id}/complete", {"files": manifest})
    _await_end(client, batch_id, timeout_s)
    ended = client.call("GET", f"/api/v1/batches/{batch_id}")
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
        client.base_url + PAGE.format(id=batch_id),
    )


def _known_batch(client: Client, batch_id: str | None) -> dict[str, Any] | None:
    if batch_id is None:
        return None
    try:
        return client.call("GET", f"/api/v1/batches/{batch_id}")
    except ProblemError as problem:
        if problem.status in {404, 410}:
            return None
        raise


def _declaration(vehicle: Vehicle, batch: Batch, written: WrittenBatch) -> dict[str, Any]:
    return {
        "recorded_from": written.recorded_from,
        "recorded_to": written.recorded_to,
        "clock": {"source": batch.clock_source, "synced": batch.clock_synced},
        "software": vehicle.software,
        "reason": batch.reason,
    }


def _await_end(client: Client, batch_id: str, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    pause = 0.25
    while True:
        progress = client.call("GET", f"/api/v1/batches/{batch_id}/progress")
        if progress["status"] in ENDED:
            return
        if time.monotonic() > until:
            raise UploadError(f"still {progress['status']} after {timeout_s:.0f} s")
        if client.stop.wait(pause):
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
    note, lock, stop = UploadNote(folder), threading.Lock(), threading.Event()
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
                _upload_vehicle(vehicle, tokens.get(vehicle.vin), base_url, reference, folder, note, settle, stop, timeout_s)
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
    note: UploadNote,
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
            client = Client(base_url, token, stop=stop)
            written = prepare(vehicle, batch, reference, folder)
            settle(upload_batch(client, vehicle, batch, written, note, timeout_s))
        except UploadError as error:
            settle(Outcome(vehicle.name, batch.key, error=str(error)))
