"""Columns of texts: raw bytes become numbers, and the signal's choices name them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parsers.mdf._texts import RawTexts
from parsers.mdf.conversion import Conversion
from parsers.mdf.plans import Mask
from parsers.mdf.state import State
from parsers.mdf.tree import LATIN1, UTF8, UTF16_BE, UTF16_LE
from parsers.texts import MAX_LENGTH, MAX_TEXTS, TextCodes

ENCODINGS = {LATIN1: "latin-1", UTF8: "utf-8", UTF16_LE: "utf-16-le", UTF16_BE: "utf-16-be"}
_LONGEST = 4 * MAX_LENGTH


class TextColumn:
    """Texts of one channel. `storage` and `choices` are those of its signal; a conversion from texts to numbers gives numbers."""

    def __init__(self, state: State, data_type: int, conversion: Conversion) -> None:
        self.state = state
        self.encoding = ENCODINGS[data_type]
        self._raw = RawTexts(2 if data_type in (UTF16_LE, UTF16_BE) else 1, MAX_TEXTS, _LONGEST)
        self._plan = conversion.plan(np.dtype("U")) if conversion.reads_texts else None
        self.choices: dict[int, str] | None = {} if self._plan is None else self._plan.choices
        self.storage = "int32" if self._plan is None else self._plan.storage
        self.dropped = 0  # values whose text found no room
        self._codes = TextCodes({} if self.choices is None else self.choices)
        # The value of each raw text by its number; the last one stands for those that have none (number -1).
        self._values = np.zeros(1, self.storage)
        self._valid = np.zeros(1, np.uint8)

    def numbers(self, data: object, starts: NDArray[np.int64], lengths: NDArray[np.int64], out: NDArray[np.int32]) -> None:
        """Writes a number for each raw text to `out`; a negative length gives -1, as does a text that finds no room."""
        used = self._raw.used
        self._raw.numbers(data, starts, lengths, out, used + self.state.text_room)
        self.state.text_room -= self._raw.used - used
        self.dropped += int(np.count_nonzero(out[lengths >= 0] < 0)) if (out < 0).any() else 0

    def column(self, numbers: NDArray[np.int32]) -> tuple[NDArray[np.generic], Mask]:
        """The signal's column and mask."""
        self._learn()
        valid = self._valid[numbers]
        return self._values[numbers], None if valid.all() else valid

    def _learn(self) -> None:
        known = len(self._values) - 1
        if self._raw.count == known:
            return
        texts = [self._raw.text_at(number).decode(self.encoding, "replace") for number in range(known, self._raw.count)]
        if self._plan is None:
            values, mask = self._codes.codes(texts)
        else:
            values, mask = self._plan.apply(np.array(texts, object))
        fresh = np.ones(len(texts), np.uint8) if mask is None else mask
        self._values = np.concatenate([self._values[:known], values, np.zeros(1, self.storage)])
        self._valid = np.concatenate([self._valid[:known], fresh, np.zeros(1, np.uint8)])
