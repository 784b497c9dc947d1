"""Turns a drive into the CAN frames of its two buses: every message of the database at its cycle time, packed by whole columns."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cantools
import numpy as np
from cantools.database.can import Database, Message, Signal
from numpy.typing import NDArray

from demo import faultcodes
from demo.drive import Drive
from demo.faults import Faults

DBC = Path(__file__).with_name("argus_demo.dbc")

EXTENDED, ERROR, SENT = 1, 2, 4
# The second bus carries what the automated driving computer and the receiver send; all else is on the first.
SECOND_BUS = frozenset({"AutonomyStatus", "GpsPosition", "GpsMotion", "GpsTime", "Climate"})
JITTER_US = 90.0


@dataclass(frozen=True, slots=True)
class Frames:
    """N frames ordered by true time.

    `time_us` int64 is microseconds since the start of the drive, `data` uint8 (N, 8) holds the payload in its first `length` bytes,
    `channel` counts from 0, `flags` are EXTENDED, ERROR and SENT.
    """

    time_us: NDArray[np.int64]
    channel: NDArray[np.uint8]
    arbitration_id: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    length: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Frames:
        """Returns the frames of `rows`, in that order."""
        return Frames(
            self.time_us[rows], self.channel[rows], self.arbitration_id[rows], self.flags[rows], self.length[rows], self.data[rows]
        )


@functools.cache
def database() -> Database:
    """Returns the signal database of the demo fleet, loaded strictly."""
    loaded = cantools.database.load_file(DBC, strict=True)
    assert isinstance(loaded, Database)
    return loaded


def record(drive: Drive, faults: Faults, seed: int) -> Frames:
    """Returns every frame that the logger hears during `drive`, with the faults that live on the bus; the same arguments, the same frames.

    The first frame is at 0 us. The clock of the logger is not applied here: see `stamps_us`.
    """
    rng = np.random.default_rng(seed)
    duration_s = float(drive.time_s[-1])
    parts = [_message_frames(message, drive, faults, rng, number) for number, message in enumerate(database().messages)]
    parts.append(_diagnostic_frames(faults, duration_s))
    parts.append(_error_frames(faults))
    joined = Frames(
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.channel for part in parts]),
        np.concatenate([part.arbitration_id for part in parts]),
        np.concatenate([part.flags for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.data for part in parts]),
    )
    ordered = joined.take(np.argsort(joined.time_us, kind="stable"))
    ordered.time_us[0] = 0
    return ordered


def stamps_us(frames: Frames, start_us: int, faults: Faults) -> NDArray[np.int64]:
    """Returns the time that the logger's clock writes beside each frame, in microseconds since 1970 (or since 0 for the 1970 clock)."""
    stamps = frames.time_us + (0 if faults.clock_1970 else start_us)
    for at_s, step_s in faults.clock_steps:
        stamps[frames.time_us >= round(at_s * 1e6)] += round(step_s * 1e6)
    return stamps


def pack(message: Message, raw: dict[str, NDArray[np.int64]], count: int) -> NDArray[np.uint8]:
    """Packs raw signal values, one int64 array of `count` per signal, into payloads (`count`, 8) of up to eight bytes.

    Signals that `raw` does not have stay zero; values must fit their signal (two's complement is cut to its width).
    """
    little = np.zeros(count, dtype=np.uint64)
    big = np.zeros(count, dtype=np.uint64)
    for signal in message.signals:
        if signal.name not in raw:
            continue
        bits = raw[signal.name].astype(np.uint64) & np.uint64((1 << signal.length) - 1)
        if signal.byte_order == "little_endian":
            little |= bits << np.uint64(signal.start)
        else:
            # DBC names the most significant bit: byte start // 8, bit start % 8 of it. Counted from the left of all 64 bits:
            from_left = signal.start // 8 * 8 + 7 - signal.start % 8
            big |= bits << np.uint64(64 - from_left - signal.length)
    return np.ascontiguousarray(little.astype("<u8").view(np.uint8).reshape(count, 8) | big.astype(">u8").view(np.uint8).reshape(count, 8))


