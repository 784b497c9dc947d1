"""Builds FrameBlocks from readable rows, so that decoding is tested without a file reader."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from parsers.base import Parser, Recording
from parsers.can.frames import EXTENDED, FrameBlock
from parsers.limits import Limits
from parsers.source import BytesSource

CORPUS = Path(os.environ.get("ARGUS_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "corpus")

Row = tuple[int, int, int, int, bytes]  # t_ns, channel index, id, flags, payload


def block(rows: Iterable[Row]) -> FrameBlock:
    """One block of these frames; payloads lie one behind the other and are padded at the end only."""
    rows = list(rows)
    lengths = [len(row[4]) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if rows else np.empty(0)
    return FrameBlock(
        t_ns=np.array([row[0] for row in rows], np.int64),
        channel=np.array([row[1] for row in rows], np.uint16),
        arbitration_id=np.array([row[2] for row in rows], np.uint32),
        flags=np.array([row[3] for row in rows], np.uint8),
        length=np.array(lengths, np.uint8),
        data_offset=offsets.astype(np.uint32),
        data=np.frombuffer(b"".join(row[4] for row in rows) + bytes(8), np.uint8),
    )


def frame(text: str, t_ns: int = 0, channel: int = 0) -> Row:
    """A frame written as `7E8#0102` (three digits: 11-bit id) or `18DAF110#0102` (eight digits: 29-bit id)."""
    identifier, _, payload = text.partition("#")
    return t_ns, channel, int(identifier, 16), EXTENDED if len(identifier) == 8 else 0, bytes.fromhex(payload)


Everything = tuple[list[tuple[int, int, int, int, bytes]], list[str], dict[str, int], list[tuple[int, str]], list[tuple[int, int, str]]]


def everything(parser: Parser, data: bytes, limits: Limits) -> Everything:
    """All that a CAN reader makes of a file: frames with all flags, channels, counts, problems and lost ranges."""
    recording = Recording(limits=limits)
    found = []
    for part in parser.blocks(BytesSource(data), recording, limits):
        assert isinstance(part, FrameBlock)
        payload = part.data.tobytes()
        for t_ns, channel, identifier, flags, length, at in zip(
            *(column.tolist() for column in (part.t_ns, part.channel, part.arbitration_id, part.flags, part.length, part.data_offset)),
            strict=True,
        ):
            found.append((t_ns, channel, identifier, flags, payload[at : at + length]))
    problems = [(problem.offset, problem.reason) for problem in recording.problems]
    lost = [(entry.offset, entry.length, entry.reason) for entry in recording.lost]
    return found, recording.channels, recording.skipped, problems, lost


def damaged(lines: list[bytes], rng: random.Random, share: float) -> bytes:
    """The lines joined; of some one byte is another, is missing or stands twice."""
    made = []
    for line in lines:
        if line and rng.random() < share:
            at = rng.randrange(len(line))
            line = line[:at] + rng.choice([b"", line[at : at + 1] * 2, bytes([rng.choice(b" \t0aFx#.\r\0()\xff")])]) + line[at + 1 :]
        made.append(line)
    return b"\n".join(made) + b"\n"
