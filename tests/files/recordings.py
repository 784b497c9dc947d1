"""Makes results of files from arrays of values, through the real decoder and writer, and results whose values are known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from files.result_files import FileResult
from parsers.base import LostRange, Recording
from parsers.can.database import Database
from parsers.can.decode import Decoder
from parsers.can.frames import ERROR, EXTENDED, FrameBlock
from parsers.results import summary
from parsers.results.writer import ResultWriter

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND

DBC = """VERSION ""
BS_:
BU_: X
BO_ 256 Double: 8 X
 SG_ D : 0|64@1- (1,0) [0|0] "V" X
BO_ 257 Whole: 8 X
 SG_ W : 0|64@1- (1,0) [0|0] "l" X
BO_ 258 Natural: 8 X
 SG_ N : 0|64@1+ (1,0) [0|0] "" X
BO_ 259 Scaled: 8 X
 SG_ A : 0|16@1+ (0.5,-10) [0|100] "km/h" X
 SG_ B : 16|32@1- (1,0) [0|0] "Nm" X
 SG_ Mode : 48|8@1+ (1,0) [0|0] "" X
 SG_ Late : 56|8@1+ (1,0) [0|0] "A" X
BO_ 2566852641 Sender: 8 X
 SG_ S : 0|32@1- (1,0) [0|0] "K" X
SIG_VALTYPE_ 256 D : 2;
VAL_ 259 Mode 0 "Off" 1 "On" ;
"""

IDS = {"Double": 256, "Whole": 257, "Natural": 258, "Scaled": 259, "Sender": 2566852641 & 0x1FFF_FFFF}
Array = NDArray[Any]
Samples = tuple[Array, Array] | tuple[Array, Array, int]
"""Times (ns) and the eight payload bytes of each frame as one 64-bit number of any kind; then the channel, if it is not the first."""


def decode(
    folder: Path,
    messages: Mapping[str, Samples],
    *,
    name: str = "",
    order: int = 0,
    absolute: bool = True,
    unknown: tuple[int, int] = (0, 0),
    errors: int = 0,
    lost: tuple[LostRange, ...] = (),
    fault_codes: tuple[dict[str, Any], ...] = (),
    log: tuple[Any, ...] = (),
    lengths: Mapping[str, int] | None = None,
    database: bool = True,
) -> FileResult:
    """Decodes one recording into `folder`. `unknown` is an id that no database has and how often it comes; `errors` counts error frames."""
    folder.mkdir(parents=True)
    columns: list[tuple[Array, int, int, int, Array, int]] = []
    for message, samples in messages.items():
        identifier = IDS[message]
        flags = EXTENDED if message == "Sender" else 0
        channel = samples[2] if len(samples) == 3 else 0
        words = np.ascontiguousarray(samples[1]).view(np.uint64)
        columns.append((np.asarray(samples[0], np.int64), channel, identifier, flags, words, (lengths or {}).get(message, 8)))
    first = min((int(column[0].min()) for column in columns if len(column[0])), default=START)
    columns.append((np.full(unknown[1], first, np.int64), 0, unknown[0], 0, np.zeros(unknown[1], np.uint64), 8))
    columns.append((np.full(errors, first, np.int64), 0, 0, ERROR, np.zeros(errors, np.uint64), 0))
    recording = Recording(format="candump", absolute=absolute, channels=["can0", "can1"], lost=list(lost), messages=list(log))
    decoder = Decoder(Database.load(DBC.encode(), "test.dbc") if database else Database.merge([]), recording.channels)
    writer = ResultWriter(folder, decoder, recording)
    for block in _blocks(columns):
        writer.take(decoder.add(block))
    for _ in writer.finish():
        pass
    document = summary.build(
        recording,
        decoder,
        writer.streams,
        writer.clock,
        writer.messages,
        size=1000,
        parser_version="1",
        detection_reason="test",
        fault_codes=list(fault_codes),
    )
    writer.write_summary(document)
    writer.close()
    return result(folder, name or folder.name, order)


def result(folder: Path, name: str, order: int = 0) -> FileResult:
    """The result that lies in `folder`."""
    return FileResult(f"id-{name}", name, order, lambda path: (folder / path).open("rb"))


def _blocks(columns: list[tuple[Array, int, int, int, Array, int]]) -> list[FrameBlock]:
    sizes = [len(column[0]) for column in columns]
    t_ns = np.concatenate([column[0] for column in columns])
    order = np.argsort(t_ns, kind="stable")
    repeated = [np.repeat([column[field] for column in columns], sizes)[order] for field in (1, 2, 3, 5)]
    words = np.concatenate([column[4] for column in columns])[order]
    t_ns = t_ns[order]
    blocks = []
    for start in range(0, len(t_ns), 65_536):
        part = slice(start, start + 65_536)
        data = np.concatenate([words[part].view(np.uint8), np.zeros(8, np.uint8)])
        channel, identifier, flags, length = (column[part] for column in repeated)
        blocks.append(
            FrameBlock(
                np.ascontiguousarray(t_ns[part]),
                channel.astype(np.uint16),
                identifier.astype(np.uint32),
                flags.astype(np.uint8),
                length.astype(np.uint8),
                (np.arange(len(channel)) * 8).astype(np.uint32),
                data,
            )
        )
    return blocks


def scaled(a: Array, b: Array, mode: Array | int = 0, late: Array | int = 0) -> Array:
    """Payloads of the message Scaled from raw values: A (16 bit), B (32 bit, signed), Mode and Late (8 bit each)."""
    words = np.asarray(a, np.uint64) & np.uint64(0xFFFF)
    words |= (np.asarray(b, np.int64).view(np.uint64) & np.uint64(0xFFFF_FFFF)) << np.uint64(16)
    words |= np.asarray(np.broadcast_to(mode, words.shape), np.uint64) << np.uint64(48)
    return words | np.asarray(np.broadcast_to(late, words.shape), np.uint64) << np.uint64(56)


def every(period_ns: int, count: int, start: int = START) -> Array:
    """`count` times, one period apart."""
    return start + period_ns * np.arange(count, dtype=np.int64)
