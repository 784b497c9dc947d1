"""pydlt: writes the DLT log of the benchmark, reads it, makes the text of each message."""

from __future__ import annotations

import random
import time
from pathlib import Path

from pydlt import (
    ArgumentBool,
    ArgumentFloat32,
    ArgumentRaw,
    ArgumentSInt32,
    ArgumentString,
    ArgumentUInt32,
    DltFileReader,
    DltFileWriter,
    DltMessage,
    MessageLogInfo,
    MessageType,
    StorageHeader,
)

Measurement = dict[str, float]

PARTS = (("COMM", "NET"), ("COMM", "SOMI"), ("PLAN", "TRAJ"), ("PERC", "LIDR"), ("SYS", "JOUR"), ("DIAG", "UDS"))


def _message(i: int, rng: random.Random) -> DltMessage:
    """What ECUs log: sentences, sentences with numbers, states, now and then bytes or a message without its text."""
    header = StorageHeader(1_700_000_000 + i // 2000, i % 2000 * 500, "ECU1")
    kind = rng.randrange(10)
    if kind == 0:
        return DltMessage.create_non_verbose_message(rng.randrange(1000), rng.randbytes(12), str_header=header, ecu_id="ECU1")
    arguments = [ArgumentString(rng.choice(("Message received from", "state of the controller is", "watchdog of process", "cycle took")))]
    if kind < 6:
        arguments += [ArgumentUInt32(rng.randrange(100_000)), ArgumentString("bytes on channel"), ArgumentSInt32(rng.randrange(-50, 50))]
    elif kind < 8:
        arguments += [ArgumentFloat32(rng.randrange(10_000) / 16), ArgumentString("ms")]
    elif kind == 8:
        arguments += [ArgumentBool(bool(rng.randrange(2))), ArgumentRaw(rng.randbytes(16))]
    else:
        arguments[0] = ArgumentString("a longer sentence as applications write it when they start or when something is wrong " * 2)
    apid, ctid = rng.choice(PARTS)
    level = MessageLogInfo(rng.choice((2, 3, 4, 4, 4, 4, 5, 5, 6)))
    return DltMessage.create_verbose_message(
        arguments,
        MessageType.DLT_TYPE_LOG,
        level,
        apid,
        ctid,
        timestamp=i * 5,
        session_id=1,
        ecu_id="ECU1",
        message_counter=i % 256,
        str_header=header,
    )


def write(path: str, messages: str) -> Measurement:
    """Random messages of a fixed seed."""
    rng = random.Random(3)
    whole = Path(path)
    part = whole.with_suffix(".part")
    started = time.process_time()
    with DltFileWriter(str(part)) as writer:
        for i in range(int(messages)):
            writer.write_message(_message(i, rng))
    part.rename(whole)
    return {"cpu_seconds": time.process_time() - started, "items": int(messages)}


def read(log: str) -> Measurement:
    """Every message and the text of its payload, none kept."""
    messages = size = 0
    started = time.process_time()
    with DltFileReader(log) as reader:
        for message in reader:
            size += len(str(message.payload))
            messages += 1
    return {"cpu_seconds": time.process_time() - started, "items": messages, "text_mb": size / 1e6}
