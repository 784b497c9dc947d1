"""Builds ROS 1 bags and Apollo records byte by byte, damaged ones too, so that the readers are tested without other software."""

from __future__ import annotations

import bz2
import struct
from collections.abc import Iterable, Sequence

import pyarrow as pa

SIGNATURE = b"#ROSBAG V2.0\n"
SECOND = 10**9
T0 = 1_700_000_000 * SECOND

Message = tuple[int, int, bytes]  # connection, t_ns, data


def fields(**values: bytes) -> bytes:
    """The fields of a record's header, in the order given."""
    return b"".join(struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value for name, value in values.items())


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: str) -> bytes:
    """A ROS 1 string."""
    data = value.encode()
    return u32(len(data)) + data


def stamp(t_ns: int) -> bytes:
    """Time as bags and ROS 1 messages write it."""
    return struct.pack("<II", t_ns // SECOND, t_ns % SECOND)


def record(head: bytes, data: bytes = b"") -> bytes:
    return u32(len(head)) + head + u32(len(data)) + data


def connection(number: int, topic: str, kind: str, definition: str = "", **more: bytes) -> bytes:
    head = fields(op=b"\x07", conn=u32(number), topic=topic.encode())
    return record(head, fields(topic=topic.encode(), type=kind.encode(), md5sum=b"*", message_definition=definition.encode(), **more))


def message(number: int, t_ns: int, data: bytes) -> bytes:
    return record(fields(op=b"\x02", conn=u32(number), time=stamp(t_ns)), data)


def chunk(content: bytes, compression: str = "none", size: int | None = None) -> bytes:
    """A chunk record; `size` is what it declares to inflate to."""
    packed = {"bz2": bz2.compress, "lz4": lambda data: pa.Codec("lz4").compress(data, asbytes=True)}.get(compression, bytes)(content)
    head = fields(op=b"\x05", compression=compression.encode(), size=u32(len(content) if size is None else size))
    return record(head, packed)


def bag(
    chunks: Iterable[bytes],
    connections: Sequence[bytes] = (),
    counts: Sequence[dict[int, int]] = (),
    padding: int = 64,
    indexed: bool = True,
    **more: bytes,
) -> bytes:
    """A whole bag: bag header, chunks (or any records), then the index with `connections` and the message counts of each chunk."""
    body = b"".join(chunks)

    def header(position: int) -> bytes:
        head = fields(op=b"\x03", index_pos=u64(position), conn_count=u32(len(connections)), chunk_count=u32(len(counts)), **more)
        return record(head, b" " * padding)

    position = len(SIGNATURE) + len(header(0)) + len(body)
    infos = [
        record(
            fields(op=b"\x06", ver=u32(1), chunk_pos=u64(0), start_time=stamp(T0), end_time=stamp(T0), count=u32(len(one))),
            b"".join(u32(number) + u32(messages) for number, messages in one.items()),
        )
        for one in counts
    ]
    return SIGNATURE + header(position if indexed else 0) + body + (b"".join([*connections, *infos]) if indexed else b"")


def index(number: int, messages: int) -> bytes:
    """An index data record, as it stands behind a chunk."""
    return record(fields(op=b"\x04", ver=u32(1), conn=u32(number), count=u32(messages)), bytes(12 * messages))


# --- protobuf and Apollo records

HEADER_ROOM = 2048


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A protobuf field that is a number."""
    return varint(field << 3) + varint(value)


def block(field: int, value: bytes) -> bytes:
    """A protobuf field with a length."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def file_descriptor(name: str, package: str, message: str, members: dict[str, tuple[int, int]], imports: Iterable[str] = ()) -> bytes:
    """A FileDescriptorProto with one message; `members` are name -> (number, type of FieldDescriptorProto)."""
    declared = b"".join(
        block(2, block(1, member.encode()) + number(3, place) + number(4, 1) + number(5, kind)) for member, (place, kind) in members.items()
    )
    return (
        block(1, name.encode())
        + block(2, package.encode())
        + b"".join(block(3, one.encode()) for one in imports)
        + block(4, block(1, message.encode()) + declared)
    )


def proto_desc(descriptor: bytes, *dependencies: bytes) -> bytes:
    """Apollo's ProtoDesc: a descriptor and what it imports."""
    return block(1, descriptor) + b"".join(block(2, one) for one in dependencies)


def section(kind: int, content: bytes, size: int | None = None) -> bytes:
    return struct.pack("<iiq", kind, 0, len(content) if size is None else size) + content


def channel(name: str, kind: str, descriptor: bytes) -> bytes:
    return section(4, block(1, name.encode()) + block(2, kind.encode()) + block(3, descriptor))


def single(name: str, t_ns: int, content: bytes) -> bytes:
    """A message in a chunk body."""
    return block(1, block(1, name.encode()) + number(2, t_ns) + block(3, content))


def chunk_header(messages: int) -> bytes:
    return section(1, number(1, T0) + number(2, T0 + SECOND) + number(3, messages) + number(4, 0))


def apollo(sections: Iterable[bytes], messages: int, complete: bool = True, index_content: bytes = b"") -> bytes:
    """A whole record: header, the sections, and an index when it is complete."""
    body = b"".join(sections)
    position = 16 + HEADER_ROOM + len(body) if complete else 0
    head = number(1, 1) + number(2, 0) + number(3, 0) + number(6, position) + number(11, messages) + number(13, int(complete))
    header = section(0, head).ljust(16 + HEADER_ROOM, b"\0")
    return header + body + (section(3, index_content or block(1, number(1, 4))) if complete else b"")
