"""What a parser is and what it fills in while it reads: the protocol, the Recording, and the marks it leaves about damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from parsers.blocks import LEVELS, Block, StreamSpec
from parsers.limits import DEFAULT, Limits
from parsers.source import Source


@dataclass(frozen=True, slots=True)
class Match:
    """How sure a parser is that the content is its own (0 to 100), and the sentence that says why."""

    confidence: int
    reason: str


MAGIC = 100  # the format's own magic number
STRUCTURE = 80  # several records that only this format writes
HEADER = 60  # a header line, or a single record
HINT = 30  # not refuted; only the suffix can decide

MOST_OFFSET = (1 << 63) - 1  # of a byte in a file


@dataclass(frozen=True, slots=True)
class LostRange:
    """Bytes of the file that could not be read."""

    offset: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong that did not stop the reader, and the byte where it begins."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A text that the logger wrote between the frames. `t_ns` counts as in the frames of the same recording."""

    t_ns: int
    level: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that lies in the recording; it is listed, not read. `size` in bytes, None when it is not told."""

    name: str
    media_type: str
    size: int | None


@dataclass
class Recording:
    """One file as its reader understands it; complete when the last block has been taken.

    `absolute` says whether `t_ns + start_ns` is UTC. `start_ns` is 0 when the blocks carry UTC themselves and when the start is
    unknown; a parser sets both before its first block. `channels` are the display names that `FrameBlock.channel` indexes: the interface
    name of candump, the number of ASC and BLF; `streams` is what `SampleBlock.stream` indexes, `sources` what `MessageBlock.source` does.
    `skipped` counts the records that were read over, by kind; `undecoded` says which channels or topics gave no signals, and why.
    `metadata` is what the file says about itself: parameters, software versions, comments.
    """

    format: str = ""
    start_ns: int = 0
    absolute: bool = False
    channels: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    lost: list[LostRange] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    messages: list[LogMessage] = field(default_factory=list)
    message_count: int = 0
    streams: list[StreamSpec] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    undecoded: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    attachments: list[Attachment] = field(default_factory=list)
    limits: Limits = DEFAULT
    _source_index: dict[str, int] = field(default_factory=dict, repr=False)
    _signals: int = 0

    @property
    def partial(self) -> bool:
        """Whether something of the file is missing from what was read."""
        return bool(self.lost)

    def add_problem(self, offset: int, reason: str, count: int = 1) -> None:
        """Counts the problem, or `count` of a kind that begin at `offset`; keeps the text while there is room."""
        self.problem_count += count
        if len(self.problems) < self.limits.max_problems:
            self.problems.append(Problem(offset, reason))

    def add_lost(self, offset: int, length: int, reason: str) -> None:
        """Marks bytes as lost. Neighbouring ranges of one reason become one; beyond the limit the last range grows.

        A damaged file may say that it was meant to be longer than any file: no range reaches beyond what 63 bits count.
        """
        length = min(length, MOST_OFFSET - offset)
        if self.lost:
            last = self.lost[-1]
            touching = last.reason == reason and last.offset <= offset <= last.offset + last.length
            if touching or len(self.lost) >= self.limits.max_lost:
                end = max(last.offset + last.length, offset + length)
                self.lost[-1] = LostRange(last.offset, end - last.offset, last.reason)
                return
        self.lost.append(LostRange(offset, length, reason))

    def add_skipped(self, kind: str, count: int = 1) -> None:
        """Counts records that were read over."""
        if kind not in self.skipped and len(self.skipped) >= self.limits.max_skipped_kinds:
            kind = "other"
        self.skipped[kind] = self.skipped.get(kind, 0) + count

    def add_stream(self, spec: StreamSpec) -> int:
        """The number of a new stream; -1 when there are too many, or too many signals in all, and its samples are not to be yielded."""
        if len(self.streams) >= self.limits.max_streams:
            self.add_undecoded(spec.name, f"more than {self.limits.max_streams} streams in one file")
            return -1
        if self._signals + len(spec.signals) > self.limits.max_file_signals:
            self.add_undecoded(spec.name, f"more than {self.limits.max_file_signals} signals in one file")
            return -1
        self._signals += len(spec.signals)
        self.streams.append(spec)
        return len(self.streams) - 1

    def source_index(self, name: str) -> int:
        """The number of a source of log messages, added when it is new; beyond the limit all further ones are one."""
        known = self._source_index.get(name)
        if known is None:
            if len(self.sources) >= self.limits.max_sources:
                name = "other"
            known = self._source_index.setdefault(name, len(self.sources))
            if known == len(self.sources):
                self.sources.append(name)
        return known

    def add_undecoded(self, name: str, reason: str) -> None:
        """Lists a channel or topic that gives no signals."""
        if len(self.undecoded) < self.limits.max_listed:
            self.undecoded.setdefault(name[: self.limits.max_text_length], reason)

    def add_metadata(self, key: str, value: str) -> None:
        """Keeps what the file says about itself, while there is room; the last word on a key counts."""
        key = key[: self.limits.max_text_length]
        if key in self.metadata or len(self.metadata) < self.limits.max_listed:
            self.metadata[key] = value[: self.limits.max_text_length]

    def add_attachment(self, name: str, media_type: str, size: int | None) -> None:
        """Lists a file that lies in the recording."""
        if len(self.attachments) < self.limits.max_listed:
            self.attachments.append(Attachment(name[: self.limits.max_text_length], media_type[:100], size))

    def add_message(self, t_ns: int, level: str, source: str, text: str) -> None:
        """Counts the message; keeps it, cut to the allowed length, while there is room. `level` is one of LEVELS.

        For readers of frames, which meet few; whoever reads many yields a MessageBlock.
        """
        if level not in LEVELS:
            raise ValueError(f"no such level: {level}")
        self.message_count += 1
        if len(self.messages) < self.limits.max_messages:
            self.messages.append(LogMessage(t_ns, level, source, text[: self.limits.max_text_length]))


class Parser(Protocol):
    """A reader of one format.

    `detect` calls `sniff` with the first bytes of a file; the class itself is named in `registry.BUILT_IN`. Whoever wants the content
    makes an instance and takes `blocks`. Only `blocks` may raise, and only ParseError (the file) or OSError (the storage).
    """

    format: ClassVar[str]
    version: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """Whether the first bytes of a file of `size` bytes look like this format; None when they do not."""

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[Block]:
        """What the file holds, in bounded memory: frames, at most `limits.block_frames` a block; samples and log messages, at most
        `limits.block_rows` rows and about `limits.block_bytes` bytes a block, and of one stream in file order.

        Fills `recording` on the way. What is damaged goes to `recording.lost` and `recording.problems`; raises ParseError only when
        nothing at all could be read.
        """
