"""Protobuf messages: every field type, presence, arrays, and wire data that is damaged; the official library writes the messages."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2
from google.protobuf.message import Message

from parsers.errors import Corrupt, ParseError, Unsupported
from parsers.limits import Limits
from parsers.topics.decoder import Schema, TopicDecoder
from parsers.topics.protobuf import protobuf_decoder
from tests.parsers.test_topics_json import batch, table

F = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "double": F.TYPE_DOUBLE,
    "float": F.TYPE_FLOAT,
    "int64": F.TYPE_INT64,
    "uint64": F.TYPE_UINT64,
    "int32": F.TYPE_INT32,
    "fixed64": F.TYPE_FIXED64,
    "fixed32": F.TYPE_FIXED32,
    "bool": F.TYPE_BOOL,
    "string": F.TYPE_STRING,
    "bytes": F.TYPE_BYTES,
    "uint32": F.TYPE_UINT32,
    "enum": F.TYPE_ENUM,
    "sfixed32": F.TYPE_SFIXED32,
    "sfixed64": F.TYPE_SFIXED64,
    "sint32": F.TYPE_SINT32,
    "sint64": F.TYPE_SINT64,
}
STORAGE = {
    "double": "float64",
    "float": "float64",
    "bool": "uint8",
    "string": "int32",
    "bytes": "int64",
    "enum": "int32",
    "fixed64": "uint64",
    "fixed32": "uint32",
    "sfixed32": "int32",
    "sfixed64": "int64",
    "sint32": "int32",
    "sint64": "int64",
}


def fill(message: descriptor_pb2.DescriptorProto, inner: str = "") -> None:
    """Every scalar type once and repeated, an optional field, a oneof, a time; and messages of type `inner`."""
    for number, (name, kind) in enumerate(SCALARS.items(), 1):
        for field in (
            message.field.add(name=name, number=number, type=kind, label=F.LABEL_OPTIONAL),
            message.field.add(name=f"{name}s", number=number + 100, type=kind, label=F.LABEL_REPEATED),
        ):
            if name == "enum":
                field.type_name = ".t.Gear"
    message.oneof_decl.add(name="choice")
    message.oneof_decl.add(name="_maybe")
    message.field.add(name="maybe", number=2040, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL, proto3_optional=True, oneof_index=1)
    message.field.add(name="left", number=41, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL, oneof_index=0)
    message.field.add(name="right", number=42, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL, oneof_index=0)
    message.field.add(name="at", number=43, type=F.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp", label=F.LABEL_OPTIONAL)
    if inner:
        message.field.add(name="one", number=44, type=F.TYPE_MESSAGE, type_name=inner, label=F.LABEL_OPTIONAL)
        message.field.add(name="many", number=45, type=F.TYPE_MESSAGE, type_name=inner, label=F.LABEL_REPEATED)
        message.field.add(name="either", number=46, type=F.TYPE_MESSAGE, type_name=inner, label=F.LABEL_OPTIONAL, oneof_index=0)


def make_file(syntax: str = "proto3") -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax=syntax, dependency=["google/protobuf/timestamp.proto"])
    gear = file.enum_type.add(name="Gear")
    gear.value.add(name="PARK", number=0)
    gear.value.add(name="DRIVE", number=5)
    if syntax == "proto3":
        fill(file.message_type.add(name="Inner"))
        fill(file.message_type.add(name="Outer"), ".t.Inner")
    else:
        message = file.message_type.add(name="Old")
        message.field.add(name="a", number=1, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL, default_value="7")
        message.field.add(name="l", number=2, type=F.TYPE_INT32, label=F.LABEL_REPEATED)
    return file


def proto(module: Any) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def schema_of(*files: descriptor_pb2.FileDescriptorProto, name: str = "t.Outer") -> Schema:
    return Schema("protobuf", "protobuf", name, descriptor_pb2.FileDescriptorSet(file=files).SerializeToString())


def class_of(*files: descriptor_pb2.FileDescriptorProto, name: str = "t.Outer") -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


FILES = (proto(timestamp_pb2), make_file())
Outer = class_of(*FILES)


def value(kind: str, rng: random.Random) -> Any:
    if kind == "double":
        return rng.uniform(-1e9, 1e9)
    if kind == "float":
        return struct.unpack("<f", struct.pack("<f", rng.uniform(-100, 100)))[0]
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "string":
        return rng.choice(["", "a", "hé", "long " * 10])
    if kind == "bytes":
        return rng.randbytes(rng.randrange(5))
    if kind == "enum":
        return rng.choice([0, 5, 7])
    bits = 64 if kind.endswith("64") else 32
    return rng.randrange(1 << bits) if kind[0] == "u" or kind.startswith("fixed") else rng.randrange(-(1 << bits - 1), 1 << bits - 1)


def random_message(message: Any, rng: random.Random, nested: bool) -> Any:
    for kind in SCALARS:
        if rng.random() < 0.5:
            setattr(message, kind, value(kind, rng))
        getattr(message, f"{kind}s").extend([value(kind, rng) for _ in range(rng.randrange(4))])
    if rng.random() < 0.5:
        message.maybe = rng.choice([0, 7])
    choice = rng.randrange(4)
    if choice == 1:
        message.left = rng.choice([0, 3])
    elif choice == 2:
        message.right = "x"
    if rng.random() < 0.5:
        message.at.seconds, message.at.nanos = rng.randrange(-(10**9), 2 * 10**9), rng.randrange(10**9)
    if nested:
        if choice == 3:
            random_message(message.either, rng, False)
        if rng.random() < 0.5:
            random_message(message.one, rng, False)
        for _ in range(rng.randrange(3)):
            random_message(message.many.add(), rng, False)
    return message


def flat(message: Message, path: str = "") -> dict[str, Any]:
    """What the signals are to be, by the library's own reading."""
    out: dict[str, Any] = {}

    def take(found: Any, name: str, field: Any) -> None:
        if field.type == F.TYPE_BYTES:
            out[f"{name}.length"] = len(found)
        elif field.type != F.TYPE_MESSAGE:
            out[name] = found
        elif field.message_type.full_name == "google.protobuf.Timestamp":
            out[name] = found.seconds * 10**9 + found.nanos
        else:
            out.update(flat(found, f"{name}."))

    for field in message.DESCRIPTOR.fields:
        name = f"{path}{field.name}"
        found = getattr(message, field.name)
        if field.is_repeated:
            out[f"{name}.length"] = len(found)
            for number, element in enumerate(found):
                take(element, f"{name}[{number}]", field)
        elif not field.has_presence or message.HasField(field.name):
            take(found, name, field)
    return out


