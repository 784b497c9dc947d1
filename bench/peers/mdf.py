"""python-can, asammdf and mdfr: write the MDF files of the benchmark, decode their buses, read their channels."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import can
import numpy as np
from asammdf import MDF, Signal
from asammdf.blocks.utils import load_can_database

from bench.peers.can import MESSAGES, SECONDS

CHANNELS = 200

Measurement = dict[str, float]


def write_bus(path: str, frames: str, compression: str) -> Measurement:
    """The frames of the CAN benchmark by python-can's writer; compression 0 none, 1 deflated, 2 transposed and deflated."""
    rng = random.Random(2)
    payloads = [bytearray(rng.randbytes(8)) for _ in range(MESSAGES)]
    whole = Path(path)
    part = whole.with_suffix(".part.mf4")
    started = time.process_time()
    first = time.time() + 1  # the writer counts from the moment when it is made
    with can.MF4Writer(str(part), compression_level=int(compression)) as writer:
        for i in range(int(frames)):
            number = i % MESSAGES
            payload = payloads[number]
            payload[0] = (payload[0] + 1) & 255
            payload[rng.randrange(8)] ^= 1 << rng.randrange(8)
            writer.on_message_received(
                can.Message(
                    timestamp=first + i * SECONDS / 1_000_000,
                    arbitration_id=0x100 + 8 * number,
                    is_extended_id=False,
                    data=payload,
                    channel=0,
                )
            )
    part.rename(whole)
    return {"cpu_seconds": time.process_time() - started, "items": int(frames)}


def write_channels(path: str, rows: str, compression: str) -> Measurement:
    """One group of float64 channels with smooth and noisy content, by asammdf."""
    rng = np.random.default_rng(3)
    count = int(rows)
    times = np.arange(count) * 0.001
    signals = []
    for number in range(CHANNELS):
        samples = np.round(np.sin(times * (1 + number / 10)) * 100 + rng.standard_normal(count), 2)
        signals.append(Signal(samples=samples, timestamps=times, name=f"channel {number}", unit="V"))
    whole = Path(path)
    part = whole.with_suffix(".part.mf4")
    started = time.process_time()
    with MDF(version="4.10") as file:
        file.append(signals, common_timebase=True)
        file.save(part, compression=int(compression), overwrite=True)
    part.rename(whole)
    return {"cpu_seconds": time.process_time() - started, "items": CHANNELS * count}


def decode_bus(log: str, dbc: str) -> Measurement:
    """asammdf: every signal of every frame into a new file in memory."""
    database: Any = load_can_database(Path(dbc))
    started = time.process_time()
    with MDF(log) as file:
        extracted = file.extract_bus_logging({"CAN": [(database, 0)]})
    spent = time.process_time() - started
    values = sum(group.channel_group.cycles_nr * (len(group.channels) - 1) for group in extracted.groups)
    return {"cpu_seconds": spent, "items": values}


def select(log: str) -> Measurement:
    """asammdf: all channels at once."""
    started = time.process_time()
    with MDF(log) as file:
        signals = file.select([f"channel {number}" for number in range(CHANNELS)])
    spent = time.process_time() - started
    return {"cpu_seconds": spent, "items": sum(len(signal.samples) for signal in signals)}


def load(log: str) -> Measurement:
    """mdfr: all channels into memory, as numpy arrays."""
    import mdfr

    started = time.process_time()
    file = mdfr.Mdfr(log)
    file.load_all_channels_data_in_memory()
    arrays = [file.get_channel_data(f"channel {number}") for number in range(CHANNELS)]
    times = file.get_channel_master_data("channel 0")
    spent = time.process_time() - started
    if len(times) != len(arrays[0]):
        raise SystemExit("mdfr gave no times")
    return {"cpu_seconds": spent, "items": sum(len(array) for array in arrays)}
