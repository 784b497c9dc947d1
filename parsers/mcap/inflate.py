"""What a chunk holds, in pieces of bounded size: zstd, LZ4 frames or stored; a damaged chunk gives what is there before the damage."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import pyarrow as pa
from isal import isal_zlib

from parsers.errors import Corrupt, ParseError, Truncated, Unsupported
from parsers.limits import MIB
from parsers.source import BytesSource, Source

PIECE = 4 * MIB
CODECS = {"zstd": "zstd", "lz4": "lz4"}
_FEW = 256
_LAST = 8
_PART = 4096


class Region(io.RawIOBase):
    """Some bytes of a source as a file that is read from begin to end, at most `step` bytes at a time."""

    def __init__(self, source: Source, offset: int, length: int, step: int = PIECE) -> None:
        self._source = source
        self._at = offset
        self._begin = offset
        self._end = offset + length
        self._step = step
        self.error: OSError | None = None

    def again(self, step: int = PIECE) -> Region:
        """The same from its begin."""
        self._at = self._begin
        self._step = step
        return self

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; `error` keeps what the storage raised, for pyarrow does not tell it from damage."""
        left = self._end - self._at
        size = min(left, self._step if size < 0 else min(size, self._step))
        if self._step == _FEW:
            # Behind the last block there is a checksum; when it is wrong, the block is to be out before it is noticed.
            size = 1 if left <= _LAST else min(size, left - _LAST)
        try:
            data = bytes(self._source.read_at(self._at, size))
        except OSError as error:
            self.error = error
            raise
        self._at += len(data)
        return data


class Inflater:
    """The content of one chunk. `pieces` never raises for damage: `error` says afterwards why something is missing.

    `declared` is the inflated size that the chunk names, `most` is how much is made of it in all. `data` is what there is of the chunk
    when it is small enough to be in memory, else `region` reads it; `cut` says that the file ends inside of it.
    """

    def __init__(self, compression: str, declared: int, most: int, offset: int, data: memoryview | None, region: Region, cut: bool) -> None:
        self.compression = compression
        self.declared = declared
        self.most = min(declared, most)
        self.offset = offset
        self.data = data
        self.region = region
        self.cut = cut
        self.size = 0
        self.crc = 0
        self.error: ParseError | None = None

    def pieces(self, at_once: int) -> Iterator[bytes | memoryview]:
        """The content, at most `at_once` bytes a piece where the whole is not wanted at once. Raises OSError when storage fails."""
        for piece in self._stored() if self.compression == "" else self._inflated(at_once):
            self.size += len(piece)
            self.crc = isal_zlib.crc32(piece, self.crc)
            yield piece
        if self.error is None and self.size < self.declared:
            self.error = Truncated(f"chunk declares {self.declared} bytes and holds {self.size}", self.offset)

    def _stored(self) -> Iterator[bytes | memoryview]:
        if self.data is not None:
            yield self.data
            return
        while data := self.region.read(PIECE):
            yield data

    def _inflated(self, at_once: int) -> Iterator[bytes | memoryview]:
        codec = CODECS.get(self.compression)
        if codec is None:
            self.error = Unsupported(f"chunk compression {self.compression!r}", self.offset)
            return
        if codec == "zstd" and self.data is not None and self.most == self.declared <= at_once and not self.cut:
            # Only zstd fails when a chunk holds less than it declares; LZ4 would leave the rest of the buffer as it was.
            with contextlib.suppress(OSError):
                yield memoryview(pa.Codec(codec).decompress(self.data, self.declared))
                return
        yield from self._streamed(codec, at_once)

    def _open(self, codec: str) -> pa.CompressedInputStream:
        if self.data is not None:
            return pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(self.data)), codec)
        return pa.CompressedInputStream(pa.PythonFile(self.region.again(), mode="r"), codec)

    def _streamed(self, codec: str, at_once: int) -> Iterator[bytes]:
        """In large steps while all is well. What a step made before it met damage is lost, so that one is done again in small ones."""
        stream = self._open(codec)
        made = 0
        while True:
            step = min(at_once, self.most - made)
            try:
                piece = stream.read(step or 1)
            except OSError as error:
                self._check_storage()
                yield from self._before_damage(codec, made, step)
                kind = Truncated if self.cut else Corrupt
                self.error = kind(f"chunk cannot be inflated ({_first_line(error)}): what follows in it is lost", self.offset)
                return
            if not piece:
                return
            if not step:
                self.error = Corrupt(f"chunk inflates to more than {self.most} bytes: the rest is not read", self.offset)
                return
            made += len(piece)
            yield piece

    def _before_damage(self, codec: str, made: int, step: int) -> Iterator[bytes]:
        """What can be inflated behind the first `made` bytes, from a few packed bytes at a time."""
        region = self.region if self.data is None else Region(BytesSource(self.data), 0, len(self.data))
        stream = pa.CompressedInputStream(pa.PythonFile(region.again(_FEW), mode="r"), codec)
        found: list[bytes] = []
        with contextlib.suppress(OSError):
            while made:
                made -= len(stream.read(min(made, PIECE)))
            while step:
                piece = stream.read(min(_PART, step))
                if not piece:
                    break
                found.append(piece)
                step -= len(piece)
        self._check_storage()
        if found:
            yield b"".join(found)

    def _check_storage(self) -> None:
        if self.region.error is not None:
            raise self.region.error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")
