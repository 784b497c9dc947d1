"""messages.parquet: every log message of a recording, written while they come; the summary keeps the first and the worst."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parsers.base import Recording
from parsers.blocks import LEVELS, NO_TIME, WARNING, MessageBlock, MessageList
from parsers.results.files import ParquetFile, texts_to_arrow, to_arrow
from parsers.results.layout import MESSAGES, TIME_COLUMN, storable

FIRST_KEPT = 500  # of any level, for the summary
WORST_KEPT = 500  # warnings and worse beyond those
TEXT_KEPT = 1000  # characters of one text in the summary

SCHEMA = pa.schema(
    [
        pa.field(TIME_COLUMN, pa.int64(), metadata={"unit": "ns"}),
        pa.field("level", pa.dictionary(pa.int8(), pa.string())),
        pa.field("source", pa.dictionary(pa.int32(), pa.string())),
        pa.field("text", pa.string()),
    ]
)


class MessageWriter:
    """Takes blocks of messages; the file is made with the first one. `directory` is an open descriptor."""

    def __init__(self, directory: int, recording: Recording) -> None:
        self._directory = directory
        self._recording = recording
        self._file: ParquetFile | None = None
        self._taken = 0  # of recording.messages
        self.levels: Counter[str] = Counter()
        self.kept: list[dict[str, object]] = []
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    @property
    def count(self) -> int:
        """Messages so far, with those that a reader of frames counted but did not keep."""
        return sum(self.levels.values()) + max(0, self._recording.message_count - self._taken)

    def take(self, block: MessageBlock, shift_ns: int = 0) -> None:
        """Writes a block; `shift_ns` is added to its times. Raises ValueError when it is malformed or a text is no UTF-8."""
        if not len(block):
            return
        timed = block.t_ns != NO_TIME
        t_ns = np.where(timed, block.t_ns + shift_ns, 0)
        texts = pa.StringArray.from_buffers(len(block), pa.py_buffer(block.text_offset), pa.py_buffer(block.text))
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"malformed texts: {error}") from error
        if int(block.level.max()) >= len(LEVELS) or int(block.source.max()) >= len(self._recording.sources) or int(block.source.min()) < 0:
            raise ValueError("a message of an unknown level or source")
        self._keep(block, t_ns, timed)
        for level, count in enumerate(np.bincount(block.level).tolist()):
            if count:
                self.levels[LEVELS[level]] += count
        if timed.any():
            low, high = int(t_ns[timed].min()), int(t_ns[timed].max())
            self.first_ns = low if self.first_ns is None else min(self.first_ns, low)
            self.last_ns = high if self.last_ns is None else max(self.last_ns, high)
        if self._file is None:
            self._file = ParquetFile(self._directory, MESSAGES, SCHEMA, delta=[TIME_COLUMN], pruned=[TIME_COLUMN])
        self._file.write(
            [
                to_arrow(t_ns, timed.view(np.uint8)),
                pa.DictionaryArray.from_arrays(to_arrow(block.level.astype(np.int8)), texts_to_arrow(LEVELS)),
                pa.DictionaryArray.from_arrays(to_arrow(block.source), texts_to_arrow(self._recording.sources)),
                texts,
            ]
        )

    def _keep(self, block: MessageBlock, t_ns: NDArray[np.int64], timed: NDArray[np.bool_]) -> None:
        """The first ones, and beyond those the first warnings and worse, in file order."""
        chosen = list(range(min(len(block), max(0, FIRST_KEPT - len(self.kept)))))
        room = FIRST_KEPT + WORST_KEPT - len(self.kept) - len(chosen)
        if room > 0:
            worse = np.flatnonzero(block.level[len(chosen) :] >= WARNING)[:room] + len(chosen)
            chosen += worse.tolist()
        for index in chosen:
            self.kept.append(
                {
                    "t_ns": int(t_ns[index]) if timed[index] else None,
                    "level": LEVELS[block.level[index]],
                    "source": storable(self._recording.sources[block.source[index]][:TEXT_KEPT]),
                    "text": storable(block.text_of(index)[:TEXT_KEPT]),
                }
            )

    def finish(self, shift_ns: int) -> None:
        """Writes the messages that a reader of frames left in the recording, then the footer."""
        recording = self._recording
        if recording.messages:
            gathered = MessageList()
            for message in recording.messages:
                gathered.add(message.t_ns, LEVELS.index(message.level), recording.source_index(message.source), message.text)
            self.take(gathered.take(), shift_ns)
            self._taken = len(recording.messages)
        if self._file is not None:
            self._file.close()
