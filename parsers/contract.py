"""What every parser must do with files that are empty, foreign, cut or lying; the tests of a format inherit it (needs pytest)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from parsers.base import Parser, Recording
from parsers.blocks import LEVELS, Block, MessageBlock, SampleBlock
from parsers.errors import ParseError
from parsers.limits import Limits
from parsers.results.samples import check
from parsers.rows import rows
from parsers.source import BytesSource

Lines = dict[str, list[str]]
"""`frames`, `messages` and each stream of samples -> its rows in file order."""


def read_lines(parser: Parser, data: bytes, limits: Limits | None = None) -> tuple[Lines, Recording]:
    """All content as text, and the recording."""
    recording = Recording()
    found: Lines = {}
    for block in parser.blocks(BytesSource(data), recording, limits or Limits()):
        found.setdefault(_part(block), []).extend(b"".join(rows([block], recording)).decode().splitlines())
    return found, recording


def read(parser: Parser, data: bytes, limits: Limits | None = None) -> tuple[list[str], Recording]:
    """All rows as text, those of one stream behind those of another, and the recording."""
    found, recording = read_lines(parser, data, limits)
    return [line for part in found.values() for line in part], recording


def attempt(parser: Parser, data: bytes, limits: Limits | None = None) -> tuple[Lines, Recording] | ParseError:
    """What `read_lines` gives, or the ParseError that it raises; anything else it raises is a failure of the test."""
    try:
        return read_lines(parser, data, limits)
    except ParseError as error:
        return error


def _part(block: Block) -> str:
    if isinstance(block, SampleBlock):
        return str(block.stream)
    return "messages" if isinstance(block, MessageBlock) else "frames"


class ParserContract:
    """Subclasses name the parser, a whole sample of a few rows, and the bytes at which a cut leaves a whole shorter file.

    `reads_text` is for formats that take any text: foreign text is then a log like another.
    """

    parser: ClassVar[type[Parser]]
    sample: ClassVar[bytes]
    whole_cuts: ClassVar[frozenset[int]] = frozenset()
    reads_text: ClassVar[bool] = False

    def test_sample_is_read_without_any_complaint(self) -> None:
        lines, recording = read(self.parser(), self.sample)
        assert len(lines) >= 3
        assert recording.format == self.parser.format
        assert recording.lost == []
        assert recording.problems == []

    def test_empty_file_raises(self) -> None:
        with pytest.raises(ParseError) as caught:
            read(self.parser(), b"")
        assert caught.value.reason

    @pytest.mark.parametrize("data", [b"\0" * 500, b"%PDF-1.4\n" + b"\0" * 500, b"hello, world\n" * 50, bytes(range(256)) * 4])
    def test_foreign_content_is_refused_with_an_offset(self, data: bytes) -> None:
        if self.reads_text and data.isascii() and b"\0" not in data:
            pytest.skip("any text is a log to this parser")
        assert self.parser.sniff(data, len(data)) is None
        with pytest.raises(ParseError) as caught:
            read(self.parser(), data)
        assert caught.value.offset is not None
        assert 0 <= caught.value.offset <= len(data)

    def test_sniff_knows_the_sample(self) -> None:
        match = self.parser.sniff(self.sample, len(self.sample))
        assert match is not None
        assert match.reason

    def test_cut_at_every_byte_gives_a_prefix_and_says_so(self) -> None:
        full, _ = read_lines(self.parser(), self.sample)
        for cut in range(1, len(self.sample)):
            outcome = attempt(self.parser(), self.sample[:cut])
            if isinstance(outcome, ParseError):
                assert outcome.offset is not None, cut
                assert 0 <= outcome.offset <= cut, cut
                continue
            found, recording = outcome
            for part, lines in found.items():
                whole = full.get(part, [])
                # A text line without its end may be a shorter row than the one that was cut; that is why it must be reported.
                sure = lines if cut in self.whole_cuts or lines == whole[: len(lines)] else lines[:-1]
                assert sure == whole[: len(sure)], (cut, part)
            if cut not in self.whole_cuts:
                assert recording.lost or recording.problems, cut
            for lost in recording.lost:
                assert 0 <= lost.offset <= cut, cut
                assert lost.length >= 0, cut

    def test_every_single_byte_set_to_any_of_three_values_never_crashes(self) -> None:
        full, _ = read(self.parser(), self.sample)
        for at in range(len(self.sample)):
            for value in (0x00, 0xFF, self.sample[at] ^ 0x10):
                damaged = bytearray(self.sample)
                damaged[at] = value
                outcome = attempt(self.parser(), bytes(damaged))
                assert isinstance(outcome, ParseError) or sum(map(len, outcome[0].values())) <= 2 * len(full) + len(self.sample), at

    def test_blocks_of_two_rows_give_the_same_rows(self) -> None:
        full, _ = read_lines(self.parser(), self.sample)
        small = Limits(block_frames=2, block_rows=2)
        blocks = self.parser().blocks(BytesSource(self.sample), Recording(), small)
        assert all(0 < len(block) <= 2 for block in blocks)
        assert read_lines(self.parser(), self.sample, small)[0] == full

    @pytest.mark.parametrize("read_size", [1, 7, 64, 1000])
    def test_window_size_does_not_matter(self, read_size: int) -> None:
        full, _ = read_lines(self.parser(), self.sample)
        lines, recording = read_lines(self.parser(), self.sample, Limits(read_size=read_size))
        assert lines == full
        assert recording.lost == []

    def test_blocks_are_what_they_say(self) -> None:
        recording = Recording()
        for block in self.parser().blocks(BytesSource(self.sample), recording, Limits()):
            assert block.t_ns.dtype == np.int64
            if isinstance(block, SampleBlock):
                check(recording.streams[block.stream], block)
            elif isinstance(block, MessageBlock):
                assert int(block.level.max()) < len(LEVELS)
                assert int(block.source.max()) < len(recording.sources)
                assert (block.text_offset[0], block.text_offset[-1]) == (0, len(block.text))
                block.text.tobytes().decode("utf-8")
            else:
                ends = block.data_offset.astype("int64") + block.length.clip(min=8)
                assert int(ends.max()) <= len(block.data)
                for column in (block.t_ns, block.channel, block.arbitration_id, block.flags, block.length, block.data_offset, block.data):
                    assert column.flags.c_contiguous