def read(schema: Schema, messages: list[bytes], sample: list[bytes] | None = None) -> tuple[list[dict[str, Any]], TopicDecoder]:
    decoder = protobuf_decoder(schema, Limits())
    if decoder.needs_sample:
        decoder.learn(batch(messages if sample is None else sample))
    return table(decoder, decoder.decode(batch(messages))), decoder


@pytest.mark.parametrize("seed", range(5))
def test_every_field_type_is_read_as_the_library_reads_it(seed: int) -> None:
    rng = random.Random(seed)
    messages = [random_message(Outer(), rng, True) for _ in range(100)]
    rows, decoder = read(schema_of(*FILES), [message.SerializeToString() for message in messages])
    assert rows == [flat(message) for message in messages]
    assert (decoder.failed, decoder.left_out) == (0, {})


def test_signals_have_the_storage_of_their_fields() -> None:
    _, decoder = read(schema_of(*FILES), [b""])
    found = {signal.name.removesuffix(".length"): signal for signal in decoder.signals if signal.name.split(".")[0] in SCALARS}
    for kind in SCALARS:
        assert found[kind].storage == STORAGE.get(kind, kind)
    assert found["enum"].choices == {0: "PARK", 5: "DRIVE"}
    assert next(signal for signal in decoder.signals if signal.name == "at").unit == "ns"


