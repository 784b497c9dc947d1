"""Normalised text rows of CAN frames, the same for every format, for comparing readers line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parsers.base import Recording
from parsers.can._rows import render
from parsers.can.frames import FrameBlock


def rows(blocks: Iterable[FrameBlock], recording: Recording) -> Iterator[bytes]:
    """One piece of text for each block; a line is `t_ns,channel,id,is_ext,is_fd,is_remote,is_error,data`.

    `t_ns` as the file writes it, `id` and `data` in lower case hex, flags 0 or 1. A remote frame has no data; of an error
    frame only time and channel are given.
    """
    for block in blocks:
        names = [name.encode() for name in recording.channels]
        yield render(block.t_ns, block.channel, block.arbitration_id, block.flags, block.length, block.data_offset, block.data, names)
