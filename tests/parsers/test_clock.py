"""The three clocks: what the logger wrote is kept, what is wrong with it is said, and the true time is found where a recording tells it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from parsers.results.clock import Resolution, SampleClock
from parsers.results.utc import MOST_PAIRS, MOST_SOURCES, UtcFinder
from tests.parsers.blocks import Row, block, frame

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND  # 2023-11-14 22:13:20 UTC, day 19675, 80000 s
DAY, CLOCK = 19_675, 80_000


def resolution(*pieces: Sequence[float]) -> list[str]:
    found = Resolution()
    for piece in pieces:
        found.take((np.array(piece) * SECOND).astype(np.int64))
    return found.flags()


def test_a_clock_of_whole_seconds_is_found() -> None:
    stamps = np.repeat(np.arange(10), 20)
    assert resolution(stamps) == resolution(stamps[:70], stamps[70:]) == ["whole_seconds"]


@pytest.mark.parametrize(
    "pieces",
    [
        (np.arange(200) / 10,),
        (np.arange(200),),
        (np.repeat(np.arange(3), 20),),
        (np.sort(np.concatenate([np.arange(200) / 10] * 2))[1:],),
    ],
    ids=["fine", "one row a second", "too few rows", "two buses at once"],
)
def test_a_clock_that_is_fine_enough_is_not_mentioned(pieces: Any) -> None:
    assert resolution(*pieces) == []


def test_stamps_that_repeat_are_found() -> None:
    assert resolution(np.repeat(np.arange(50) * 0.1 + 0.01, 4)) == ["repeated"]
    assert resolution(np.repeat(np.arange(10), 20), [10.5]) == ["repeated"]


def test_the_clock_of_samples_sees_its_resolution_over_all_streams() -> None:
    clock = SampleClock()
    for stream in range(4):
        clock.take(stream, np.repeat(np.arange(10), 5) * SECOND)
    assert clock.resolution.flags() == ["whole_seconds"]


def time_date(t: int, offset: int = 0) -> Row:
    """J1939 time/date at START + t seconds, seen `offset` seconds earlier."""
    clock = CLOCK + t
    data = bytes([clock % 60 * 4, clock // 60 % 60, clock // 3600, 11, 14 * 4, 2023 - 1985, 0xFF, 0xFF])
    return frame(f"18FEE617#{data.hex()}", START + (t - offset) * SECOND)


def test_j1939_time_and_date_tells_how_far_the_clock_is_off() -> None:
    finder = UtcFinder()
    finder.take_frames(block([time_date(t, offset=3600) for t in range(5)]), 0)
    assert finder.correction() == {"source": "J1939 time/date", "offset_ns": 3600 * SECOND, "samples": 5, "spread_ns": 0}


def test_the_start_of_a_relative_recording_is_found() -> None:
    finder = UtcFinder()
    rows = [(t_ns - START, *rest) for t_ns, *rest in (time_date(t) for t in range(5))]
    finder.take_frames(block(rows), 0)
    found = finder.correction()
    assert found is not None
    assert found["offset_ns"] == START


@pytest.mark.parametrize(
    ("identifier", "data", "source"),
    [
        ("19F01022", struct.pack("<BBHI", 7, 0xF0, DAY, CLOCK * 10_000), "NMEA 2000 system time"),
        ("1DF80922", struct.pack("<HIh", DAY, CLOCK * 10_000, 60), "NMEA 2000 time & date"),
    ],
)
def test_nmea_2000_tells_the_time(identifier: str, data: bytes, source: str) -> None:
    finder = UtcFinder()
    rows = []
    for t in range(4):
        at = data.find(struct.pack("<I", CLOCK * 10_000))
        payload = data[:at] + struct.pack("<I", (CLOCK + t) * 10_000) + data[at + 4 :]
        rows.append(frame(f"{identifier}#{payload.hex()}", START + t * SECOND - 5))
    finder.take_frames(block(rows), 0)
    assert finder.correction() == {"source": source, "offset_ns": 5, "samples": 4, "spread_ns": 0}


@pytest.mark.parametrize(
    "payload", ["ffffffffffffffff", "0000000000000000", "f03c180b3826ffff", "00000d0b38fbffff", "07f6ffffffffffff", "00000000"]
)
def test_clock_messages_without_a_time_tell_nothing(payload: str) -> None:
    finder = UtcFinder()
    rows = [
        frame(f"{identifier}#{payload}", i * SECOND) for i in range(9) for identifier in ("18FEE617", "19F01022", "1DF80922", "000FEE61")
    ]
    finder.take_frames(block(rows), 0)
    assert finder.correction() is None


def stream(finder: UtcFinder, signals: dict[str, Any], recorded: Any, masks: dict[str, Any] | None = None, place: int = 0) -> None:
    columns = [np.asarray(values) for values in signals.values()]
    finder.take_rows(place, "Gps", list(signals), np.asarray(recorded, np.int64), columns, [(masks or {}).get(name) for name in signals])


AT = np.arange(10) * SECOND


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Epoch", 1.0), ("time_utc_usec", 1e6), ("utc_time", 1e3), ("gps.UtcTimestamp", 1e3), ("GNSS_Time", 1.0), ("unix_time", 1e3),
        ("fix.time_ref", 1e9), ("utc", 1.0), ("epoch_ms", 1e3),
    ],
)  # fmt: skip
def test_a_signal_that_is_a_moment_by_its_name_is_read_in_the_unit_of_its_size(name: str, unit: float) -> None:
    values = ((1_700_000_000 + np.arange(10)) * unit).astype(np.int64)
    for column in (values, values.astype(np.float64)):
        finder = UtcFinder()
        stream(finder, {"Speed": np.zeros(10), name: column}, AT)
        found = finder.correction()
        assert found is not None
        assert (found["source"], found["offset_ns"], found["samples"]) == (f"Gps.{name}", START, 10)


@pytest.mark.parametrize("name", ["Speed", "timestamp", "time", "header.stamp", "TimeToStart", "epochs", "UtcValid", "runtime"])
def test_other_signals_are_not_taken_for_the_time(name: str) -> None:
    finder = UtcFinder()
    stream(finder, {name: 1_700_000_000.0 + np.arange(10)}, AT)
    assert finder.correction() is None


def test_rows_that_are_marked_as_invalid_do_not_count() -> None:
    finder = UtcFinder()
    epoch = 1_577_840_400.0 + np.arange(10)
    epoch[5:] = 1_700_000_005.0 + np.arange(5)
    stream(finder, {"TimeValid": (np.arange(10) >= 5).astype(np.uint8), "Epoch": epoch}, AT)
    found = finder.correction()
    assert found is not None
    assert (found["offset_ns"], found["samples"]) == (START, 5)


def test_absent_values_and_values_that_are_no_numbers_do_not_count() -> None:
    finder = UtcFinder()
    epoch = 1_700_000_000.0 + np.arange(10)
    epoch[0], epoch[1], epoch[2] = np.nan, np.inf, 1e300
    stream(finder, {"Epoch": epoch}, AT, {"Epoch": (np.arange(10) != 9).astype(np.uint8)})
    found = finder.correction()
    assert found is not None
    assert found["samples"] == 6


@pytest.mark.parametrize("year", [2023, 23])
def test_a_date_in_parts_is_put_together(year: int) -> None:
    finder = UtcFinder()
    seconds = CLOCK + np.arange(10)
    parts = {"Year": np.full(10, year), "Month": np.full(10, 11), "Day": np.full(10, 14), "Hour": seconds // 3600}
    stream(finder, {**parts, "Minutes": seconds // 60 % 60, "UTC_Seconds": seconds % 60}, AT)
    found = finder.correction()
    assert found is not None
    assert (found["offset_ns"], found["source"]) == (START, "Gps.year, month, day...")


def test_a_time_that_wanders_against_the_logger_is_not_believed() -> None:
    finder = UtcFinder()
    stream(finder, {"Epoch": 1_700_000_000.0 + np.arange(10) * 20}, AT)
    assert finder.correction() is None


def test_the_steadiest_source_counts() -> None:
    finder = UtcFinder()
    stream(finder, {"utc": 1_700_000_000.0 + np.arange(10) * 1.2}, AT, place=0)
    finder.take_rows(1, "Other", ["utc"], AT, [1_600_000_000.0 + np.arange(10)], [None])
    found = finder.correction()
    assert found is not None
    assert found["source"] == "Other.utc"


def test_a_clock_that_stands_still_counts_where_it_changes() -> None:
    finder = UtcFinder()
    t = np.arange(100)
    stream(finder, {"utc": 1_700_000_000.0 + t // 10}, t * SECOND // 10)
    found = finder.correction()
    assert found is not None
    assert (found["samples"], found["offset_ns"], found["spread_ns"]) == (10, START, 0)


def test_what_is_kept_of_a_source_is_bounded() -> None:
    finder = UtcFinder()
    for piece in range(20):
        t = np.arange(piece * 10_000, (piece + 1) * 10_000)
        stream(finder, {"utc": 1_700_000_000.0 + t}, t * SECOND)
    found = finder.correction()
    assert found is not None
    assert found["offset_ns"] == START
    assert 1000 < found["samples"] <= MOST_PAIRS
    (pairs,) = finder._sources.values()
    assert all(part.base is None for part in [*pairs.recorded, *pairs.utc])  # no view that keeps what was dropped


def test_the_sources_are_bounded() -> None:
    finder = UtcFinder()
    for place in range(MOST_SOURCES + 10):
        finder.take_rows(place, f"Gps{place}", ["utc"], AT, [1_700_000_000.0 + np.arange(10)], [None])
    assert len(finder._sources) == MOST_SOURCES


def test_a_vehicle_clock_that_was_never_set_does_not_make_the_logger_wrong() -> None:
    finder = UtcFinder()
    stream(finder, {"utc": 1_000_000_000.0 + np.arange(10)}, AT + START)
    assert finder.correction() is None
