"""mcap: writes the log that both sides read, iterates over it, and reads its JSON."""

from __future__ import annotations

import json
import math
import random
import time

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

Measurement = dict[str, float]
TOPICS = 20
START_NS = 1_700_000_000_000_000_000


def pose(number: int, rng: random.Random) -> bytes:
    """One message of about 284 bytes: 14 numbers, a text and a flag."""
    t = number / 1000
    value = {
        "header": {
            "stamp": {"sec": 1_700_000_000 + number // 1000, "nsec": number % 1000 * 1_000_000},
            "seq": number,
            "frame": "base_link",
        },
        "position": {"x": math.sin(t) * 50, "y": math.cos(t) * 50, "z": round(rng.gauss(0, 1), 3)},
        "velocity": [round(rng.gauss(12, 2), 4), round(rng.gauss(0, 1), 4), round(rng.gauss(0, 0.1), 4)],
        "temperature": round(20 + 5 * math.sin(t / 60), 1),
        "satellites": rng.randrange(6, 14),
        "fix": rng.random() < 0.99,
        "gear": rng.randrange(6),
        "rpm": rng.randrange(700, 4000),
    }
    return json.dumps(value).encode()


def make(path: str, messages: str) -> Measurement:
    """The log: zstd chunks of one mebibyte, as the writer does by itself; no JSON schema."""
    rng = random.Random(1)
    size = 0
    with open(path, "wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start(profile="", library="bench")
        channels = [writer.register_channel(topic=f"/vehicle/pose_{i}", message_encoding="json", schema_id=0) for i in range(TOPICS)]
        for number in range(int(messages)):
            data = pose(number, rng)
            size += len(data)
            t_ns = START_NS + number * 1_000_000
            writer.add_message(channels[number % TOPICS], log_time=t_ns, publish_time=t_ns, sequence=number, data=data)
        writer.finish()
    return {"cpu_seconds": 0.0, "items": float(messages), "bytes": float(size)}


def iterate(log: str, **_: str) -> Measurement:
    """Every message, in file order."""
    started = time.process_time()
    messages = 0
    with open(log, "rb") as file:
        for _schema, _channel, _message in make_reader(file).iter_messages(log_time_order=False):
            messages += 1
    return {"cpu_seconds": time.process_time() - started, "items": messages}


def loads(log: str, **_: str) -> Measurement:
    """Every message in file order, read with json.loads; what it gives is not even kept."""
    started = time.process_time()
    messages = 0
    with open(log, "rb") as file:
        for _schema, _channel, message in make_reader(file).iter_messages(log_time_order=False):
            json.loads(message.data)
            messages += 1
    return {"cpu_seconds": time.process_time() - started, "items": messages}
