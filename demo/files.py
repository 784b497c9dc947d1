"""Writes the files of a demo batch with python-can (a writer that knows nothing of our readers) and keeps them for the next time."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import struct
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import can
import numpy as np
from can.io import ASCWriter, BLFWriter, CanutilsLogWriter
from numpy.typing import NDArray

from demo import computer
from demo import frames as can_frames
from demo.drive import simulate
from demo.fleet import ASC, BLF, CANDUMP, Batch, Vehicle
from demo.frames import Frames

MANIFEST = ".manifest.json"  # hidden: it is no recording
REFERENCE = "reference.txt"
REFERENCE_VALID_DAYS = 7
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class UtcAscWriter(ASCWriter):
    """python-can's ASC writer, with the start of the recording in UTC where it would write local time and the time of writing."""

    def __init__(self, path: Path, start_us: int) -> None:
        self._start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start_us)
        super().__init__(path)

    def _format_header_datetime(self, dt: datetime) -> str:
        at = self._start
        clock = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        return f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:02d} {clock} {at.year}"


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of a batch: its name, size in bytes and SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """A batch as it lies in `folder`; the recorded times (ISO 8601, UTC) are what the logger's clock said."""

    folder: str
    recorded_from: str
    recorded_to: str
    frames: int
    files: tuple[WrittenFile, ...]

    def path(self, file: WrittenFile) -> Path:
        """Returns where `file` lies."""
        return Path(self.folder) / file.name


def write_frames(path: Path, frames: Frames, stamps_us: NDArray[np.int64], log_format: str) -> None:
    """Writes `frames` with the times `stamps_us` (microseconds since 1970) to `path`; ValueError for an unknown `log_format`.

    ASC keeps its start to the millisecond, so its absolute times are up to 1 ms early unless the first stamp is a whole one.
    """
    writer: BLFWriter | ASCWriter | CanutilsLogWriter
    if log_format == BLF:
        writer = BLFWriter(path, compression_level=1)
    elif log_format == ASC:
        writer = UtcAscWriter(path, int(stamps_us[0]))
    elif log_format == CANDUMP:
        writer = CanutilsLogWriter(path)
    else:
        raise ValueError(f"no writer for {log_format!r}")
    write = writer.on_message_received
    payload = frames.data.tobytes()
    columns = (stamps_us, frames.channel, frames.arbitration_id, frames.flags, frames.length)
    with writer:
        for row, (stamp, channel, arbitration_id, flags, length) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            write(
                can.Message(
                    stamp / 1e6,
                    arbitration_id,
                    bool(flags & can_frames.EXTENDED),
                    is_error_frame=bool(flags & can_frames.ERROR),
                    is_rx=not flags & can_frames.SENT,
                    channel=channel,
                    dlc=length,
                    data=payload[row * 8 : row * 8 + length],
                )
            )
    if log_format == CANDUMP:
        pad_seconds(path)


