"""ISO 15765-2 transport: messages of up to 4 GiB in frames of 8 or 64 bytes, normal addressing, as a listener sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_MESSAGE = 65_536  # longer ones carry no fault codes
MAX_OPEN = 1024  # messages being put together at once


@dataclass(slots=True)
class _Open:
    length: int
    data: bytearray
    next_sequence: int
    t_ns: int


@dataclass
class Reassembler:
    """Puts messages together, one at a time per sender (any hashable). A frame out of sequence ends the message it belongs to."""

    broken: int = 0
    _open: dict[object, _Open] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        """Whether any message is still incomplete."""
        return bool(self._open)

    def feed(self, sender: object, payload: bytes, t_ns: int) -> tuple[int, bytes] | None:
        """(time of the first frame, message) when this frame completes one."""
        if not payload:
            return None
        kind = payload[0] >> 4
        if kind == 0:
            self._abandon(sender)
            return self._single(payload, t_ns)
        if kind == 1:
            self._abandon(sender)
            self._first(sender, payload, t_ns)
        elif kind == 2:
            return self._consecutive(sender, payload)
        return None  # 3 is flow control, the rest is reserved

    def _abandon(self, sender: object) -> None:
        if self._open.pop(sender, None) is not None:
            self.broken += 1

    def _single(self, payload: bytes, t_ns: int) -> tuple[int, bytes] | None:
        length, start = payload[0] & 15, 1
        if length == 0 and len(payload) > 8:  # CAN FD: the length is in the second byte
            length, start = payload[1], 2
        if not 0 < length <= len(payload) - start:
            return None
        return t_ns, payload[start : start + length]

    def _first(self, sender: object, payload: bytes, t_ns: int) -> None:
        if len(payload) < 8:
            return
        length, start = (payload[0] & 15) << 8 | payload[1], 2
        if length == 0:  # a length of more than 12 bits follows in four bytes
            length, start = int.from_bytes(payload[2:6], "big"), 6
        if len(payload) - start < length <= MAX_MESSAGE and len(self._open) < MAX_OPEN:
            self._open[sender] = _Open(length, bytearray(payload[start:]), 1, t_ns)

    def _consecutive(self, sender: object, payload: bytes) -> tuple[int, bytes] | None:
        message = self._open.get(sender)
        if message is None:
            return None
        if payload[0] & 15 != message.next_sequence:
            self._abandon(sender)
            return None
        message.next_sequence = (message.next_sequence + 1) & 15
        message.data += payload[1:]
        if len(message.data) < message.length:
            return None
        del self._open[sender]
        return message.t_ns, bytes(message.data[: message.length])