def raw_values(signal: Signal, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the raw integers nearest to physical `values`, kept inside the signal's [minimum|maximum]."""
    bounded = np.clip(values, signal.minimum, signal.maximum)
    return np.rint((bounded - float(signal.offset)) / float(signal.scale)).astype(np.int64)


def _message_frames(message: Message, drive: Drive, faults: Faults, rng: np.random.Generator, number: int) -> Frames:
    cycle_us = (message.cycle_time or 0) * 1000
    if not cycle_us:
        raise ValueError(f"{message.name} has no cycle time in {DBC.name}")
    end_us = drive.time_s[-1] * 1e6
    due = np.arange(number * 730 % cycle_us, end_us, cycle_us)
    jitter = np.clip(rng.normal(0.0, JITTER_US, len(due)), -4 * JITTER_US, 4 * JITTER_US)
    time_us = np.maximum(np.rint(due + jitter), 0).astype(np.int64)
    counts = np.arange(len(time_us), dtype=np.int64)
    times_s = time_us / 1e6
    if message.name == "WheelSpeedFL":
        missing = np.zeros(len(time_us), dtype=bool)
        for start, length in faults.wheel_gaps:
            missing |= (times_s >= start) & (times_s < start + length)
        time_us, counts, times_s = time_us[~missing], counts[~missing], times_s[~missing]
    data = pack(message, _signal_values(message, drive, faults, times_s, counts), len(time_us))
    return _frames(
        time_us, int(message.name in SECOND_BUS), message.frame_id, EXTENDED if message.is_extended_frame else 0, message.length, data
    )


def _signal_values(
    message: Message, drive: Drive, faults: Faults, times_s: NDArray[np.float64], counts: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Raw values of every signal: the page of a multiplexed message goes round, counters count, the rest comes from the drive."""
    raw = {}
    pages = 1 + max((page for signal in message.signals for page in signal.multiplexer_ids or ()), default=0)
    for signal in message.signals:
        if signal.is_multiplexer:
            raw[signal.name] = counts % pages
        elif signal.name.endswith("Counter"):
            raw[signal.name] = counts % (1 << signal.length)
        else:
            sampled = times_s
            if signal.name == "WheelSpeedFL" and faults.wheel_stuck is not None:
                start, length = faults.wheel_stuck
                sampled = np.where((times_s >= start) & (times_s < start + length), start, times_s)
            raw[signal.name] = raw_values(signal, drive.at(signal.name, sampled))
        if signal.multiplexer_ids:  # pages share bits: zero outside its own, so that packing may join them all
            raw[signal.name] = np.where(np.isin(counts % pages, signal.multiplexer_ids), raw[signal.name], 0)
    return raw


def _frames(time_us: NDArray[np.int64], channel: int, arbitration_id: int, flags: int, length: int, data: NDArray[np.uint8]) -> Frames:
    count = len(time_us)
    return Frames(
        time_us,
        np.full(count, channel, dtype=np.uint8),
        np.full(count, arbitration_id, dtype=np.uint32),
        np.full(count, flags, dtype=np.uint8),
        np.full(count, length, dtype=np.uint8),
        data,
    )


def _diagnostic_frames(faults: Faults, duration_s: float) -> Frames:
    found = faultcodes.messages(faults, duration_s)
    return Frames(
        np.array([round(message.at_s * 1e6) for message in found], dtype=np.int64),
        np.zeros(len(found), dtype=np.uint8),
        np.array([message.arbitration_id for message in found], dtype=np.uint32),
        np.array([EXTENDED * message.extended | SENT * message.sent for message in found], dtype=np.uint8),
        np.full(len(found), 8, dtype=np.uint8),
        np.frombuffer(b"".join(message.data for message in found), dtype=np.uint8).reshape(-1, 8),
    )


def _error_frames(faults: Faults) -> Frames:
    """A loose plug disturbs the bus where the wheel sensor falls silent: three error frames as each gap begins."""
    times = [round((start + 0.011 * number) * 1e6) for start, _ in faults.wheel_gaps for number in range(3)]
    return _frames(np.array(times, dtype=np.int64), 0, 0, ERROR, 0, np.zeros((len(times), 8), dtype=np.uint8))
