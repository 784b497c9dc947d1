"""What must hold for any bytes: only ParseError comes out, blocks are well formed, and what is said about the file lies within it."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterable

import numpy as np

from parsers.base import Parser, Recording
from parsers.blocks import LEVELS, STORAGES, Block, MessageBlock, SampleBlock, StreamSpec
from parsers.can.database import Database
from parsers.can.decode import Decoder
from parsers.can.frames import REMOTE, FrameBlock
from parsers.errors import ParseError
from parsers.faultcodes.collect import FaultCollector
from parsers.limits import MIB, Limits
from parsers.recording import decode_recording
from parsers.results.samples import check as check_samples
from parsers.rows import rows
from parsers.sandbox import read_results
from parsers.source import BytesSource

SMALL = Limits(block_frames=64, block_rows=64, read_size=4096, max_inflated=4 * MIB)
TINY = Limits(block_frames=7, block_rows=7, read_size=61, max_inflated=4 * MIB)
MAX_ROWS = 64  # rows for each byte of the file, beyond what may be inflated
WHOLE_EVERY = 64  # one input in so many goes through the whole decoder, and is read once more through other windows
# Every kind of column: little and big endian, float, multiplexed, text, and an extended J1939 message.
DBC = b"""VERSION ""
BU_: X
BO_ 256 M: 8 X
 SG_ Switch M : 0|4@1+ (1,0) [0|0] "" X
 SG_ One m0 : 4|12@1- (0.5,-3) [0|0] "V" X
 SG_ Two m1 : 23|20@0- (1,0) [0|0] "" X
 SG_ Real : 32|32@1- (1,0) [0|0] "" X
BO_ 2566844926 J: 8 X
 SG_ Speed : 0|16@1+ (0.125,0) [0|8031] "rpm" X
SIG_VALTYPE_ 256 Real : 1;
VAL_ 256 Switch 0 "off" 1 "on" ;
"""
DATABASE = Database.load(DBC, "fuzz.dbc")


def examine(parser: type[Parser], data: bytes) -> None:
    """Reads the bytes as a file of the parser's format. Raises AssertionError, or what the parser must not raise."""
    recording = Recording(format=parser.format, limits=SMALL)
    try:
        take_all(parser, data, recording)
    except ParseError as error:
        check_error(error, len(data))
    check_recording(recording, len(data))
    if zlib.crc32(data) % WHOLE_EVERY == 0:
        examine_further(parser, data)


