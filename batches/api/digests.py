"""Sums of a body in the headers that clients and stores have for them, besides those of tus and RFC 9530."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from common.errors import DigestMismatch, InvalidField
from files.uploads.checksums import Checksum, Checksums

# header -> algorithm and its bytes: RFC 1864, and what S3 clients send
HEADERS = {
    "Content-MD5": ("md5", 16),
    "x-amz-checksum-crc32": ("crc32", 4),
    "x-amz-checksum-crc32c": ("crc32c", 4),
    "x-amz-checksum-sha1": ("sha1", 20),
    "x-amz-checksum-sha256": ("sha256", 32),
}


def of_body(meta: Mapping[str, Any], *more: Checksum | None) -> Checksums | None:
    """What the headers announce, and `more`; None if nothing is announced. Raises InvalidField for a value that no such sum has."""
    sums = [one for one in more if one]
    for header, (algorithm, length) in HEADERS.items():
        value = meta.get("HTTP_" + header.upper().replace("-", "_"))
        if value is None:
            continue
        try:
            announced = base64.b64decode(value.strip(), validate=True)
        except ValueError:
            announced = b""
        if len(announced) != length:
            raise InvalidField(f"{header}: {length} bytes in base64.")
        sums.append(Checksum(algorithm, announced, DigestMismatch))
    return Checksums(sums) if sums else None
