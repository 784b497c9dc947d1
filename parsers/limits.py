"""The bounds every parser keeps, so that no file can take more memory or time than its size justifies."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What a parser may spend on one file. Sizes are bytes, counts are records; handed in, never read from settings."""

    max_line_length: int = 64 * KIB
    """A longer text line is skipped and reported. A CAN XL frame of 2,048 bytes needs about 6,200."""

    max_record_length: int = 32 * MIB
    """A binary record that claims more is damage, not data."""

    max_inflated: int = 64 * MIB
    """Most bytes one compressed container may inflate to, whatever it declares."""

    max_inflate_ratio: int = 200
    """Most inflated bytes for each byte of the whole file, on top of one `max_inflated`; real logs stay below 30."""

    max_channels: int = 4096
    """Most distinct bus names; a damaged text file could otherwise invent one on each line."""

    max_ids: int = 4096
    """Most distinct (channel, arbitration id) pairs that are listed."""

    max_streams: int = 2048
    """Most streams that are written for one file."""

    max_problems: int = 1000
    """Most recoverable problems kept with their text; all are counted."""

    max_lost: int = 1000
    """Most separate lost ranges kept; beyond that the last one grows."""

    max_messages: int = 1000
    """Most log messages kept; all are counted."""

    max_text_length: int = 1000
    """Longest text kept of one log message, in characters."""

    max_skipped_kinds: int = 256
    """Most kinds of skipped records kept apart; beyond that they are counted as `other`."""

    max_sources: int = 4096
    """Most different sources of log messages."""

    max_listed: int = 1000
    """Most entries in each list of what is only named: metadata, attachments, channels that could not be decoded."""

    max_array: int = 32
    """Elements of an array that become signals of their own; of a longer one only the length is a signal."""

    max_signals: int = 4096
    """Most signals of one stream."""

    max_file_signals: int = 100_000
    """Most signals of all streams of samples of one file: each is described in the summary."""

    block_rows: int = 65_536
    """Rows in one SampleBlock or MessageBlock at most."""

    block_bytes: int = 8 * MIB
    """About the bytes in one SampleBlock or MessageBlock at most."""

    block_frames: int = 65_536
    """Frames in one FrameBlock at most."""

    read_size: int = 256 * KIB
    """Bytes asked of the source at a time."""


DEFAULT = Limits()
