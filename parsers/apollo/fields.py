"""The few protobuf messages that a record is made of, read by hand within bounds: header, channel, descriptors."""

from __future__ import annotations

from collections.abc import Iterator

MAX_FIELDS = 10_000
MAX_DESCRIPTORS = 2000
MAX_DEPTH = 64


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an int, or the bytes of a field with a length. What is not well formed ends it with ValueError.

    Source: protobuf.dev, encoding.
    """
    at = 0
    for _ in range(MAX_FIELDS):
        if at == len(data):
            return
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if length > len(data) - at:
            raise ValueError(f"a field of {length} bytes, {len(data) - at} are there")
        yield number, data[at : at + length]
        at += length
    raise ValueError(f"more than {MAX_FIELDS} fields")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + 10]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + shift // 7
    raise ValueError("a number that does not end")


def numbers(data: memoryview) -> dict[int, int]:
    """The fields of a message that has nothing but numbers; a text field is left out. Raises ValueError."""
    return {number: value for number, value in fields(data) if isinstance(value, int)}


def descriptor_set(proto_desc: memoryview) -> bytes:
    """A serialised FileDescriptorSet of a ProtoDesc: `bytes desc = 1` (a FileDescriptorProto), `repeated ProtoDesc dependencies = 2`.

    Dependencies come before what needs them, each file once. Raises ValueError for what is not well formed or too deep.
    """
    found: dict[bytes, None] = {}
    # (ProtoDesc, depth, whether its dependencies are done): a walk without recursion, as the depth is the file's
    waiting: list[tuple[memoryview, int, bool]] = [(proto_desc, 0, False)]
    seen = 0
    while waiting:
        data, depth, done = waiting.pop()
        if done:
            found.setdefault(bytes(data))
            continue
        seen += 1
        if depth > MAX_DEPTH or seen > 4 * MAX_DESCRIPTORS or len(found) > MAX_DESCRIPTORS:
            raise ValueError("descriptors nested too deeply, or too many")
        inner: list[tuple[memoryview, int, bool]] = []
        for number, value in fields(data):
            if isinstance(value, int):
                continue
            if number == 1:
                waiting.append((value, depth, True))
            elif number == 2:
                inner.append((value, depth + 1, False))
        waiting += reversed(inner)
    return b"".join(b"\x0a" + _length(len(one)) + one for one in found)


def _length(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
