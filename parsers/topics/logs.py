"""Topics that carry log messages: which ones they are, and their rows as blocks of messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parsers.base import Recording
from parsers.blocks import LEVELS, MessageBlock, SignalSpec
from parsers.limits import Limits
from parsers.topics._texts import SpanCoder, TextBudget, joined
from parsers.topics.decoder import Decoded, TextSpans, is_text

_LEVEL = {name: number for number, name in enumerate(LEVELS)}
_NAMES = {
    "trace": "trace",
    "verbose": "trace",
    "debug": "debug",
    "info": "info",
    "information": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "fatal": "fatal",
    "critical": "fatal",
}
# foxglove.Log: 0 unknown, 1 debug to 5 fatal; rcl_interfaces/msg/Log: tens; rosgraph_msgs/Log: powers of two
_FOXGLOVE = {1: "debug", 2: "info", 3: "warning", 4: "error", 5: "fatal"}
_ROS_2 = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "fatal"}
_ROS_1 = {1: "debug", 2: "info", 4: "warning", 8: "error", 16: "fatal"}
_BY_SCHEMA = {
    "foxglove.Log": _FOXGLOVE,
    "foxglove_msgs/Log": _FOXGLOVE,
    "foxglove_msgs/msg/Log": _FOXGLOVE,
    "rcl_interfaces/msg/Log": _ROS_2,
    "rcl_interfaces/Log": _ROS_2,
    "rosgraph_msgs/Log": _ROS_1,
    "rosgraph_msgs/msg/Log": _ROS_1,
}


@dataclass
class LogTopic:
    """The columns of a topic that make a log message, and what its levels mean."""

    level: int
    message: int
    name: int
    levels: dict[int, str]
    topic: str
    _codes: dict[int, str] = field(default_factory=dict)
    _coder: SpanCoder | None = None
    _sources: list[int] = field(default_factory=list)

    def blocks(self, rows: Decoded, recording: Recording, limits: Limits, signals: Sequence[SignalSpec]) -> Iterator[MessageBlock]:
        """The rows as log messages, in pieces that keep the limits. The source is the logger's name, or the topic where it has none."""
        level = self._levels(rows, signals[self.level])
        source = self._source(rows, recording, limits)
        column = rows.columns[self.message]
        assert isinstance(column, TextSpans)
        length = column.length
        mask = rows.masks[self.message]
        if mask is not None:
            length = length * mask
        at = 0
        while at < len(rows):
            end = min(at + limits.block_rows, len(rows))
            text, offset, taken = joined(column.data, column.offset[at:end], length[at:end], limits.max_text_length, limits.block_bytes)
            text, offset = _valid(text, offset)
            end = at + taken
            yield MessageBlock(rows.t_ns[at:end], level[at:end], source[at:end], offset, text)
            at = end

    def _levels(self, rows: Decoded, signal: SignalSpec) -> NDArray[np.uint8]:
        column = rows.columns[self.level]
        mask = rows.masks[self.level]
        if isinstance(column, TextSpans):
            coder = SpanCoder({}, TextBudget(1 << 20), 256)
            numbers, mask = coder.codes(column.data, column.offset, column.length, mask)
            table = {code: _NAMES.get(text.strip().lower(), "") for code, text in coder.choices.items()}
        else:
            numbers = column
            named = {number: _NAMES.get(text.lower(), "") for number, text in (signal.choices or {}).items()}
            table = named if any(named.values()) else self.levels
        out = np.zeros(len(rows), np.uint8)
        for number, name in table.items():
            out[numbers == number] = _LEVEL[name]
        if mask is not None:
            out *= mask
        return out

    def _source(self, rows: Decoded, recording: Recording, limits: Limits) -> NDArray[np.int32]:
        column = rows.columns[self.name]
        assert isinstance(column, TextSpans)
        if self._coder is None:
            self._coder = SpanCoder(self._codes, TextBudget(4 << 20), limits.max_sources, 200)
        codes, mask = self._coder.codes(column.data, column.offset, column.length, rows.masks[self.name])
        for code in range(len(self._sources), len(self._codes)):
            self._sources.append(recording.source_index(self._codes[code] or self.topic))
        source = np.array(self._sources or [0], np.int32)[codes]
        if mask is not None:
            source[mask == 0] = recording.source_index(self.topic)
        return source


def log_topic(topic: str, schema_name: str, signals: Sequence[SignalSpec]) -> LogTopic | None:
    """How a topic's rows are log messages; None when they are not.

    They are by the schema's name, or when the message has a level, a name, and a text called `message` or `msg`, and little else.
    """
    at = {signal.name: index for index, signal in enumerate(signals)}
    message = at.get("message", at.get("msg", -1))
    level, name = at.get("level", -1), at.get("name", -1)
    if min(message, level, name) < 0 or not is_text(signals[message]) or not is_text(signals[name]):
        return None
    known = _BY_SCHEMA.get(schema_name)
    if known is None and len(signals) > 12:
        return None
    return LogTopic(level, message, name, known or _ROS_2, topic)


def _valid(text: NDArray[np.uint8], offset: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The same with what is not UTF-8 replaced."""
    try:
        text.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        texts = [text[a:b].tobytes().decode("utf-8", "replace").encode() for a, b in pairwise(offset)]
        offset = np.concatenate([np.zeros(1, np.int32), np.cumsum([len(t) for t in texts], dtype=np.int32)])
        text = np.frombuffer(b"".join(texts), np.uint8)
    return text, offset
