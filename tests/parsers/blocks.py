"""Builds FrameBlocks from readable rows, so that decoding is tested without a file reader."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from parsers.can.frames import EXTENDED, FrameBlock

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
