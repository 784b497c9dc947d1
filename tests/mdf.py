"""Builds MDF 4 files block by block, so that a test says exactly which field is wrong.

A block is made with what it links to; `mdf(hd(...))` places every block that can be reached and fills in the links. Source of all layouts:
ASAM MDF 4.1 and 4.2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

START_NS = 1_700_000_000 * 10**9


@dataclass(eq=False)
class Block:
    """One block; `links` may be changed until the file is made, a number among them stands in the file as it is.

    `length` and `count` lie about the length of the block and the number of its links.
    """

    id: str
    links: list[Block | int | None]
    data: bytes
    length: int | None = None
    count: int | None = None
    offset: int = 0  # in the file that was made last


Link = Block | int | None

# --- text


def tx(text: str) -> Block:
    """A text."""
    return Block("TX", [], text.encode() + b"\0")


def md(xml: str) -> Block:
    """A text with markup."""
    return Block("MD", [], xml.encode() + b"\0")


def _text(text: str | Block | None) -> Block | None:
    return tx(text) if isinstance(text, str) else text


# --- the file


def mdf(head: Block, *, version: int = 410, unfinished: int = 0, custom: int = 0, last: Sequence[Block] = ()) -> bytes:
    """The file: its id block, `head`, and all that hangs on it; the blocks of `last` lie at the end, in their order."""
    order = [block for block in _reached(head) if not any(block is late for late in last)] + list(last)
    at = 64
    for block in order:
        at += -at % 8
        block.offset = at
        at += 24 + 8 * len(block.links) + len(block.data)
    magic = b"UnFinMF " if unfinished or custom else b"MDF     "
    # magic, version as text, program, 4 unused, u16 version, 30 unused, u16 standard and custom flags of unfinished files
    out = bytearray(struct.pack("<8s8s8s4xH30xHH", magic, f"{version / 100:.2f}".encode(), b"Argus", version, unfinished, custom))
    for block in order:
        out += bytes(block.offset - len(out))
        size = 24 + 8 * len(block.links) + len(block.data)
        length = size if block.length is None else block.length
        count = len(block.links) if block.count is None else block.count
        out += struct.pack("<4s4xQQ", b"##" + block.id.encode(), length, count)
        for link in block.links:
            out += struct.pack("<Q", link.offset if isinstance(link, Block) else link or 0)
        out += block.data
    return bytes(out)


def _reached(head: Block) -> list[Block]:
    """Blocks in order of their first mention."""
    found: dict[int, Block] = {}
    waiting = [head]
    while waiting:
        block = waiting.pop()
        if id(block) not in found:
            found[id(block)] = block
            waiting += [link for link in reversed(block.links) if isinstance(link, Block)]
    return list(found.values())


def _chain(blocks: Sequence[Block]) -> Block | None:
    """The first of the blocks, each linked to the next by its first link."""
    for block, following in pairwise(blocks):
        block.links[0] = following
    return blocks[0] if blocks else None


def hd(
    *groups: Block, start_ns: int = START_NS, zone: int = 0, summer: int = 0, flags: int = 0, comment: str | Block | None = None,
    history: Sequence[Block] = (), attachments: Sequence[Block] = (), events: Link = None,
) -> Block:  # fmt: skip
    """The header: u64 start, i16 minutes of zone and summer time, u8 flags (1 local, 2 offsets valid), class, flags, angle, way."""
    links: list[Link] = [_chain(groups), _chain(history), None, _chain(attachments), events, _text(comment)]
    return Block("HD", links, struct.pack("<QhhBBBxdd", start_ns, zone, summer, flags, 0, 0, 0.0, 0.0))


def fh(comment: str | Block, time_ns: int = START_NS) -> Block:
    """An entry of the file history."""
    return Block("FH", [None, _text(comment)], struct.pack("<QhhB3x", time_ns, 0, 0, 0))


def at(name: str, content: bytes, mime: str = "text/plain", *, flags: int = 1, original: int | None = None) -> Block:
    """An attachment: u16 flags (1 embedded, 2 compressed, 4 MD5), u16 creator, 4 unused, MD5, u64 original and embedded size."""
    size = len(content) if original is None else original
    return Block("AT", [None, tx(name), tx(mime), None], struct.pack("<HH4x16sQQ", flags, 0, bytes(16), size, len(content)) + content)


def dg(*groups: Block, data: Link = None, id_size: int = 0, comment: str | None = None) -> Block:
    """A data group: channel groups whose records lie mixed in `data`, each behind its id of `id_size` bytes."""
    return Block("DG", [None, _chain(groups), data, _text(comment)], struct.pack("<B7x", id_size))


def cg(
    *channels: Block, rows: int, size: int, invalid: int = 0, record_id: int = 0, flags: int = 0, name: str | None = None,
    source: Link = None, comment: str | None = None, master: Link = None,
) -> Block:  # fmt: skip
    """A channel group of `rows` records of `size` bytes and `invalid` bytes of invalidation bits.

    Flags: 1 VLSD, 2 bus event, 4 plain bus event, 8 remote master (`master` then is the link to its group).
    """
    links: list[Link] = [None, _chain(channels), _text(name), source, None, _text(comment)]
    if master is not None:
        links.append(master)
    return Block("CG", links, struct.pack("<QQHH4xII", record_id, rows, flags, 0, size, invalid))


def cn(
    name: str, kind: int = 0, *, sync: int = 0, type: int = 0, byte: int = 0, bit: int = 0, bits: int = 0, flags: int = 0,
    invalid: int = 0, conversion: Link = None, data: Link = None, unit: str | Block | None = None, inner: Link = None,
    source: Link = None, comment: str | Block | None = None,
) -> Block:  # fmt: skip
    """A channel; `inner` is its composition or array.

    Kinds: 0 value, 1 VLSD, 2 master, 3 virtual master, 4 synchronization, 5 MLSD, 6 virtual. Flags: 1 all invalid, 2 invalidation bit.
    """
    links: list[Link] = [None, inner, tx(name), source, conversion, data, _text(unit), _text(comment)]
    # u8 kind, sync, data type, bit offset; u32 byte offset, bits, flags, invalidation bit; u8 precision, u16 attachments, 6 limits
    return Block("CN", links, struct.pack("<BBBBIIIIBxH6d", kind, sync, type, bit, byte, bits, flags, invalid, 0, 0, *[0.0] * 6))


def time_cn(byte: int = 0, *, conversion: Link = None, type: int = 4, bits: int = 64) -> Block:
    """The master: time in seconds, as float64 at the beginning of a record unless told otherwise."""
    return cn("t", 2, sync=1, type=type, byte=byte, bits=bits, conversion=conversion, unit="s")


def si(name: str, *, path: str = "", kind: int = 2, bus: int = 2) -> Block:
    """A source: kinds 1 ECU, 2 bus, 3 I/O, 4 tool; bus 2 CAN, 3 LIN."""
    return Block("SI", [tx(name), tx(path), None], struct.pack("<BBB5x", kind, bus, 0))


def ca(*sizes: int, stride: int = 0, kind: int = 0, storage: int = 0, flags: int = 0, inner: Link = None, data: bytes = b"") -> Block:
    """An array: u8 kind, u8 storage, u16 dimensions, u32 flags, i32 distance of neighbours, u32 invalidation bits, u64 sizes."""
    head = struct.pack(f"<BBHIiI{len(sizes)}Q", kind, storage, len(sizes), flags, stride, 0, *sizes)
    return Block("CA", [inner], head + data)


# --- conversions


def cc(
    kind: int, values: Iterable[float] = (), refs: Sequence[str | Link] = (), *, unit: str | Block | None = None, name: str | None = None,
    limits: tuple[float, float] | None = None, masks: Sequence[int] = (), inverse: Link = None, refs_told: int | None = None,
    values_told: int | None = None,
) -> Block:  # fmt: skip
    """A conversion: u8 kind, u8 precision, u16 flags (2: limits valid), u16 references, u16 values, limits, values or u64 masks."""
    numbers = list(values)
    body = struct.pack(f"<{len(masks)}Q{len(numbers)}d", *masks, *numbers)
    links: list[Link] = [_text(name), _text(unit), None, inverse, *(_text(ref) if isinstance(ref, str) else ref for ref in refs)]
    low, high = limits or (0.0, 0.0)
    told = len(body) // 8 if values_told is None else values_told
    head = struct.pack("<BBHHHdd", kind, 0, 2 if limits else 0, len(refs) if refs_told is None else refs_told, told, low, high)
    return Block("CC", links, head + body)


# --- data


def dt(data: bytes, kind: str = "DT", *, length: int | None = None) -> Block:
    """Records (DT), values by columns (DV) with their invalidation bits (DI), or signal data (SD) as they are."""
    return Block(kind, [], data, length=length)


def dz(data: bytes, kind: str = "DT", *, columns: int = 0, declared: int | None = None, method: int | None = None) -> Block:
    """Deflated data; with `columns` the bytes of records of that many bytes are transposed first."""
    content = data
    if columns:
        whole = len(data) // columns * columns
        content = b"".join(data[i:whole:columns] for i in range(columns)) + data[whole:]
    packed = zlib.compress(content)
    size = len(data) if declared is None else declared
    # original block type, u8 method (0 deflate, 1 transposed), u32 columns, u64 original size, u64 size
    head = struct.pack("<2sBxIQQ", kind.encode(), (1 if columns else 0) if method is None else method, columns, size, len(packed))
    return Block("DZ", [], head + packed)


def dl(*parts: Link, sizes: Sequence[int] = (), equal: int | None = None, count: int | None = None, following: Link = None) -> Block:
    """A list of data blocks: u8 flags (1 equal length), u32 count, then the length or the offset of each part."""
    told = len(parts) if count is None else count
    if equal is not None:
        return Block("DL", [following, *parts], struct.pack("<B3xIQ", 1, told, equal))
    offsets = [sum(sizes[:i]) for i in range(len(parts))]
    return Block("DL", [following, *parts], struct.pack(f"<B3xI{len(offsets)}Q", 0, told, *offsets))


def hl(first: Link, method: int = 0) -> Block:
    """What stands before a list of deflated blocks: u16 flags, u8 method."""
    return Block("HL", [first], struct.pack("<HB5x", 0, method))


def ld(
    parts: Sequence[Link], rows: Sequence[int], invalid: Sequence[Link] = (), *, following: Link = None, equal: int | None = None
) -> Block:
    """A list of columns (MDF 4.2): u32 flags (1 equal, bit 31 invalidation bits), u32 count, the rows or the first row of each."""
    flags = (1 if equal is not None else 0) | (1 << 31 if invalid else 0)
    starts = [equal] if equal is not None else [sum(rows[:i]) for i in range(len(parts))]
    return Block("LD", [following, *parts, *invalid], struct.pack(f"<II{len(starts)}Q", flags, len(parts), *starts))


def vlsd(*values: bytes) -> tuple[bytes, list[int]]:
    """Signal data: each value behind its u32 length; and the offset of each."""
    offsets = [sum(4 + len(value) for value in values[:i]) for i in range(len(values))]
    return b"".join(struct.pack("<I", len(value)) + value for value in values), offsets
