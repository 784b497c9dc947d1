"""What the compressed chunks of a bag or record hold: bz2 and LZ4 frames, inflated no further than they declare."""

from __future__ import annotations

import bz2

import pyarrow as pa

from parsers.errors import Corrupt, Truncated, Unsupported

_PIECE = 64 * 1024


def inflate(
    compression: bytes, data: memoryview, declared: int, offset: int, cut: bool = False, exact: bool = True
) -> tuple[bytes | memoryview, str]:
    """What `data` holds, at most `declared` bytes of it, and a sentence about what is wrong with it or nothing.

    `compression` is `bz2` or `lz4` (a frame). Fewer bytes than `declared` are wrong only when it is `exact`. Of data that is `cut`, what
    comes before the cut is given. Raises Corrupt when it cannot be inflated, Truncated when it ends too early, Unsupported for another
    compression, all at `offset`.
    """
    content: bytes | memoryview
    if compression == b"bz2":
        content, ended = _bz2(data, declared, offset)
    elif compression == b"lz4":
        content, ended = _lz4(data, declared, offset, cut)
    else:
        raise Unsupported(f"chunk compression {compression[:40].decode('utf-8', 'replace')!r}", offset)
    if len(content) > declared:
        return content[:declared], f"chunk inflates to more than the {declared} bytes it declares: the rest is not read"
    if cut:
        return content, ""
    if not ended:
        raise Truncated("compressed data of a chunk ends too early", offset)
    if exact and len(content) < declared:
        return content, f"chunk inflates to {len(content)} bytes and declares {declared}"
    return content, ""


def _bz2(data: memoryview, declared: int, offset: int) -> tuple[bytes, bool]:
    inflater = bz2.BZ2Decompressor()
    try:
        content = inflater.decompress(data, declared + 1)
        while not inflater.eof and not inflater.needs_input and len(content) <= declared:
            more = inflater.decompress(b"", declared + 1 - len(content))
            if not more:
                break
            content += more
    except (OSError, ValueError, EOFError) as error:
        # Where in the chunk the damage lies cannot be told, so no message of it can be trusted.
        raise Corrupt(f"chunk cannot be inflated ({error}): its messages are lost", offset) from None
    return content, inflater.eof or len(content) > declared


def _lz4(data: memoryview, declared: int, offset: int, cut: bool) -> tuple[bytes | memoryview, bool]:
    # The stream stops where the frame does; Codec.decompress would believe the declared size and give bytes that nobody wrote.
    stream = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), "lz4")
    if not cut:
        try:
            return memoryview(stream.read_buffer(declared + 1)), True
        except OSError as error:
            raise Corrupt(f"chunk cannot be inflated ({error}): its messages are lost", offset) from None
    pieces: list[bytes] = []
    have = 0
    while have <= declared:
        try:
            piece = stream.read(min(_PIECE, declared + 1 - have))
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces), False
