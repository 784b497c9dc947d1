"""Checksums over the bytes of one request."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import google_crc32c

from common.errors import ArgusError, ChecksumMismatch
from files.storage import Bytes


class _Crc32c:
    def __init__(self) -> None:
        self._sum = cast("Any", google_crc32c.Checksum)()

    def update(self, data: Bytes) -> None:
        self._sum.update(bytes(data))  # it takes nothing but bytes

    def digest(self) -> bytes:
        return bytes(self._sum.digest())


class _Crc32:
    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: Bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)

    def digest(self) -> bytes:
        return self._sum.to_bytes(4, "big")


# What tus offers, by its names; and what other headers may use besides.
ALGORITHMS: dict[str, Callable[[], Any]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "crc32c": _Crc32c,
}
OTHERS: dict[str, Callable[[], Any]] = {"md5": lambda: hashlib.md5(usedforsecurity=False), "crc32": _Crc32}


class Checksum:
    """The sum of what passes, and what it should be; KeyError for an unknown algorithm. `refusal` is what a wrong one raises."""

    def __init__(self, algorithm: str, announced: bytes, refusal: type[ArgusError] = ChecksumMismatch) -> None:
        self.algorithm, self.announced, self.refusal = algorithm, announced, refusal
        self._sum = {**ALGORITHMS, **OTHERS}[algorithm]()

    def update(self, data: Bytes, /) -> None:
        """Take more bytes."""
        self._sum.update(data)

    def verify(self) -> None:
        """Raise `refusal` unless the sum is the announced one."""
        found = self._sum.digest()
        if not hmac.compare_digest(found, self.announced):
            raise self.refusal(
                f"{self.algorithm} {self.announced.hex()} was announced, the bytes have {found.hex()}.", received=found.hex()
            )


class Checksums:
    """Several of them at once."""

    def __init__(self, sums: Sequence[Checksum]) -> None:
        self.sums = sums

    def update(self, data: Bytes, /) -> None:
        """Take more bytes."""
        for one in self.sums:
            one.update(data)

    def verify(self) -> None:
        """Raise what the first wrong one raises."""
        for one in self.sums:
            one.verify()
