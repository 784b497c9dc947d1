"""ROS messages become columns: definitions of ROS 1 and 2, packed and CDR layouts, and messages that do not fit their definition."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest

from parsers.errors import Corrupt, ParseError, Unsupported
from parsers.limits import Limits
from parsers.topics.decoder import Decoded, MessageBatch, Schema, TextSpans, TopicDecoder
from parsers.topics.encodings import decoder_for
from parsers.topics.ros_idl import parse_idl
from parsers.topics.ros_schema import Field, parse_msg, short_name

Value = int | float | str
LINE = "=" * 80
LE = b"\0\x01\0\0"
BE = b"\0\0\0\0"


def decoder(definition: str, encoding: str = "ros1msg", name: str = "test/Root", limits: Limits | None = None) -> TopicDecoder:
    return decoder_for(Schema("ros1" if encoding == "ros1msg" else "cdr", encoding, name, definition.encode()), limits or Limits())


def batch(*messages: bytes) -> MessageBatch:
    length = np.array([len(one) for one in messages], np.int64)
    data = np.frombuffer(b"".join(messages), np.uint8)
    return MessageBatch(np.arange(len(messages), dtype=np.int64), data, np.cumsum(length) - length, length)


def table(one: TopicDecoder, rows: Decoded) -> list[dict[str, Value]]:
    """Each row as the values that it has."""
    found: list[dict[str, Value]] = [{} for _ in range(len(rows))]
    for signal, column, mask in zip(one.signals, rows.columns, rows.masks, strict=True):
        for row in range(len(rows)):
            if mask is not None and not mask[row]:
                continue
            if isinstance(column, TextSpans):
                start = int(column.offset[row])
                found[row][signal.name] = column.data[start : start + int(column.length[row])].tobytes().decode()
            else:
                assert column.dtype == np.dtype(signal.storage)
                found[row][signal.name] = column[row].item()
    return found


def read(one: TopicDecoder, *messages: bytes) -> list[dict[str, Value]]:
    if one.needs_sample:
        one.learn(batch(*messages))
    return table(one, one.decode(batch(*messages)))


def text(value: str, end: bytes = b"") -> bytes:
    data = value.encode() + end
    return struct.pack("<I", len(data)) + data


class TestDefinitions:
    def test_comments_constants_and_empty_lines_are_no_fields(self) -> None:
        found = parse_msg("# c\n\nuint8 A=1\nstring B = a # b\nfloat32 x # position\n", "a/B")
        assert found.types == {"a/B": (Field("x", "float32"),)}

    def test_names_are_relative_to_the_package_of_their_message(self) -> None:
        parts = ["other/One one", "MSG: other/One\nTwo two", "MSG: test/Two\nint8 wrong", "MSG: other/Two\nint16 right"]
        found = parse_msg(f"\n{LINE}\n".join(parts), "test/Root")
        assert found.types["other/One"] == (Field("two", "other/Two"),)

    def test_header_means_that_of_std_msgs_even_when_it_is_not_there(self) -> None:
        assert read(decoder("Header header"), struct.pack("<3I", 7, 5, 6) + text("map")) == [
            {"header.seq": 7, "header.stamp": 5_000_000_006, "header.frame_id": "map"}
        ]

    def test_defaults_and_bounds_of_ros_2_are_understood(self) -> None:
        found = parse_msg('int32 a 5\nstring<=10 b "x = y"\nfloat64[<=3] c\nstring<=4[2] d\nbyte e', "p/msg/T", ros2=True)
        fields = (Field("a", "int32"), Field("b", "string"), Field("c", "float64", 0), Field("d", "string", 2), Field("e", "uint8"))
        assert found.types == {"p/T": fields}

    @pytest.mark.parametrize("line", ["int32", "int32 ", "float64 9x", "int32[ x", "=== x", "int32[-1] x", "Unknown x", "a/Unknown x"])
    def test_a_line_that_is_no_field_is_refused(self, line: str) -> None:
        with pytest.raises(Corrupt):
            parse_msg(line, "a/B")

    def test_a_type_that_holds_itself_is_refused(self) -> None:
        with pytest.raises(Unsupported, match="contains itself"):
            decoder(f"Root[] children\n{LINE}\nMSG: test/Root\nint8 x")
        with pytest.raises(Unsupported, match="contains itself"):
            decoder(f"A a\n{LINE}\nMSG: test/A\nB b\n{LINE}\nMSG: test/B\nA a")

    def test_definitions_that_unfold_to_millions_of_fields_are_refused(self) -> None:
        levels = [f"MSG: test/T{i}\n" + "".join(f"T{i + 1} f{j}\n" for j in range(10)) for i in range(8)]
        with pytest.raises(Unsupported):
            decoder(f"\n{LINE}\n".join(["T0 x", *levels, "MSG: test/T8\nint8 x"]))

    def test_two_fields_of_one_name_are_refused(self) -> None:
        with pytest.raises(Corrupt):
            decoder("int8 x\nint16 x")

    def test_type_names_lose_their_middle_part(self) -> None:
        assert short_name("geometry_msgs/msg/Pose") == short_name("geometry_msgs::msg::Pose") == short_name("geometry_msgs/Pose")

    def test_random_bytes_as_a_definition_end_in_a_parse_error(self) -> None:
        rng = np.random.default_rng(3)
        words = [
            "int32",
            " x",
            "\n",
            LINE,
            "MSG: a/B",
            "[",
            "]",
            "struct",
            "{",
            "}",
            ";",
            "module",
            "sequence<",
            ">",
            "@",
            "enum",
            "\xff",
            "=",
        ]
        for encoding in ("ros1msg", "ros2msg", "ros2idl"):
            for _ in range(300):
                definition = "".join(words[i] for i in rng.integers(0, len(words), 30))
                with contextlib.suppress(ParseError):
                    decoder(definition, encoding)


class TestRos1:
    def test_every_type_is_read_packed_and_little_endian(self) -> None:
        names = ["bool", "byte", "char", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
        values = (1, -2, 200, -3, 250, -30000, 60000, -(2**31), 2**32 - 1, -(2**63), 2**64 - 1, 0.5, -1e300)
        definition = "".join(f"{name} f{i}\n" for i, name in enumerate(names)) + "time t\nduration d\nstring s"
        data = struct.pack("<bbBbBhHiIqQfd", *values) + struct.pack("<IIii", 4_000_000_000, 5, -2, 999_999_999) + text("né")
        expected = {f"f{i}": value for i, value in enumerate(values)}
        assert read(decoder(definition), data) == [expected | {"t": 4_000_000_000_000_000_005, "d": -1_000_000_001, "s": "né"}]

    def test_sequences_give_their_length_and_as_many_signals_as_the_longest(self) -> None:
        rows = read(decoder("float64[] v\nint8 end"), *(struct.pack(f"<I{n}db", n, *range(n), -1) for n in (2, 0, 3)))
        assert rows == [
            {"v.length": 2, "v[0]": 0.0, "v[1]": 1.0, "end": -1},
            {"v.length": 0, "end": -1},
            {"v.length": 3, "v[0]": 0.0, "v[1]": 1.0, "v[2]": 2.0, "end": -1},
        ]

    def test_what_has_more_elements_than_allowed_gives_only_its_length(self) -> None:
        one = decoder("float32[] ranges\nfloat64[36] covariance\nuint8 end")
        data = [struct.pack(f"<I{n}f36dB", n, *range(n), *range(36), 9) for n in (33, 32)]
        rows = read(one, *data)
        assert rows[0] == {"ranges.length": 33, "covariance.length": 36, "end": 9}
        assert rows[1]["ranges[31]"] == 31.0
        assert len(one.signals) == 32 + 3
        assert one.left_out == {"ranges": "arrays of more than 32 elements: only their length is kept"}

    def test_bytes_give_only_their_length(self) -> None:
        for kind in ("uint8", "byte", "char"):
            assert read(decoder(f"{kind}[] data\nint8 end"), text("ab") + b"\x05") == [{"data.length": 2, "end": 5}]

    def test_sequences_of_structs_in_structs_are_told_apart(self) -> None:
        definition = (
            f"Row[] rows\nint8 end\n{LINE}\nMSG: test/Row\nstring name\nCell[2] cells\nint16[] more\n{LINE}\nMSG: test/Cell\nint8 x"
        )

        def row(name: str, *more: int) -> bytes:
            return text(name) + bytes([1, 2]) + struct.pack(f"<I{len(more)}h", len(more), *more)

        one = decoder(definition)
        rows = read(one, struct.pack("<I", 2) + row("a", 7) + row("b", 8, 9) + b"\x03", struct.pack("<I", 0) + b"\x04")
        assert rows[0] == {
            "rows.length": 2,
            "rows[0].name": "a",
            "rows[0].cells[0].x": 1,
            "rows[0].cells[1].x": 2,
            "rows[0].more.length": 1,
            "rows[0].more[0]": 7,
            "rows[1].name": "b",
            "rows[1].cells[0].x": 1,
            "rows[1].cells[1].x": 2,
            "rows[1].more.length": 2,
            "rows[1].more[0]": 8,
            "rows[1].more[1]": 9,
            "end": 3,
        }
        assert rows[1] == {"rows.length": 0, "end": 4}

    def test_texts_that_are_not_there_lie_in_the_buffer_all_the_same(self) -> None:
        one = decoder("string[] names")
        data = batch(*(struct.pack("<I", n) + text("ab") * n for n in (3, 0) * 50))
        one.learn(data)
        for column in one.decode(data).columns[1:]:
            assert isinstance(column, TextSpans)
            assert column.offset.min() >= 0
            assert (column.offset + column.length).max() <= len(column.data)

    def test_elements_that_the_first_messages_do_not_have_are_listed(self) -> None:
        one = decoder("int8[] v")
        one.learn(batch(text("a")))
        rows = table(one, one.decode(batch(text("abc"))))
        assert rows == [{"v.length": 3, "v[0]": 97}]
        assert one.left_out == {"v[1] and further": "the first messages of the topic have no such elements"}

    def test_a_field_called_t_ns_is_renamed(self) -> None:
        assert read(decoder("int8 t_ns\nint8 t_ns_"), b"\1\2") == [{"t_ns__": 1, "t_ns_": 2}]

    def test_a_message_without_fields_is_a_row(self) -> None:
        one = decoder("")
        assert len(one.decode(batch(b"", b""))) == 2

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "end inside"),
            (text("abc")[:-1], "end inside"),
            (text("abc"), "end inside"),
            (text("abc") + struct.pack("<I", 2**32 - 1), "end inside"),
            (text("abc") + struct.pack("<I", 3) + b"1" * 23, "end inside"),
            (b"\xff\xff\xff\xff" + b"a" * 50, "end inside"),
            (text("abc") + struct.pack("<I", 0) + b"x", "longer"),
        ],
    )
    def test_a_message_that_does_not_fit_is_counted_and_leaves_its_neighbours(self, data: bytes, reason: str) -> None:
        one = decoder("string s\nfloat64[] v")
        good = text("ok") + struct.pack("<Id", 1, 2.5)
        assert read(one, good, data, good) == [{"s": "ok", "v.length": 1, "v[0]": 2.5}] * 2
        assert one.failed == 1
        assert reason in one.failed_reason

    def test_a_lying_number_of_structs_without_bytes_costs_no_time(self) -> None:
        one = decoder(f"Nothing[] v\n{LINE}\nMSG: test/Nothing\n")
        assert read(one, struct.pack("<I", 2**32 - 1)) == [{"v.length": 2**32 - 1}]

    def test_signals_end_at_the_limit_and_the_rest_is_listed(self) -> None:
        one = decoder("".join(f"int8 f{i}\n" for i in range(20)), limits=Limits(max_signals=5))
        assert read(one, bytes(range(20))) == [{f"f{i}": i for i in range(5)}]
        assert one.left_out == {"f5 and further": "more than 5 signals"}


class TestCdr:
    def test_values_are_aligned_from_behind_the_header(self) -> None:
        one = decoder("int8 a\nfloat64 b\nint16 c\nint32 d\nstring s\nuint64 e", "ros2msg")
        little = LE + struct.pack("<bxxxxxxxdhxxi", 1, 2.5, 3, 4) + text("xy", b"\0") + b"\0" * 1 + struct.pack("<Q", 9)
        big = BE + struct.pack(">bxxxxxxxdhxxi", 1, 2.5, 3, 4) + struct.pack(">I", 3) + b"xy\0" + b"\0" * 1 + struct.pack(">Q", 9)
        assert read(one, little, big) == [{"a": 1, "b": 2.5, "c": 3, "d": 4, "s": "xy", "e": 9}] * 2

    @pytest.mark.parametrize("kind", [0x07, 0x11])
    def test_version_2_aligns_to_4_bytes_and_measures_sequences_of_structs(self, kind: int) -> None:
        one = decoder(f"int8 a\nfloat64 b\nCell[] cells\nfloat32[] v\n{LINE}\nMSG: test/Cell\nint8 x\nint64 y", "ros2msg")
        cells = struct.pack("<bxxxqbxxxq", 1, 2, 3, 4)
        data = bytes([0, kind, 0, 0]) + struct.pack("<bxxxdII", 5, 6.5, 4 + len(cells), 2) + cells + struct.pack("<If", 1, 0.5)
        expected = {"a": 5, "b": 6.5, "cells.length": 2, "v.length": 1, "v[0]": 0.5}
        assert read(one, data) == [expected | {"cells[0].x": 1, "cells[0].y": 2, "cells[1].x": 3, "cells[1].y": 4}]

    @pytest.mark.parametrize(
        ("kind", "reason"), [(0x02, "PL_CDR"), (0x03, "PL_CDR"), (0x09, "D_CDR"), (0x15, "D_CDR"), (0x44, "no encoding")]
    )
    def test_layouts_that_are_not_read_are_named(self, kind: int, reason: str) -> None:
        one = decoder("int8 a", "ros2msg")
        assert read(one, bytes([0, kind, 0, 0, 1])) == []
        assert reason in one.failed_reason

    def test_an_empty_sequence_of_wide_values_takes_no_padding(self) -> None:
        one = decoder("float64[] v\nint8 a", "ros2msg")
        assert read(one, LE + struct.pack("<Ib", 0, 7), LE + struct.pack("<Ixxxxdb", 1, 2.5, 8)) == [
            {"v.length": 0, "a": 7},
            {"v.length": 1, "v[0]": 2.5, "a": 8},
        ]

    def test_times_are_signed_seconds_and_nanoseconds(self) -> None:
        one = decoder("builtin_interfaces/Time t\nbuiltin_interfaces/msg/Duration d", "ros2msg")
        assert read(one, LE + struct.pack("<iIiI", 1_700_000_000, 5, -1, 999_999_999)) == [{"t": 1_700_000_000_000_000_005, "d": -1}]
        assert [signal.unit for signal in one.signals] == ["ns", "ns"]

    def test_an_empty_message_has_one_byte(self) -> None:
        one = decoder(f"Nothing a\nint8 b\n{LINE}\nMSG: test/Nothing\n", "ros2msg")
        assert read(one, LE + b"\x01\x02") == [{"b": 2}]

    def test_texts_without_their_zero_and_of_no_bytes_are_read(self) -> None:
        one = decoder("string a", "ros2msg")
        assert read(one, LE + text("ab"), LE + struct.pack("<I", 0), LE + text("", b"\0")) == [{"a": "ab"}, {"a": ""}, {"a": ""}]

    def test_padding_behind_the_last_field_is_no_damage(self) -> None:
        one = decoder("int8 a", "ros2msg")
        assert len(read(one, LE + b"\1" + bytes(7), LE + b"\1" + bytes(8))) == 1

    def test_what_follows_a_wide_string_is_left_out(self) -> None:
        one = decoder("int8 a\nwstring w\nint8 b", "ros2msg")
        assert read(one, LE + b"\1" + bytes(30)) == [{"a": 1}]
        assert list(one.left_out) == ["w"]

    def test_a_sequence_of_what_cannot_be_read_gives_its_length(self) -> None:
        one = decoder(f"int8 a\nPart[] parts\nint8 b\n{LINE}\nMSG: test/Part\nint8 x\nwstring w", "ros2msg")
        assert read(one, LE + struct.pack("<bxxxI", 1, 2) + bytes(40)) == [{"a": 1, "parts.length": 2}]
        assert list(one.left_out) == ["parts[0].w", "parts"]


IDL = """
// a comment
#include "geometry_msgs/msg/Point.idl"
module geometry_msgs { module msg {
  @verbatim (language="comment", text="a struct { of points }")
  struct Point { double x; @unit(value="m") double y, z; };
}; };
================================================================================
IDL: test/msg/Root
module test { module msg {
  module Root_Constants { const uint8 SIZE = 2; };
  enum Kind { NONE, @value(5) ROAD, RAIL };
  typedef float pair[2];
  typedef sequence<long, 4> numbers;
  /* the
     message */
  @final struct Root {
    Kind kind;
    geometry_msgs::msg::Point points[2];
    pair offset;
    numbers list;
    sequence<string<8>> names;
    sequence<sequence<octet>> rows;
    boolean flag;
    unsigned long long big;
  };
}; };
"""


class TestServiceEvents:
    def test_a_call_is_read_by_the_definition_of_its_service(self) -> None:
        one = decoder("int64 a\n---\nint64 sum\nstring why", "ros2msg", "test/srv/Add_Event")
        info = struct.pack("<BxxxiI16sxxxxq", 1, 5, 6, b"g" * 16, 7)
        call, answer = struct.pack("<IxxxxqI", 1, 40, 0), struct.pack("<IIq", 0, 1, 42) + text("ok", b"\0")
        common = {"info.event_type": 1, "info.stamp": 5_000_000_006, "info.client_gid.length": 16, "info.sequence_number": 7}
        assert read(one, LE + info + call, LE + info + answer) == [
            common | {"request.length": 1, "request[0].a": 40, "response.length": 0},
            common | {"request.length": 0, "response.length": 1, "response[0].sum": 42, "response[0].why": "ok"},
        ]


class TestIdl:
    def test_a_struct_is_read_with_all_it_is_made_of(self) -> None:
        one = decoder(IDL, "ros2idl", "test/msg/Root")
        data = LE + struct.pack("<Ixxxx6d2fI2i", 5, 1, 2, 3, 4, 5, 6, 0.5, 1.5, 2, -1, -2)
        data += struct.pack("<I", 1) + text("ab", b"\0") + b"\0" + struct.pack("<II", 1, 3) + b"abc" + b"\x01"
        data += bytes(-(len(data) - 4) % 8) + struct.pack("<Q", 2**63)
        (row,) = read(one, data)
        assert one.failed == 0
        assert [row[f"points[{i}].{axis}"] for i in (0, 1) for axis in "xyz"] == [1, 2, 3, 4, 5, 6]
        assert [row[name] for name in ("kind", "offset[1]", "list.length", "list[1]", "names[0]", "rows.length", "rows[0].length")] == [
            5, 1.5, 2, -2, "ab", 1, 3,
        ]  # fmt: skip
        assert (row["flag"], row["big"]) == (1, 2**63)
        assert one.signals[0].choices == {0: "NONE", 5: "ROAD", 6: "RAIL"}

    def test_unions_and_optional_members_end_what_is_read(self) -> None:
        source = (
            "module m { union U switch (long) { case 1: long a; }; struct S { long a; U u; long b; }; struct O { @optional long a; }; };"
        )
        assert parse_idl(source, "m/S").types == {"m::S": (Field("a", "int32"), Field("u", "union"), Field("b", "int32"))}
        assert parse_idl(source, "m/O").types == {"m::O": (Field("a", "optional"),)}

    @pytest.mark.parametrize(
        "source",
        [
            "",
            "struct S { long a; }",
            "struct S { long a; ",
            "struct S { Unknown a; };",
            "typedef S S; struct T { S a; };",
            "}",
            "struct S { long a[0]; };",
            "struct S { long a[N]; };",
            "struct S : T { long a; };",
            "/* " * 1000,
            '"\\"' * 1000,
            "module a {" * 100,
            "struct S { " + "sequence<" * 100 + "long" + ">" * 100 + " a; };",
        ],
    )
    def test_what_is_no_idl_is_refused(self, source: str) -> None:
        with pytest.raises(ParseError):
            decoder(source, "ros2idl", "S" if "T {" not in source else "T")


def test_random_messages_never_read_beyond_their_end() -> None:
    rng = np.random.default_rng(11)
    definition = f"string s\nPart[] parts\nfloat64[3] v\nint32[] n\n{LINE}\nMSG: test/Part\nuint8[] data\nstring[] names\ntime t"
    for encoding in ("ros1msg", "ros2msg"):
        one = decoder(definition.replace("time t", "builtin_interfaces/Time t") if encoding == "ros2msg" else definition, encoding)
        messages = []
        for _ in range(2000):
            raw = rng.integers(0, 4, rng.integers(0, 120), dtype=np.uint8)
            raw[rng.random(len(raw)) < 0.7] = 0
            messages.append((LE if encoding == "ros2msg" else b"") + raw.tobytes())
        rows = read(one, *messages)
        assert len(rows) + one.failed == len(messages)
        for row in rows:
            assert len(str(row["s"])) <= 120
