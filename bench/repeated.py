"""A file of any size that lies on no disk: a beginning, and then the same content again and again."""

from __future__ import annotations


class RepeatedSource:
    """A Source of at most `size` bytes: `head`, then as many whole `body` as fit."""

    def __init__(self, head: bytes, body: bytes, size: int, name: str = "") -> None:
        self._head = head
        self._body = body * max(1, (1 << 20) // len(body))  # so that a read takes few pieces
        self.name = name
        self.repeats = (size - len(head)) // len(body)
        self.size = len(head) + self.repeats * len(body)

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on, fewer where the file ends."""
        length = max(0, min(length, self.size - offset))
        pieces = [self._head[offset : offset + length]]
        have = len(pieces[0])
        while have < length:
            at = (offset + have - len(self._head)) % len(self._body)
            pieces.append(self._body[at : at + length - have])
            have += len(pieces[-1])
        return b"".join(pieces)
