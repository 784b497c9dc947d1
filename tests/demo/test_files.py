"""The written files are the same every time, whole for an independent reader, and damaged only where they should be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import can
import numpy as np
import pytest

from demo import faults, files
from demo.drive import simulate
from demo.fleet import ASC, BLF, CANDUMP, VEHICLES, Batch, Vehicle
from demo.frames import Frames, record, stamps_us

DAY = date(2026, 11, 20)
VEHICLE = VEHICLES[0]
SHORT = Batch("short", "test", BLF, 1.5, 2, 77, 1, 8.0)


@pytest.fixture(scope="module")
def recorded() -> Frames:
    return record(simulate(60.0, 5, faults.HEALTHY), faults.HEALTHY, 5)


def vehicle_with(name: str) -> Vehicle:
    return replace(VEHICLE, name=name)


@pytest.mark.parametrize("log_format", [BLF, ASC, CANDUMP])
def test_python_can_reads_every_frame_back(tmp_path: Path, recorded: Frames, log_format: str) -> None:
    start = 1_763_629_200_000_000
    stamps = stamps_us(recorded, start, faults.HEALTHY)
    path = tmp_path / f"drive.{log_format}"
    files.write_frames(path, recorded, stamps, log_format)
    with can.LogReader(path) as reader:
        messages = list(reader)
    assert len(messages) == len(recorded)
    assert [message.arbitration_id for message in messages] == recorded.arbitration_id.tolist()
    payloads = [row[:length].tobytes() for row, length in zip(recorded.data, recorded.length, strict=True)]
    assert [bytes(message.data) for message in messages] == payloads
    times = np.array([message.timestamp for message in messages])
    if log_format == ASC:
        times += start / 1e6 - times[0]  # python-can takes the date of an ASC file as local time
    assert np.abs(times - stamps / 1e6).max() < 1.5e-6
    assert sum(not message.is_rx for message in messages) == int((recorded.flags == 4).sum())


def test_error_frames_are_written_as_such(tmp_path: Path) -> None:
    broken = faults.Faults(wheel_gaps=((20.0, 2.0),))
    frames = record(simulate(60.0, 5, broken), broken, 5)
    for log_format in (BLF, ASC, CANDUMP):
        path = tmp_path / f"drive.{log_format}"
        files.write_frames(path, frames, stamps_us(frames, 10**15, broken), log_format)
        with can.LogReader(path) as reader:
            assert sum(message.is_error_frame for message in reader) == 3


def test_an_asc_file_begins_with_its_start_in_utc(tmp_path: Path, recorded: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    path = tmp_path / "drive.asc"
    files.write_frames(path, recorded.take(slice(0, 5)), stamps_us(recorded, 1_763_629_200_007_000, faults.HEALTHY)[:5], ASC)
    lines = path.read_text().splitlines()
    assert lines[0] == "date Thu Nov 20 09:00:00.007 2025"
    assert lines[3] == "Begin Triggerblock Thu Nov 20 09:00:00.007 2025"


def test_a_format_without_writer_is_refused(tmp_path: Path, recorded: Frames) -> None:
    with pytest.raises(ValueError, match="mf4"):
        files.write_frames(tmp_path / "x", recorded, recorded.time_us, "mf4")


@pytest.mark.parametrize("log_format", [BLF, ASC, CANDUMP])
def test_the_same_batch_has_the_same_bytes(tmp_path: Path, log_format: str) -> None:
    batch = replace(SHORT, format=log_format, minutes=1.0)
    first = files.prepare(VEHICLE, batch, DAY, tmp_path / "a")
    second = files.prepare(VEHICLE, batch, DAY, tmp_path / "b")
    assert first.files == second.files
    for file in second.files:
        content = second.path(file).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
    other = files.prepare(VEHICLE, replace(batch, seed=78), DAY, tmp_path / "c")
    assert {file.sha256 for file in other.files}.isdisjoint({file.sha256 for file in first.files})


def test_parts_together_are_the_drive(tmp_path: Path) -> None:
    written = files.prepare(VEHICLE, replace(SHORT, parts=3), DAY, tmp_path)
    counts = []
    for file in written.files:
        with can.LogReader(written.path(file)) as reader:
            counts.append(sum(1 for _ in reader))
    assert [file.name for file in written.files] == ["drive_001.blf", "drive_002.blf", "drive_003.blf"]
    assert sum(counts) == written.frames
    assert max(counts) - min(counts) < 200
    assert written.recorded_from == "2026-11-19T08:00:00.000Z"


def test_files_are_kept_until_the_day_or_the_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = files.prepare(VEHICLE, SHORT, DAY, tmp_path)
    before = first.path(first.files[0]).stat().st_mtime_ns
    again = files.prepare(VEHICLE, SHORT, DAY, tmp_path)
    assert again == first
    assert again.path(again.files[0]).stat().st_mtime_ns == before
    next_day = files.prepare(VEHICLE, SHORT, date(2026, 11, 21), tmp_path)
    assert next_day.recorded_from == "2026-11-20T08:00:00.000Z"
    stale = next_day.path(next_day.files[0])
    stale.write_bytes(bytes(next_day.files[0].size))
    monkeypatch.setattr(files, "fingerprint", lambda: "other code")
    changed = files.prepare(VEHICLE, SHORT, date(2026, 11, 21), tmp_path)
    assert changed.files == next_day.files
    assert hashlib.sha256(stale.read_bytes()).hexdigest() == changed.files[0].sha256
    assert [path.name for path in tmp_path.iterdir()] == ["heron-short"]


def test_a_file_that_went_missing_is_written_again(tmp_path: Path) -> None:
    first = files.prepare(VEHICLE, SHORT, DAY, tmp_path)
    first.path(first.files[1]).unlink()
    again = files.prepare(VEHICLE, SHORT, DAY, tmp_path)
    assert again.path(again.files[1]).stat().st_size == first.files[1].size


def test_the_cut_blf_ends_inside_a_container_and_still_begins_as_one(tmp_path: Path) -> None:
    whole = files.prepare(vehicle_with("whole"), SHORT, DAY, tmp_path)
    cut = files.prepare(vehicle_with("cut"), replace(SHORT, cut_part=2), DAY, tmp_path)
    assert cut.files[0] == whole.files[0]
    head, full = cut.path(cut.files[1]).read_bytes(), whole.path(whole.files[1]).read_bytes()
    assert full.startswith(head)
    assert 0.5 < len(head) / len(full) < 0.75
    at = int.from_bytes(head[4:8], "little")
    while at < len(head):
        size = int.from_bytes(head[at + 8 : at + 12], "little")
        last, at = at, at + size + size % 4
    assert last + 32 < len(head) < last + size


def test_an_unreadable_batch_holds_nothing_that_is_a_log(tmp_path: Path) -> None:
    written = files.prepare(VEHICLE, replace(SHORT, unreadable=True), DAY, tmp_path)
    cut, document = (written.path(file).read_bytes() for file in written.files)
    assert cut.startswith(b"LOGG")
    assert len(cut) < 144
    assert document.startswith(b"%PDF-1.4")
    assert [file.name for file in written.files] == ["drive_001.blf", "drive_002.log"]


def test_a_mistaken_upload_lies_beside_the_good_files(tmp_path: Path) -> None:
    written = files.prepare(VEHICLE, replace(SHORT, garbage=True), DAY, tmp_path)
    assert written.files[-1].name == "shift_report.log"
    assert written.path(written.files[-1]).read_bytes().startswith(b"%PDF")


def test_the_nineteen_seventy_log_counts_from_zero(tmp_path: Path) -> None:
    written = files.prepare(VEHICLE, replace(SHORT, format=CANDUMP, faults=faults.CLOCK_1970), DAY, tmp_path)
    assert written.path(written.files[0]).read_text().startswith("(0000000000.000000) can0 ")
    assert written.recorded_from == "1970-01-01T00:00:00.000Z"


def test_the_reference_day_holds_for_a_week(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert files.reference_day(folder, DAY) == DAY
    assert files.reference_day(folder, date(2026, 11, 26)) == DAY
    assert files.reference_day(folder, date(2026, 11, 27)) == date(2026, 11, 27)
    assert files.reference_day(folder, DAY) == DAY
