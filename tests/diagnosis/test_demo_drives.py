"""The faults of the demo fleet are found in its files, and a healthy drive gives no warning."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from demo import fleet
from demo.drive import simulate
from demo.faults import HEALTHY, Faults
from demo.files import prepare
from demo.frames import DBC
from diagnosis.engine import Diagnosis, FoundFinding, diagnose
from diagnosis.evidence import Evidence, FileFact, Limit
from diagnosis.findings import CRITICAL, ERROR, INFO, WARNING
from files.merge import merge
from files.result_files import Results
from files.results import series
from parsers.can.database import Database
from parsers.errors import ParseError
from parsers.recording import decode_recording
from parsers.source import FileSource
from tests.files.recordings import result

COOLANT = Limit("CoolantTemperature", None, 115.0, 5.0, CRITICAL, "Stop and let the engine cool down.")
TODAY = date(2026, 5, 1)

Diagnose = Callable[[str, str], Diagnosis]


def diagnosed(folder: Path, vehicle: fleet.Vehicle, batch: fleet.Batch) -> Diagnosis:
    """Files are written, decoded one by one, merged and diagnosed, as the pipeline does it."""
    database = Database.load(DBC.read_bytes(), DBC.name)
    written = prepare(vehicle, batch, TODAY, folder)
    results, facts = Results(), []
    for file in written.files:
        out = folder / "results" / batch.key / file.name
        out.mkdir(parents=True)
        try:
            with FileSource(written.path(file)) as source:
                decode_recording(source, file.name, [database], out)
        except ParseError as error:
            facts.append(FileFact(f"id-{file.name}", file.name, "failed", error.code, error.reason, error.offset))
            continue
        results.append(result(out, file.name, len(results)))
        facts.append(FileFact(f"id-{file.name}", file.name, "aggregating"))
    statistics = merge(results)
    evidence = Evidence(statistics=statistics, limits=[COOLANT], files=facts, series=lambda stream, signal: series(results, stream, signal))
    return diagnose(evidence)


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory: pytest.TempPathFactory) -> Diagnose:
    """The diagnosis of a demo batch, by the name of the vehicle and the key of the batch."""

    def of(name: str, key: str) -> Diagnosis:
        vehicle = next(vehicle for vehicle in fleet.VEHICLES if vehicle.name == name)
        batch = next(batch for batch in vehicle.batches if batch.key == key)
        return diagnosed(tmp_path_factory.mktemp(key), vehicle, batch)

    return of


def by_rule(diagnosis: Diagnosis, rule: str) -> list[FoundFinding]:
    assert diagnosis.failures == []
    return [finding for finding in diagnosis.findings if finding.rule == rule]


HEALTHY_BATCHES = [
    (vehicle.name, batch.key)
    for vehicle in fleet.VEHICLES
    for batch in vehicle.batches
    if batch.faults == HEALTHY and not (batch.garbage or batch.unreadable or batch.cut_part)
]


@pytest.mark.parametrize(("vehicle", "batch"), HEALTHY_BATCHES)
def test_a_healthy_drive_gives_no_warning(diagnosis: Diagnose, vehicle: str, batch: str) -> None:
    found = diagnosis(vehicle, batch)
    assert found.failures == []
    assert [finding.sentence for finding in found.findings if finding.severity != INFO] == []


def test_the_overheating_is_found_with_its_peak(diagnosis: Diagnose) -> None:
    found = diagnosis("Kestrel", "overheating")
    (hot,) = by_rule(found, "limits")
    assert (hot.severity, hot.signal, hot.file_id) == (CRITICAL, "CoolantTemperature", "id-drive_003.blf")
    assert 118 < hot.details["extreme"] < 125
    assert 90 < hot.details["total_s"] < 130
    assert hot.action == COOLANT.action
    codes = {finding.code: finding.severity for finding in by_rule(found, "fault_codes")}
    assert codes == {"P0217": CRITICAL, "SPN 110 FMI 0": CRITICAL}
    assert found.findings[0].severity == CRITICAL


def test_the_loose_wheel_sensor_is_found(diagnosis: Diagnose) -> None:
    found = diagnosis("Lapwing", "wheel-speed-dropout")
    (dropout,) = by_rule(found, "dropout")
    assert (dropout.stream, dropout.count, dropout.severity) == ("WheelSpeedFL", 6, ERROR)
    assert dropout.details["total_s"] == pytest.approx(23.3, abs=0.5)
    (stuck,) = by_rule(found, "stuck")
    assert (stuck.signal, stuck.severity, stuck.count, stuck.file_id) == ("WheelSpeedFL", ERROR, 1, "id-drive_002.asc")
    assert stuck.to_ns is not None
    assert stuck.from_ns is not None
    assert (stuck.to_ns - stuck.from_ns) / 1e9 == pytest.approx(75, abs=1)
    assert [finding.severity for finding in by_rule(found, "error_frames")] == [INFO]


def test_all_fault_codes_are_found(diagnosis: Diagnose) -> None:
    found = by_rule(diagnosis("Merlin", "fault-codes"), "fault_codes")
    codes = {finding.code for finding in found}
    assert codes == {"P0301", "P0128", "C0035", "U0121", "P0171", "SPN 100 FMI 1", "SPN 168 FMI 4", "SPN 190 FMI 2"}
    (misfire,) = (finding for finding in found if finding.code == "P0301")
    assert "permanent and stored" in misfire.sentence


def test_damage_and_rubbish_are_told(diagnosis: Diagnose) -> None:
    damaged = by_rule(diagnosis("Plover", "damaged-file"), "damaged")
    assert [(finding.severity, finding.code) for finding in damaged] == [(ERROR, "unknown_format"), (WARNING, "")]
    assert "PDF" in damaged[0].sentence
    assert "drive_003.blf is damaged" in damaged[1].sentence


def test_a_clock_at_1970_is_found(diagnosis: Diagnose) -> None:
    (finding,) = by_rule(diagnosis("Wren", "clock-1970"), "clock")
    assert finding.severity == WARNING
    assert "1970-01-01" in finding.sentence


def test_jumps_of_the_clock_are_found_and_are_no_gaps(diagnosis: Diagnose) -> None:
    found = diagnosis("Wren", "clock-jumps")
    forward, back = by_rule(found, "clock")
    assert "forward by 2 h" in forward.sentence
    assert "back by 37 s" in back.sentence
    assert by_rule(found, "dropout") == []


@pytest.mark.parametrize("seed", [115, 203])
def test_a_wheel_frozen_at_any_time_is_found_unless_the_drive_is_steady(seed: int, tmp_path: Path) -> None:
    faults = Faults(wheel_stuck=(150.0, 60.0))
    batch = fleet.Batch("stuck", "test", fleet.BLF, 6, 2, seed, 1, 8.0, faults)
    drive = simulate(batch.duration_s, seed, faults)
    during = (drive.time_s >= 150) & (drive.time_s < 210)
    assert drive.series["WheelSpeedFR"][during].max() - drive.series["WheelSpeedFR"][during].min() > 10
    found = diagnosed(tmp_path, fleet.VEHICLES[0], batch)
    assert [(finding.rule, finding.signal) for finding in found.findings] == [("stuck", "WheelSpeedFL")]
