"""Texts as a column of whole numbers: each different text gets a number, and the signal's choices name them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MAX_TEXTS = 4096
MAX_LENGTH = 1000


class TextCodes:
    """Numbers texts in order of first sight into `choices`. A text that comes when `limit` different ones are known has no number."""

    def __init__(self, choices: dict[int, str], limit: int = MAX_TEXTS) -> None:
        self.choices = choices
        self.limit = limit
        self.dropped = 0
        self._known: dict[str, int] = {}

    def code(self, text: str) -> int:
        """The number of the text; -1 when there is no room for a further one. Texts are cut to 1,000 characters."""
        text = text[:MAX_LENGTH]
        known = self._known.get(text)
        if known is not None:
            return known
        if len(self.choices) >= self.limit:
            self.dropped += 1
            return -1
        code = self._known[text] = len(self.choices)
        self.choices[code] = text
        return code

    def codes(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.uint8] | None]:
        """A column of numbers (int32) and its mask (uint8; None when every text has one)."""
        column = np.fromiter((self.code(text) for text in texts), np.int32)
        missing = column < 0
        if not missing.any():
            return column, None
        column[missing] = 0
        return column, (~missing).astype(np.uint8)
