"""What a parser is and what it fills in while it reads: the protocol, the Recording, and the marks it leaves about damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from parsers.can.frames import FrameBlock
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


@dataclass
class Recording:
    """One file as its reader understands it; complete when the last block has been taken.

    `absolute` says whether `t_ns + start_ns` is UTC. `start_ns` is 0 when the frames carry UTC themselves and when the start is
    unknown. `channels` are the display names that `FrameBlock.channel` indexes: the interface name of candump, the number of
    ASC and BLF. `skipped` counts the records that were read over, by kind.
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
    limits: Limits = DEFAULT

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
        """Marks bytes as lost. Neighbouring ranges of one reason become one; beyond the limit the last range grows."""
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

    def add_message(self, t_ns: int, level: str, source: str, text: str) -> None:
        """Counts the message; keeps it, cut to the allowed length, while there is room."""
        self.message_count += 1
        if len(self.messages) < self.limits.max_messages:
            self.messages.append(LogMessage(t_ns, level, source, text[: self.limits.max_text_length]))


class Parser(Protocol):
    """A reader of one format.

    `detect` calls `sniff` with the first bytes of a file; the class itself is named in `registry.PARSERS`. Whoever wants the frames
    makes an instance and takes `blocks`. Only `blocks` may raise, and only ParseError (the file) or OSError (the storage).
    """

    format: ClassVar[str]
    version: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """Whether the first bytes of a file of `size` bytes look like this format; None when they do not."""

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[FrameBlock]:
        """Frames in file order, at most `limits.block_frames` a block, in bounded memory.

        Fills `recording` on the way. What is damaged goes to `recording.lost` and `recording.problems`; raises ParseError only when
        nothing at all could be read.
        """