def examine_further(parser: type[Parser], data: bytes) -> None:
    """The same bytes through smaller windows give the same rows, and the whole decoder gives a result that can be read."""
    assert text_of(parser, data, SMALL) == text_of(parser, data, TINY), "the rows depend on the size of windows or blocks"
    with tempfile.TemporaryDirectory(prefix="argus-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        try:
            decode_recording(BytesSource(data), "x" + "".join(parser.suffixes[:1]), [DATABASE], folder, SMALL)
        except ParseError:
            return
        read_results(folder, 64 * MIB)


def take_all(parser: type[Parser], data: bytes, recording: Recording) -> None:
    """Every block, checked and given to whoever takes it in the decoder."""
    decoder, faults = Decoder(DATABASE, recording.channels, SMALL), FaultCollector(recording.channels)
    total = 0
    for block in parser().blocks(source_of(data), recording, SMALL):
        total += len(block)
        assert total <= MAX_ROWS * (len(data) + SMALL.max_inflated), f"{total} rows of {len(data)} bytes"
        if isinstance(block, SampleBlock):
            check_sample_block(block, recording)
        elif isinstance(block, MessageBlock):
            check_message_block(block, recording)
        else:
            check_frame_block(block, recording)
            decoder.channels = faults.channels = recording.channels
            decoder.add(block)
            faults.add(block)


def source_of(data: bytes) -> BytesSource:
    """A source whose bytes are an allocation of its own: the sanitizer sees each read beside it. Python keeps small ones together."""
    return BytesSource(np.array(bytearray(data)).data if data else data)


def check_error(error: ParseError, size: int) -> None:
    """A refusal has a reason, and its place is in the file."""
    assert error.reason, "a ParseError without a reason"
    assert error.offset is None or 0 <= error.offset <= size, f"ParseError at {error.offset} of {size}"


def check_frame_block(block: FrameBlock, recording: Recording) -> None:
    """As FrameBlock says."""
    count = len(block)
    assert 0 < count <= SMALL.block_frames, f"a block of {count} frames"
    columns = (block.t_ns, block.channel, block.arbitration_id, block.flags, block.length, block.data_offset)
    assert all(len(column) == count and column.flags.c_contiguous for column in columns), "columns of different length"
    assert [column.dtype.name for column in columns] == ["int64", "uint16", "uint32", "uint8", "uint8", "uint32"], "a wrong column type"
    assert int(block.channel.max()) < len(recording.channels), "a channel without a name"
    assert int(block.arbitration_id.max()) <= 0x1FFF_FFFF, "an arbitration id with flag bits"
    assert not (block.length[block.flags & REMOTE != 0]).any(), "a remote frame with data"
    assert int((block.data_offset.astype(np.int64) + block.length.clip(min=8)).max()) <= len(block.data), "a payload behind the end"


def check_sample_block(block: SampleBlock, recording: Recording) -> None:
    """As SampleBlock says; codes of texts have a text."""
    assert 0 < len(block) <= SMALL.block_rows, f"a block of {len(block)} rows"
    assert 0 <= block.stream < len(recording.streams), "a stream that was not added"
    spec = recording.streams[block.stream]
    check_samples(spec, block)
    assert all(mask is None or int(mask.max()) <= 1 for mask in block.masks), "a mask of other values than 0 and 1"


def check_message_block(block: MessageBlock, recording: Recording) -> None:
    """As MessageBlock says."""
    count = len(block)
    assert 0 < count <= SMALL.block_rows, f"a block of {count} messages"
    columns = (block.t_ns, block.level, block.source)
    assert all(len(column) == count for column in columns), "columns of different length"
    found = [column.dtype.name for column in (*columns, block.text_offset, block.text)]
    assert found == ["int64", "uint8", "int32", "int32", "uint8"], "a wrong column type"
    assert int(block.level.max()) < len(LEVELS), "an unknown level"
    assert 0 <= int(block.source.min()) <= int(block.source.max()) < len(recording.sources), "a source without a name"
    assert len(block.text_offset) == count + 1, "not one text for each message"
    assert (int(block.text_offset[0]), int(block.text_offset[-1])) == (0, len(block.text)), "texts that do not fill the block"
    assert bool((np.diff(block.text_offset) >= 0).all()), "texts out of order"
    text = block.text.tobytes()
    text.decode("utf-8")
    starts = block.text_offset[:-1][np.diff(block.text_offset) > 0]
    assert not (block.text[starts] & 0xC0 == 0x80).any(), "a text that begins inside a character"


def check_recording(recording: Recording, size: int) -> None:
    """What is said of the file lies within it and can be written."""
    for lost in recording.lost:
        # A file may say how long it was meant to be: what is missing behind its end is lost too.
        assert 0 <= lost.offset <= size, f"{lost} of {size} bytes"
        assert 0 <= lost.length < (1 << 63) - lost.offset, f"{lost} of {size} bytes"
        assert lost.offset + lost.length <= size or lost.offset == size, f"{lost} of {size} bytes"
    for problem in recording.problems:
        assert 0 <= problem.offset <= size, f"{problem} of {size} bytes"
    assert recording.problem_count >= len(recording.problems), "fewer problems than are listed"
    assert all(count > 0 for count in recording.skipped.values()), "a kind that was not skipped"
    assert -(1 << 63) <= recording.start_ns < 1 << 63, "a start that no column holds"
    for spec in recording.streams:
        check_stream(spec)
    texts = [*recording.channels, *recording.sources, *recording.skipped, *recording.undecoded, *recording.undecoded.values()]
    texts += [*recording.metadata, *recording.metadata.values()]
    texts += [lost.reason for lost in recording.lost] + [problem.reason for problem in recording.problems]
    texts += [part for message in recording.messages for part in (message.source, message.text)]
    texts += [part for attachment in recording.attachments for part in (attachment.name, attachment.media_type)]
    encodable(texts)


def check_stream(spec: StreamSpec) -> None:
    """A stream whose table can be written."""
    names = [signal.name for signal in spec.signals]
    assert len(set(names)) == len(names), f"{spec.name} has two signals of one name"
    assert "t_ns" not in names, f"{spec.name} has a signal t_ns"
    assert len(names) <= SMALL.max_signals, f"{spec.name} has {len(names)} signals"
    for signal in spec.signals:
        assert signal.storage in STORAGES, f"{spec.name}.{signal.name} is stored as {signal.storage}"
        encodable((signal.choices or {}).values())
    encodable([spec.name, spec.source, *names, *(signal.unit for signal in spec.signals)])


def encodable(texts: Iterable[str]) -> None:
    """Raises UnicodeEncodeError for half a character, which no file takes."""
    for text in texts:
        text.encode("utf-8")


def text_of(parser: type[Parser], data: bytes, limits: Limits) -> list[bytes]:
    """The rows of frames, of messages and of each stream, up to where reading ended; in which order streams begin does not count."""
    recording = Recording(format=parser.format, limits=limits)
    found: dict[object, bytes] = {}
    end = b""
    try:
        for block in parser().blocks(BytesSource(data), recording, limits):
            text = b"".join(rows([block], recording))
            if isinstance(block, SampleBlock):
                name = recording.streams[block.stream].name
                text = text.replace(f"{name}[{block.stream}],".encode(), name.encode() + b",")
            found[part_of(block)] = found.get(part_of(block), b"") + text
    except ParseError as error:
        end = f"{error.code} {error}".encode()
    return [*sorted(found.values()), end]


def part_of(block: Block) -> object:
    """What must come in order: one stream, the messages, the frames."""
    return block.stream if isinstance(block, SampleBlock) else type(block).__name__
