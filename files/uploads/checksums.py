"""Checksums over the bytes of one request, by the names that tus gives them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, cast

import google_crc32c

from common.errors import ChecksumMismatch
from files.storage import Bytes


class _Crc32c:
    def __init__(self) -> None:
        self._sum = cast("Any", google_crc32c.Checksum)()

    def update(self, data: Bytes) -> None:
        self._sum.update(bytes(data))  # it takes nothing but bytes

    def digest(self) -> bytes:
        return bytes(self._sum.digest())


ALGORITHMS: dict[str, Callable[[], Any]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "crc32c": _Crc32c,
}


class Checksum:
    """The sum of what passes, and what it should be; KeyError for an unknown algorithm."""

    def __init__(self, algorithm: str, announced: bytes) -> None:
        self.algorithm, self.announced = algorithm, announced
        self._sum = ALGORITHMS[algorithm]()

    def update(self, data: Bytes, /) -> None:
        """Take more bytes."""
        self._sum.update(data)

    def verify(self) -> None:
        """Raise ChecksumMismatch unless the sum is the announced one."""
        found = self._sum.digest()
        if not hmac.compare_digest(found, self.announced):
            raise ChecksumMismatch(
                f"{self.algorithm} {self.announced.hex()} was announced, the bytes have {found.hex()}.", received=found.hex()
            )
