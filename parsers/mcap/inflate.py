"""What a chunk holds, in pieces of bounded size: zstd, LZ4 frames or stored; a damaged chunk gives what is there before the damage."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import pyarrow as pa
from isal import isal_zlib

from parsers.errors import Corrupt, ParseError, Truncated, Unsupported
from parsers.limits import MIB
from parsers.source import Source

PIECE = 4 * MIB
CODECS = {"zstd": "zstd", "lz4": "lz4"}
_SMALL = 1024


class Region(io.RawIOBase):
    """Some bytes of a source as a file that is read from begin to end."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._source = source
        self._begin = self._at = offset
        self._end = offset + length
        self.error: OSError | None = None

    def again(self) -> Region:
        """The same, from its begin."""
        self._at = self._begin
        return self

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; `error` keeps what the storage raised, for pyarrow does not tell it from damage."""
        size = min(self._end - self._at, PIECE if size < 0 else size)
        try:
            data = bytes(self._source.read_at(self._at, size))
        except OSError as error:
            self.error = error
            raise
        self._at += len(data)
        return data


class Inflater:
    """The content of one chunk. `pieces` never raises for damage: `error` says afterwards why something is missing.

    `declared` is the inflated size that the chunk names; no more is made. `data` is what there is of the chunk when it is small enough to
    be in memory, else `region` reads it.
    """

    def __init__(self, compression: str, declared: int, offset: int, data: memoryview | None, region: Region, cut: bool) -> None:
        self.compression = compression
        self.declared = declared
        self.offset = offset
        self.data = data
        self.region = region
        self.cut = cut
        self.size = 0
        self.crc = 0
        self.error: ParseError | None = None

    def pieces(self, most: int) -> Iterator[bytes | memoryview]:
        """The content, at most `most` bytes at once where the whole is not wanted at once. Raises OSError when storage fails."""
        for piece in self._stored() if self.compression == "" else self._inflated(most):
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

    def _inflated(self, most: int) -> Iterator[bytes | memoryview]:
        codec = CODECS.get(self.compression)
        if codec is None:
            self.error = Unsupported(f"chunk compression {self.compression!r}", self.offset)
            return
        if codec == "zstd" and self.data is not None and self.declared <= most and not self.cut:
            # Only zstd fails when a chunk holds less than it declares; LZ4 would leave the rest of the buffer as it was.
            with contextlib.suppress(OSError):
                yield memoryview(pa.Codec(codec).decompress(self.data, self.declared))
                return
        yield from self._streamed(codec, most)

    def _open(self, codec: str) -> pa.CompressedInputStream:
        if self.data is not None:
            return pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(self.data)), codec)
        return pa.CompressedInputStream(pa.PythonFile(self.region.again(), mode="r"), codec)

    def _streamed(self, codec: str, most: int) -> Iterator[bytes]:
        """In large steps while all is well. A step that meets damage gives nothing, so it is done again in small ones."""
        stream = self._open(codec)
        made = 0
        while True:
            step = min(most, self.declared - made) or 1
            try:
                piece = stream.read(step)
            except OSError as error:
                self._check_storage()
                yield from self._before_damage(codec, made, step)
                kind = Truncated if self.cut else Corrupt
                self.error = kind(f"chunk cannot be inflated ({_first_line(error)}): what follows in it is lost", self.offset)
                return
            if not piece:
                return
            if made == self.declared:
                self.error = Corrupt(
                    f"chunk inflates to more than the {self.declared} bytes it declares: the rest is not read", self.offset
                )
                return
            made += len(piece)
            yield piece

    def _before_damage(self, codec: str, made: int, step: int) -> Iterator[bytes]:
        """What can be inflated behind the first `made` bytes."""
        stream = self._open(codec)
        found: list[bytes] = []
        with contextlib.suppress(OSError):
            while made:
                made -= len(stream.read(min(made, PIECE)))
            while step:
                piece = stream.read(min(_SMALL, step))
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