def pad_seconds(path: Path) -> None:
    """Gives the stamps of a candump log ten digits of seconds, as candump itself writes them: without, 1970 looks like a relative time."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join(b"(" + seconds[1:].rjust(10, b"0") + b"." + rest for seconds, _, rest in (line.partition(b".") for line in lines))
    )


def cut_blf(path: Path) -> int:
    """Cuts a BLF file in the middle of the container that lies at 60 % of it; returns the new size."""
    data = path.read_bytes()
    at, wanted = struct.unpack_from("<I", data, 4)[0], int(len(data) * 0.6)
    while True:
        size = struct.unpack_from("<I", data, at + 8)[0]
        if at + size >= wanted:
            break
        at += size + size % 4
    end = at + size // 2
    os.truncate(path, end)
    return end


def write_garbage(path: Path, seed: int) -> None:
    """Writes what somebody uploaded by mistake: the head and tail of a PDF document with 48 KiB of noise between them."""
    noise = np.random.default_rng(seed).bytes(48 * 1024)
    head = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Length 49152 >>\nstream\n"
    path.write_bytes(head + noise + b"\nendstream\nendobj\ntrailer\n<< /Size 2 >>\nstartxref\n0\n%%EOF\n")


def reference_day(folder: Path, today: date) -> date:
    """Returns the day that the drives in `folder` count back from; a new folder, or one older than a week, begins anew with `today`."""
    note = folder / REFERENCE
    try:
        known = date.fromisoformat(note.read_text().strip())
    except (FileNotFoundError, ValueError):
        known = date.min
    if known <= today < known + timedelta(days=REFERENCE_VALID_DAYS):
        return known
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(today.isoformat() + "\n")
    return today


def prepare(vehicle: Vehicle, batch: Batch, reference: date, folder: Path) -> WrittenBatch:
    """Returns the batch as files under `folder`; writes them unless the same ones are there. The same arguments give the same bytes."""
    target = folder / f"{vehicle.name.lower()}-{batch.key}"
    known = _load(target, reference)
    if known is not None:
        return known
    scratch = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        written = _write_batch(batch, reference, scratch, target)
        note = {"fingerprint": fingerprint(), "reference": reference.isoformat(), "batch": asdict(written)}
        (scratch / MANIFEST).write_text(json.dumps(note, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return written


@functools.cache
def fingerprint() -> str:
    """Returns a digest of everything that decides which bytes are written: this package's sources and the writers' version."""
    digest = hashlib.sha256(f"python-can {can.__version__}, numpy {np.__version__}".encode())
    for name in ("argus_demo.dbc", "computer.py", "drive.py", "faults.py", "faultcodes.py", "files.py", "fleet.py", "frames.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def _load(target: Path, reference: date) -> WrittenBatch | None:
    """The batch in `target`, or None where it is missing, incomplete, or written by other code or for another day."""
    try:
        note: dict[str, Any] = json.loads((target / MANIFEST).read_text())
        if note["fingerprint"] != fingerprint() or note["reference"] != reference.isoformat():
            return None
        batch = note["batch"]
        batch["files"] = tuple(WrittenFile(**file) for file in batch["files"])
        batch["folder"] = str(target)
        written = WrittenBatch(**batch)
        complete = all(written.path(file).stat().st_size == file.size for file in written.files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return written if complete else None


def _write_batch(batch: Batch, reference: date, scratch: Path, target: Path) -> WrittenBatch:
    start = batch.start(reference)
    drive = simulate(batch.duration_s, batch.seed, batch.faults, utc_start_s=start.timestamp(), warm=batch.warm)
    frames = can_frames.record(drive, batch.faults, batch.seed)
    stamps = can_frames.stamps_us(frames, round(start.timestamp() * 1e6), batch.faults)
    paths = _unreadable_files(batch, frames, stamps, scratch) if batch.unreadable else _part_files(batch, frames, stamps, scratch)
    if batch.computer:
        computer.write_log(scratch / computer.LOG, drive, batch.faults, start, batch.seed)
        computer.write_cpu(scratch / computer.CPU, drive, start, batch.seed)
        paths += [scratch / computer.LOG, scratch / computer.CPU]
    return WrittenBatch(
        str(target),
        _iso(int(stamps.min())),
        _iso(int(stamps.max())),
        len(frames),
        tuple(WrittenFile(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths),
    )


def _part_files(batch: Batch, frames: Frames, stamps: NDArray[np.int64], folder: Path) -> list[Path]:
    paths = []
    edges = np.searchsorted(frames.time_us, np.linspace(0, batch.duration_s * 1e6, batch.parts + 1))
    for part in range(batch.parts):
        rows = slice(int(edges[part]), int(edges[part + 1]))
        path = folder / f"drive_{part + 1:03d}.{batch.format}"
        write_frames(path, frames.take(rows), stamps[rows], batch.format)
        if batch.cut_part == part + 1:
            cut_blf(path)
        paths.append(path)
    if batch.garbage:
        paths.append(folder / "shift_report.log")
        write_garbage(paths[-1], batch.seed)
    return paths


def _unreadable_files(batch: Batch, frames: Frames, stamps: NDArray[np.int64], folder: Path) -> list[Path]:
    """A BLF of which only half the file header reached the disk, and a document with the name of a log."""
    cut, document = folder / "drive_001.blf", folder / "drive_002.log"
    write_frames(cut, frames.take(slice(0, 1000)), stamps[:1000], BLF)
    os.truncate(cut, 72)
    write_garbage(document, batch.seed)
    return [cut, document]


def _iso(stamp_us: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stamp_us)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
