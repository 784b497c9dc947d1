"""A message that should come regularly and does not is told from a silent bus, a pause between files, and what is sent now and then."""

from __future__ import annotations

import numpy as np
import pytest

from diagnosis.findings import ERROR, INFO, WARNING, FoundFinding
from diagnosis.rules.dropout import find, is_cyclic, silences
from tests.diagnosis.cases import SECOND, START, Case, every


def found(case: Case) -> list[FoundFinding]:
    return list(find(case.evidence()))


def without(times: np.ndarray, *spans: tuple[float, float]) -> np.ndarray:
    """Times but those between two seconds after the start."""
    seconds = (times - START) / SECOND
    keep = np.ones(len(times), bool)
    for start, end in spans:
        keep &= ~((seconds > start) & (seconds < end))
    return times[keep]


def bus(case: Case, *spans: tuple[float, float], channel: str = "1", seconds: float = 600, prefix: str = "M") -> None:
    """Five cyclic messages of one bus, all silent in `spans`."""
    for number, period in enumerate((0.01, 0.02, 0.04, 0.1, 1.0)):
        times = every(period, int(seconds / period), number * 0.001)
        case.stream(f"{prefix}{number}", without(times, *spans), channel)


def test_a_recording_without_gaps_gives_nothing() -> None:
    case = Case()
    bus(case)
    bus(case, channel="2", prefix="N")
    assert found(case) == []


