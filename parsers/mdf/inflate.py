"""Compressed data blocks of MDF files: deflate, zstd and lz4, plain or transposed; bounded by what the block declares."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import deflate
import pyarrow as pa
from isal import isal_zlib

from parsers.errors import Corrupt, LimitExceeded, Unsupported
from parsers.limits import Limits
from parsers.mdf._records import untranspose

DEFLATE, ZSTD, LZ4 = 0, 2, 4  # method; each has a transposed sister one above
_LZ4_FRAME = b"\x04\x22\x4d\x18"
_SLACK = 65_536  # what cannot be compressed grows a little


@dataclass(frozen=True, slots=True)
class Packed:
    """A compressed block: where it begins, how it is packed, and how many bytes it declares to hold and to be stored."""

    offset: int
    method: int
    columns: int
    size: int
    stored: int


def check(packed: Packed, limits: Limits) -> None:
    """Raises LimitExceeded for sizes that no writer needs, Unsupported for an unknown method."""
    if packed.size > limits.max_inflated:
        raise LimitExceeded(f"block declares {packed.size} bytes, {limits.max_inflated} are allowed", packed.offset)
    if packed.stored > packed.size + packed.size // 8 + _SLACK:
        raise LimitExceeded(f"block stores {packed.stored} bytes for {packed.size}", packed.offset)
    if packed.method > LZ4 + 1:
        raise Unsupported(f"compression method {packed.method} of a data block", packed.offset)


def inflated(packed: Packed, data: memoryview) -> bytes | bytearray | memoryview:
    """What the block holds: as many bytes as it declares, or fewer when `data` is cut and its beginning can be told.

    Raises Corrupt when nothing of it can be trusted. Source: ASAM MDF 4.1, DZ block; 4.3 for zstd and lz4.
    """
    if packed.size == 0:
        return b""
    method = packed.method & ~1
    cut = len(data) < packed.stored
    content = _deflated(packed, data, cut) if method == DEFLATE else _coded(packed, data)
    if not packed.method & 1:
        return content
    if len(content) < packed.size:
        raise Corrupt("transposed block is cut: its columns are incomplete", packed.offset)
    return memoryview(untranspose(content, packed.columns))


def _deflated(packed: Packed, data: memoryview, cut: bool) -> bytes | bytearray:
    if not cut:
        # libdeflate is half again as fast, but takes a block whole or not at all: what differs from its header goes the long way.
        with contextlib.suppress(deflate.DeflateError):
            whole: bytearray = deflate.zlib_decompress(data, packed.size)
            if len(whole) == packed.size:
                return whole
    inflate = isal_zlib.decompressobj()
    try:
        # A length of 0 would mean "no limit"; one byte more than declared shows a block that lies.
        content = inflate.decompress(data, packed.size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares an instance
        # Where in the block the damage lies cannot be told, so no record of it can be trusted.
        raise Corrupt(f"block cannot be inflated ({error})", packed.offset) from None
    if len(content) > packed.size:
        raise Corrupt(f"block inflates to more than the {packed.size} bytes it declares", packed.offset)
    return bytes(content)


def _coded(packed: Packed, data: memoryview) -> bytes | memoryview:
    if len(data) < packed.stored:
        raise Corrupt("compressed block is cut", packed.offset)
    try:
        content = _zstd(data, packed.size) if packed.method & ~1 == ZSTD else _lz4(data, packed.size)
    except (OSError, pa.ArrowException) as error:
        raise Corrupt(f"block cannot be inflated ({str(error).strip()[:80]})", packed.offset) from None
    if len(content) != packed.size:
        raise Corrupt(f"block inflates to another size than the {packed.size} bytes it declares", packed.offset)
    return content


def _zstd(data: memoryview, size: int) -> memoryview:
    return memoryview(pa.Codec("zstd").decompress(pa.py_buffer(data), size)).cast("B")


def _lz4(data: memoryview, size: int) -> bytes | memoryview:
    if bytes(data[:4]) == _LZ4_FRAME:
        whole: bytes = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), "lz4").read(size + 1)
        return whole
    codec = pa.Codec("lz4_raw")
    content = memoryview(codec.decompress(pa.py_buffer(data), size)).cast("B")
    # The codec does not say how many bytes there were; with one byte less room it must fail, or the last bytes are not of the block.
    with contextlib.suppress(OSError, pa.ArrowException):
        codec.decompress(pa.py_buffer(data), size - 1)
        return b""
    return content
