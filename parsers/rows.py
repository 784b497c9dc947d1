"""Normalised text rows of frames, samples and log messages, the same for every format, for comparing readers line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parsers.base import Recording
from parsers.blocks import LEVELS, NO_TIME, Block, MessageBlock, SampleBlock
from parsers.can._rows import render


def rows(blocks: Iterable[Block], recording: Recording) -> Iterator[bytes]:
    """One piece of text for each block, in file order; times are those that the file writes.

    Frame: `t_ns,channel,id,is_ext,is_fd,is_remote,is_error,data` with `id` and `data` in lower case hex, flags 0 or 1; a remote frame has
    no data, of an error frame only time and channel are given. Sample: `stream[number],t_ns,signal=value,...` without the absent values.
    Log message: `message,t_ns,level,source,text` with the text quoted.
    """
    for block in blocks:
        if isinstance(block, SampleBlock):
            yield "".join(_sample_lines(block, recording)).encode()
        elif isinstance(block, MessageBlock):
            yield "".join(_message_lines(block, recording)).encode()
        else:
            names = [name.encode() for name in recording.channels]
            yield render(block.t_ns, block.channel, block.arbitration_id, block.flags, block.length, block.data_offset, block.data, names)


def _sample_lines(block: SampleBlock, recording: Recording) -> Iterator[str]:
    spec = recording.streams[block.stream]
    columns = [column.tolist() for column in block.columns]
    masks = [None if mask is None else mask.tolist() for mask in block.masks]
    for row, t_ns in enumerate(block.t_ns.tolist()):
        values = "".join(
            f",{signal.name}={column[row]!r}"
            for signal, column, mask in zip(spec.signals, columns, masks, strict=True)
            if mask is None or mask[row]
        )
        yield f"{spec.name}[{block.stream}],{t_ns}{values}\n"


def _message_lines(block: MessageBlock, recording: Recording) -> Iterator[str]:
    for row, t_ns in enumerate(block.t_ns.tolist()):
        time = "" if t_ns == NO_TIME else str(t_ns)
        yield f"message,{time},{LEVELS[block.level[row]]},{recording.sources[block.source[row]]},{block.text_of(row)!r}\n"