def test_a_message_with_gaps_while_others_come_is_found() -> None:
    case = Case()
    bus(case)
    case.stream("Wheel", without(every(0.04, 15_000), (100, 103), (200, 205.8)))
    case.file("drive.blf")
    (finding,) = found(case)
    assert (finding.severity, finding.stream, finding.count, finding.file_id) == (WARNING, "Wheel", 2, "id-drive.blf")
    assert "Wheel was missing twice, for 8.8 s altogether (1.5 % of its time, 5.8 s at the longest)" in finding.sentence
    assert "every 0.04 s" in finding.sentence
    assert finding.from_ns == pytest.approx(START + 100 * SECOND, abs=SECOND // 20)
    assert finding.to_ns == pytest.approx(START + 205.8 * SECOND, abs=SECOND // 20)
    assert len(finding.details["gaps"]) == 2


@pytest.mark.parametrize(
    ("spans", "severity"),
    [([(100, 110)], WARNING), ([(100, 120)], ERROR), ([(10 * i, 10 * i + 1.2) for i in range(1, 26)], ERROR)],
)
def test_many_gaps_or_a_large_share_are_graver(spans: list[tuple[float, float]], severity: str) -> None:
    case = Case()
    bus(case)
    case.stream("Wheel", without(every(0.04, 15_000), *spans))
    assert [finding.severity for finding in found(case)] == [severity]


def test_a_silent_bus_is_one_finding_and_not_one_for_each_message() -> None:
    case = Case()
    bus(case, (100, 130))
    bus(case, channel="2", prefix="N")
    (finding,) = found(case)
    assert (finding.severity, finding.stream, finding.count) == (WARNING, "", 1)
    assert finding.sentence == "Nothing was recorded on bus 1 for 30 s (once): all messages stopped at the same time."


def test_silence_of_all_buses_is_one_finding() -> None:
    case = Case()
    bus(case, (100, 130), (300, 340))
    bus(case, (100, 130), (300, 340), channel="2", prefix="N")
    (finding,) = found(case)
    assert "Nothing was recorded on any bus for 1 min 10 s (twice)" in finding.sentence


def test_a_pause_between_files_is_for_information() -> None:
    case = Case()
    for number in range(4):
        times = np.concatenate([every(0.1, 1000), every(0.1, 1000, 400)])
        case.stream(f"M{number}", times, cuts=[1000])
    (finding,) = found(case)
    assert (finding.severity, finding.stream) == (INFO, "")
    assert finding.sentence == "The recording pauses once between its files, for 5 min altogether."


def test_a_jump_of_the_clock_is_no_gap() -> None:
    case = Case()
    for number in range(4):
        case.stream(f"M{number}", np.concatenate([every(0.1, 1000), every(0.1, 1000, 7300)]))
    case.time["jumps"] = [{"file": "f", "from_ns": START + 100 * SECOND, "to_ns": START + 7299 * SECOND}]
    assert found(case) == []


def test_messages_that_are_sent_on_change_are_not_judged() -> None:
    rng = np.random.default_rng(1)
    bursts = np.sort(np.concatenate([every(0.02, 10, start) for start in rng.uniform(0, 590, 60)]))
    case = Case()
    bus(case)
    stream = case.stream("Event", bursts)
    assert stream["gap_count"] > 20
    assert not is_cyclic(stream)
    assert found(case) == []


def test_messages_of_certain_situations_are_not_judged() -> None:
    case = Case()
    bus(case)
    stream = case.stream("Parking", np.concatenate([every(0.02, 3000, 10), every(0.02, 3000, 500)]))
    assert stream["gap_count"] == 1
    assert found(case) == []


def test_few_rows_are_not_judged() -> None:
    case = Case()
    bus(case)
    case.stream("Rare", np.concatenate([every(1, 9), every(1, 9, 500)]))
    assert found(case) == []


def test_gaps_beyond_the_listed_ones_are_counted() -> None:
    case = Case()
    bus(case, seconds=6000)
    spans = [(10 * i, 10 * i + 1.2) for i in range(1, 301)]
    stream = case.stream("Wheel", without(every(0.04, 150_000), *spans))
    assert (stream["gap_count"], len(stream["gaps"])) == (300, 200)
    (finding,) = found(case)
    assert finding.count == 300
    assert "at least" in finding.sentence
    assert len(finding.details["gaps"]) == 20


class TestEarlyEnd:
    def test_a_message_that_stops_while_others_go_on_is_found(self) -> None:
        case = Case()
        bus(case)
        case.stream("Wheel", every(0.04, 10_000))
        (finding,) = found(case)
        assert (finding.severity, finding.stream) == (WARNING, "Wheel")
        assert finding.sentence == "Wheel stopped 3 min 20 s before the end of the recording, while M0, M1, M2 and 2 more went on."

    def test_a_bus_that_is_shut_down_is_not(self) -> None:
        case = Case()
        bus(case)
        for number in range(4):
            case.stream(f"Early{number}", every(0.04, 10_000))
        assert found(case) == []

    def test_the_last_seconds_are_not(self) -> None:
        case = Case()
        bus(case)
        case.stream("Wheel", every(0.04, 14_800))
        assert found(case) == []


def test_two_messages_cannot_tell_whether_the_bus_was_silent() -> None:
    case = Case()
    streams = [case.stream(name, without(every(0.1, 1000), (50, 60))) for name in "ab"]
    assert silences(streams) == []
    assert [finding.stream for finding in found(case)] == ["a", "b"]


def topics(case: Case, file: str, seconds: float, *spans: tuple[float, float]) -> None:
    """Five topics of one recorder, in a file of their own."""
    for i in range(5):
        times = without(every(0.1, int(seconds * 10)), *spans)
        case.stream(f"{file}.{i}", times, channel="")["arbitration_id"] = None
        case.signal(f"{file}.{i}", "x", times, np.zeros(len(times)))["files"] = [f"id-{file}"]


class TestWithoutBus:
    def test_recorders_that_end_at_different_times_are_not_compared(self) -> None:
        case = Case()
        topics(case, "lidar", 600)
        times = every(1, 300)
        case.stream("cpu", times, channel="")["arbitration_id"] = None
        case.signal("cpu", "load", times, np.zeros(300))["files"] = ["id-cpu"]
        assert found(case) == []

    def test_a_silence_names_the_streams_and_no_bus(self) -> None:
        case = Case()
        topics(case, "lidar", 600, (100, 130))
        topics(case, "radar", 600)
        (finding,) = found(case)
        assert finding.sentence.startswith("Nothing was recorded of lidar.0, lidar.1, lidar.2 and 2 more for 30 s")
        assert "bus" not in finding.action

    def test_a_topic_with_gaps_has_no_control_unit_to_blame(self) -> None:
        case = Case()
        topics(case, "lidar", 600)
        times = without(every(0.1, 6000), (50, 60))
        case.stream("imu", times, channel="")["arbitration_id"] = None
        case.signal("imu", "x", times, np.zeros(len(times)))["files"] = ["id-lidar"]
        (finding,) = found(case)
        assert finding.stream == "imu"
        assert "It comes every 0.1 s" in finding.sentence
        assert "control unit" not in finding.action
