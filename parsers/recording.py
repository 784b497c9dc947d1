"""Decodes one file from beginning to end: detection, frames, samples, log messages, fault codes, and the result directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from parsers.base import Recording
from parsers.blocks import NO_TIME, Block, MessageBlock, SampleBlock
from parsers.can.database import Database
from parsers.can.decode import Decoder
from parsers.detect import detect
from parsers.faultcodes.collect import FaultCollector
from parsers.limits import DEFAULT, Limits
from parsers.registry import parser_for
from parsers.results import summary
from parsers.results.layout import MAX_FAULT_CODES
from parsers.results.summary import Json
from parsers.results.writer import ResultWriter
from parsers.source import Source

MAX_NS = (1 << 63) - 1


class CountingSource:
    """A source that remembers how far it has been read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        self.name = source.name
        self.position = 0

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """As the source; `position` becomes the furthest byte that was asked for."""
        data = self._source.read_at(offset, length)
        self.position = max(self.position, offset + len(data))
        return data


def decode_recording(
    source: Source,
    name: str,
    databases: list[Database],
    out_dir: str | os.PathLike[str],
    limits: Limits = DEFAULT,
    progress: Callable[[int], None] | None = None,
) -> Json:
    """Decodes the file into `out_dir` (which must exist) and returns the summary that was written there.

    `name` is what the sender called the file. `progress` gets the bytes read so far, after each block and each stream that has been
    written. Memory is bounded whatever the file. Raises ParseError when nothing can be read, OSError when storage fails; a damaged file
    gives what could be read, with `partial` and `lost`.
    """
    counted = CountingSource(source)
    report = progress or (lambda _bytes: None)
    detection = detect(counted, name)
    parser = parser_for(detection.format)
    database = databases[0] if len(databases) == 1 and databases[0].channels is None else Database.merge(databases)
    recording = Recording(format=detection.format, limits=limits)
    decoder = Decoder(database, recording.channels, limits)
    faults = FaultCollector(recording.channels, limit=MAX_FAULT_CODES)
    writer = ResultWriter(out_dir, decoder, recording)
    try:
        for block in parser.blocks(counted, recording, limits):
            block = _datable(block, recording, counted.position)
            if isinstance(block, SampleBlock):
                writer.take_samples(block)
            elif isinstance(block, MessageBlock):
                writer.take_messages(block)
            else:
                decoder.channels = faults.channels = recording.channels
                decoder.shift_ns = faults.shift_ns = recording.start_ns  # known with the header, before the first frame
                writer.take(decoder.add(block))
                writer.look(block)
                faults.add(block)
            report(counted.position)
        for _ in writer.finish():
            report(counted.position)
        document = summary.build(
            recording,
            decoder,
            writer.streams,
            writer.clock,
            writer.messages,
            writer.utc.correction(),
            size=source.size,
            parser_version=parser.version,
            detection_reason=detection.reason,
            fault_codes=faults.codes.to_json(),
        )
        writer.write_summary(document)
    finally:
        writer.close()
    return document


def _datable(block: Block, recording: Recording, position: int) -> Block:
    """The block with times that still fit their column (int64, ns) when the start of the recording is added; those that do not are set
    to the end of its range and reported."""
    lowest, highest = max(-MAX_NS, -MAX_NS - recording.start_ns), min(MAX_NS, MAX_NS - recording.start_ns)
    times = block.t_ns
    if not len(times) or (int(times.min()) >= lowest and int(times.max()) <= highest):
        return block
    beyond = (times < lowest) | (times > highest)
    if isinstance(block, MessageBlock):
        beyond &= times != NO_TIME
    if not beyond.any():
        return block
    recording.add_problem(position, "times outside of the years 1677 to 2262", int(beyond.sum()))
    return replace(block, t_ns=np.where(beyond, times.clip(lowest, highest), times))
