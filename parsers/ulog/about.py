"""What a ULog says about itself: information, parameters with their defaults, and the texts that come in pieces."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from parsers.base import Recording
from parsers.limits import Limits
from parsers.ulog.formats import BASIC

_CODES = {
    "int8_t": "b",
    "uint8_t": "B",
    "int16_t": "h",
    "uint16_t": "H",
    "int32_t": "i",
    "uint32_t": "I",
    "int64_t": "q",
    "uint64_t": "Q",
    "float": "f",
    "double": "d",
    "bool": "?",
    "char": "b",
}
_DEFAULT_KINDS = ((1, "system"), (2, "configuration"))


def split_key(key: bytes) -> tuple[str, bool, str]:
    """Type, whether it is an array, and name of a key such as `char[4] sys_name`, which the scanner has checked."""
    kind, _, name = key.decode("ascii", "replace").partition(" ")
    base, bracket, _ = kind.partition("[")
    return base, bool(bracket), name


def value_text(kind: str, is_array: bool, data: bytes) -> str:
    """A value as text: char arrays without zeros and line ends at their end, floats as short as they are exact."""
    if kind == "char" and is_array:
        return data.decode("utf-8", "replace").rstrip("\0\r\n\t ")
    count = len(data) // BASIC[kind][0]
    values = struct.unpack(f"<{count}{_CODES[kind]}", data)
    texts = [str(np.float32(value)) if kind == "float" else str(value) for value in values]
    return f"[{', '.join(texts)}]" if is_array else texts[0]


@dataclass
class _Pieces:
    """A text that came in several messages; only its beginning is kept."""

    text: str = ""
    size: int = 0


@dataclass
class About:
    """Gathers it in bounded memory; `write` puts it into the recording: information first, then parameters, then their defaults."""

    limits: Limits
    infos: dict[str, str] = field(default_factory=dict)
    pieces: dict[str, list[_Pieces]] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: int = 0
    _piece_count: int = 0

    def add_info(self, kind: str, is_array: bool, name: str, data: bytes) -> None:
        """One piece of information; the last word counts."""
        if name in self.infos or len(self.infos) < self.limits.max_listed:
            self.infos[name] = value_text(kind, is_array, data[: 4 * self.limits.max_text_length])
        else:
            self.left_out += 1

    def add_piece(self, kind: str, is_array: bool, name: str, data: bytes, continued: bool) -> None:
        """A list entry of information, or the continuation of the last one of that name."""
        entries = self.pieces.get(name)
        if entries is None or not continued:
            if self._piece_count >= self.limits.max_listed:
                self.left_out += 1
                return
            self._piece_count += 1
            entries = self.pieces.setdefault(name, [])
            entries.append(_Pieces())
        last = entries[-1]
        if len(last.text) < self.limits.max_text_length:
            # Texts in pieces are lists of lines as often as one text cut anywhere.
            text = value_text(kind, is_array, data[: 4 * self.limits.max_text_length])
            last.text += ("\n" if last.text else "") + text
        last.size += len(data)

    def set_parameter(self, name: str, value: str) -> str | None:
        """The value before, if there was one."""
        before = self.parameters.get(name)
        if before is not None or len(self.parameters) < 4 * self.limits.max_listed:
            self.parameters[name] = value
        else:
            self.left_out += 1
        return before

    def add_default(self, flags: int, name: str, value: str) -> None:
        """What the parameter would be if nobody had set it, for the system and for the configuration (airframe)."""
        for bit, kind in _DEFAULT_KINDS:
            if not flags & bit:
                continue
            if name in self.defaults or len(self.defaults) < 4 * self.limits.max_listed:
                self.defaults.setdefault(name, {})[kind] = value
            else:
                self.left_out += 1

    def write(self, recording: Recording) -> None:
        """Fills `metadata`; long texts are also listed as attachments, with their whole size."""
        entries: list[tuple[str, str]] = list(self.infos.items())
        for name, listed in self.pieces.items():
            for index, piece in enumerate(listed):
                key = name if len(listed) == 1 else f"{name}[{index}]"
                entries.append((key, piece.text))
                if piece.size > self.limits.max_text_length:
                    recording.add_attachment(key, "text/plain", piece.size)
        entries += [(f"parameter.{name}", value) for name, value in self.parameters.items()]
        for name, kinds in self.defaults.items():
            entries.append((f"parameter_default.{name}", ", ".join(f"{value} ({kind})" for kind, value in kinds.items())))
        for key, value in entries:
            recording.add_metadata(key, value)
            if key[: self.limits.max_text_length] not in recording.metadata:
                self.left_out += 1
        if self.left_out:
            recording.add_skipped("information or parameter beyond the list", self.left_out)