def test_an_empty_message_is_all_zeros_without_presence() -> None:
    rows, _ = read(schema_of(*FILES), [b""])
    assert rows == [flat(Outer())]
    assert rows[0]["int32"] == 0
    assert "maybe" not in rows[0]
    assert "one.int32" not in rows[0]


def test_fields_of_proto2_are_absent_unless_they_are_there() -> None:
    file = make_file("proto2")
    rows, _ = read(schema_of(FILES[0], file, name="t.Old"), [b"", b"\x08\x05", b"\x10\x01\x10\x02"])
    assert rows == [{"l.length": 0}, {"l.length": 0, "a": 5}, {"l.length": 2, "l[0]": 1, "l[1]": 2}]


def test_a_message_cut_or_changed_anywhere_is_a_row_or_is_counted() -> None:
    rng = random.Random(9)
    whole = [random_message(Outer(), rng, True).SerializeToString() for _ in range(20)]
    expected, _ = read(schema_of(*FILES), whole)
    bad: list[bytes] = []
    for message in whole[:5]:
        for at in range(0, len(message), 3):
            damaged = bytearray(message)
            damaged[at] = rng.randrange(256)
            bad += [bytes(damaged), message[:at]]
    mixed = [piece for pair in zip(bad, whole * (len(bad) // len(whole) + 1), strict=False) for piece in pair]
    decoder = protobuf_decoder(schema_of(*FILES), Limits())
    decoder.learn(batch(whole))
    rows = decoder.decode(batch(mixed))
    found = dict(zip(rows.t_ns.tolist(), table(decoder, rows), strict=True))
    assert decoder.failed == len(mixed) - len(rows)
    assert decoder.failed > 100
    for number in range(1, len(mixed), 2):
        assert found[number] == expected[(number // 2) % len(whole)], number


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x08" + b"\xff" * 11, "a number has more than ten bytes"),
        (b"\x00\x01", "a field has a number or a wire type that there is not"),
        (b"\xfe\x7f", "a field has a number or a wire type that there is not"),
        (b"\xd4\x06", "groups do not match"),
        (b"\xd3\x06" * 100, "groups do not match"),
        (b"\x4a\x05a", "a field reaches beyond the end of the message"),
        (b"\x4a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a field reaches beyond the end of the message"),
        (b"\x09\x00", "a field reaches beyond the end of the message"),
        ((b"\xc8\x02\x01" + b"\xd2\x02\x00") * 100, "fields that exclude each other take turns"),
    ],
)
def test_what_is_no_message_is_counted_with_the_reason(message: bytes, reason: str) -> None:
    rows, decoder = read(schema_of(*FILES), [b"", message, b""])
    assert len(rows) == 2
    assert (decoder.failed, decoder.failed_reason) == (1, reason)


def test_unknown_fields_and_groups_are_passed_over_and_counted() -> None:
    unknown = b"\xd8\x3e\x01" + b"\xd3\x3e\x08\x01\x1a\x02xx\x2b\x2c\xd4\x3e" + b"\x28\x07" + b"\x2a\x00"
    rows, decoder = read(schema_of(*FILES), [unknown])
    assert rows[0]["int32"] == 7
    assert decoder.left_out == {"(unknown fields)": "3 fields that the schema does not have, or has with another type"}


def test_packed_and_unpacked_elements_are_the_same() -> None:
    packed, unpacked = b"\xca\x06\x03\x01\x02\x03", b"\xc8\x06\x01\xc8\x06\x02\xc8\x06\x03"
    rows, _ = read(schema_of(*FILES), [packed, unpacked, packed + unpacked])
    assert rows[0] == rows[1]
    assert [rows[2][f"int32s[{i}]"] for i in range(6)] == [1, 2, 3, 1, 2, 3]


def test_elements_beyond_those_of_the_first_messages_are_counted() -> None:
    rows, decoder = read(schema_of(*FILES), [b"\xca\x06\x05\x01\x02\x03\x04\x05"], [b"\xca\x06\x02\x01\x02"])
    assert (rows[0]["int32s.length"], "int32s[2]" in rows[0]) == (5, False)
    assert decoder.left_out == {"(elements)": "3 elements beyond those of the first messages"}


def test_long_arrays_give_their_length_only() -> None:
    message = Outer(int32s=range(33), doubles=[0.5] * 40)
    rows, decoder = read(schema_of(*FILES), [message.SerializeToString()])
    assert (rows[0]["int32s.length"], rows[0]["doubles.length"]) == (33, 40)
    assert "int32s[0]" not in rows[0]
    assert set(decoder.left_out) == {"int32s", "doubles"}


def test_maps_groups_and_messages_in_themselves_are_listed() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="u.proto", package="u", syntax="proto3")
    message = file.message_type.add(name="M")
    entry = message.nested_type.add(name="MapEntry", options={"map_entry": True})
    entry.field.add(name="key", number=1, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
    message.field.add(name="map", number=1, type=F.TYPE_MESSAGE, type_name=".u.M.MapEntry", label=F.LABEL_REPEATED)
    message.field.add(name="self", number=2, type=F.TYPE_MESSAGE, type_name=".u.M", label=F.LABEL_OPTIONAL)
    message.field.add(name="gone", number=3, type=F.TYPE_MESSAGE, type_name=".u.Gone", label=F.LABEL_OPTIONAL)
    message.field.add(name="group", number=4, type=F.TYPE_GROUP, type_name=".u.M", label=F.LABEL_OPTIONAL)
    message.field.add(name="v", number=5, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
    rows, decoder = read(schema_of(file, name="u.M"), [b"\x0a\x05\x0a\x01k\x10\x01\x12\x02\x28\x01\x28\x09"])
    assert rows == [{"v": 9}]
    assert decoder.left_out == {
        "map": "a map",
        "self": "u.M contains itself",
        "gone": "the schema does not have its type u.Gone",
        "group": "a group",
    }


def test_editions_say_which_fields_have_presence() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="e.proto", package="e", syntax="editions", edition=descriptor_pb2.EDITION_2023)
    message = file.message_type.add(name="M")
    message.field.add(name="a", number=1, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
    implicit = message.field.add(name="b", number=2, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
    implicit.options.features.field_presence = descriptor_pb2.FeatureSet.IMPLICIT
    rows, _ = read(schema_of(file, name="e.M"), [b""])
    assert rows == [{"b": 0}]


def test_a_schema_of_endless_types_stays_within_the_limits() -> None:
    _, decoder = read(schema_of(proto(struct_pb2), name="google.protobuf.Struct"), [b""])
    assert decoder.signals == []
    file = descriptor_pb2.FileDescriptorProto(name="w.proto", package="w", syntax="proto3")
    for level in range(12):
        message = file.message_type.add(name=f"L{level}")
        for number in range(1, 9):
            field = message.field.add(
                name=f"f{number}", number=number, type=F.TYPE_MESSAGE if level < 11 else F.TYPE_INT32, label=F.LABEL_OPTIONAL
            )
            if level < 11:
                field.type_name = f".w.L{level + 1}"
    _, decoder = read(schema_of(file, name="w.L0"), [b""])
    assert len(decoder.signals) <= Limits().max_signals
    assert "the message has too many fields" in decoder.left_out.values()


def test_a_broken_schema_is_refused_with_a_reason() -> None:
    for schema, error in (
        (Schema("protobuf", "protobuf", "t.Outer", b"\xff\xff"), Corrupt),
        (schema_of(*FILES, name="t.Missing"), Corrupt),
        (Schema("protobuf", "", "t.Outer", b""), Unsupported),
    ):
        with pytest.raises(error):
            protobuf_decoder(schema, Limits())


def test_damaged_schemas_never_crash() -> None:
    rng = random.Random(11)
    data = schema_of(*FILES).data
    message = random_message(Outer(), rng, True).SerializeToString()
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read(Schema("protobuf", "protobuf", "t.Outer", bytes(damaged)), [message])
        except ParseError:
            continue
