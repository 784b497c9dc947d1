"""What every parser must do with files that are empty, foreign, cut or lying; a test class per format inherits it."""

from __future__ import annotations

from typing import ClassVar

import pytest

from parsers.base import Parser, Recording
from parsers.can.rows import rows
from parsers.errors import ParseError
from parsers.limits import Limits
from parsers.source import BytesSource


def read(parser: Parser, data: bytes, limits: Limits | None = None) -> tuple[list[str], Recording]:
    """All rows as text and the recording."""
    recording = Recording()
    blocks = parser.blocks(BytesSource(data), recording, limits or Limits())
    return b"".join(rows(blocks, recording)).decode().splitlines(), recording


def attempt(parser: Parser, data: bytes) -> tuple[list[str], Recording] | ParseError:
    """What `read` gives, or the ParseError that it raises; anything else it raises is a failure of the test."""
    try:
        return read(parser, data)
    except ParseError as error:
        return error


class ParserContract:
    """Subclasses name the parser, a whole sample of a few frames, and the bytes at which a cut leaves a whole shorter file."""

    parser: ClassVar[type[Parser]]
    sample: ClassVar[bytes]
    whole_cuts: ClassVar[frozenset[int]] = frozenset()

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
        full, _ = read(self.parser(), self.sample)
        for cut in range(1, len(self.sample)):
            outcome = attempt(self.parser(), self.sample[:cut])
            if isinstance(outcome, ParseError):
                assert outcome.offset is not None, cut
                assert 0 <= outcome.offset <= cut, cut
                continue
            lines, recording = outcome
            # A text line without its end may be a shorter frame than the one that was cut; that is why it must be reported.
            sure = lines if cut in self.whole_cuts or lines == full[: len(lines)] else lines[:-1]
            assert sure == full[: len(sure)], cut
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
                assert isinstance(outcome, ParseError) or len(outcome[0]) <= len(full) + 1, at

    def test_blocks_of_two_frames_give_the_same_rows(self) -> None:
        full, _ = read(self.parser(), self.sample)
        small = Limits(block_frames=2)
        recording = Recording()
        blocks = list(self.parser().blocks(BytesSource(self.sample), recording, small))
        assert [len(block) for block in blocks[:-1]] == [2] * (len(blocks) - 1)
        assert b"".join(rows(blocks, recording)).decode().splitlines() == full

    @pytest.mark.parametrize("read_size", [1, 7, 64, 1000])
    def test_window_size_does_not_matter(self, read_size: int) -> None:
        full, _ = read(self.parser(), self.sample)
        lines, recording = read(self.parser(), self.sample, Limits(read_size=read_size))
        assert lines == full
        assert recording.lost == []

    def test_eight_bytes_can_be_read_at_every_payload(self) -> None:
        for block in self.parser().blocks(BytesSource(self.sample), Recording(), Limits()):
            ends = block.data_offset.astype("int64") + block.length.clip(min=8)
            assert int(ends.max()) <= len(block.data)
            for column in (block.t_ns, block.channel, block.arbitration_id, block.flags, block.length, block.data_offset, block.data):
                assert column.flags.c_contiguous
