"""JSON messages: kinds of values, what a schema adds, what comes late, and everything that is not JSON."""

from __future__ import annotations

import json
import math
import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsers.topics._jsontext import parse_number

from parsers.limits import Limits
from parsers.topics.decoder import Decoded, MessageBatch, Schema, TextSpans
from parsers.topics.json import JsonDecoder


def batch(messages: list[bytes]) -> MessageBatch:
    length = np.array([len(message) for message in messages], np.int64)
    offset = np.cumsum(length) - length
    return MessageBatch(np.arange(len(messages), dtype=np.int64), np.frombuffer(b"".join(messages), np.uint8), offset, length)


def table(decoder: Any, rows: Decoded) -> list[dict[str, Any]]:
    """One dict of the values that are there for each row."""
    out: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for signal, column, mask in zip(decoder.signals, rows.columns, rows.masks, strict=True):
        if isinstance(column, TextSpans):
            values: list[Any] = [
                column.data[a : a + n].tobytes().decode("utf-8", "replace") for a, n in zip(column.offset, column.length, strict=True)
            ]
        else:
            assert column.dtype == np.dtype(signal.storage)
            values = column.tolist()
        for row, value in enumerate(values):
            if mask is None or mask[row]:
                out[row][signal.name] = value
    return out


def read(
    first: list[bytes], later: list[bytes] | None = None, schema: Any = None, limits: Limits | None = None
) -> tuple[list[dict[str, Any]], JsonDecoder]:
    """The rows of all messages; the signals are learned from `first`."""
    data = b"" if schema is None else schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    decoder = JsonDecoder(Schema("json", "jsonschema" if data else "", "", data), limits or Limits())
    assert decoder.needs_sample
    decoder.learn(batch(first))
    return table(decoder, decoder.decode(batch(first + (later or [])))), decoder


def storages(decoder: JsonDecoder) -> dict[str, str]:
    return {signal.name: signal.storage for signal in decoder.signals}


# --- kinds of values


def test_scalars_objects_and_arrays_become_signals() -> None:
    rows, decoder = read([b' {"a": 1, "b": {"x": -1.5e2, "deep": {"y": true}}, "l": [1, 2], "o": [{"k": 3}], "s": "text", "n": null} '])
    assert rows == [{"a": 1, "b.x": -150, "b.deep.y": 1, "l.length": 2, "l[0]": 1, "l[1]": 2, "o.length": 1, "o[0].k": 3, "s": "text"}]
    assert storages(decoder) == {
        "a": "float64",
        "b.x": "float64",
        "b.deep.y": "uint8",
        "l.length": "int64",
        "l[0]": "float64",
        "l[1]": "float64",
        "o.length": "int64",
        "o[0].k": "float64",
        "s": "int32",
    }
    assert decoder.left_out == {}


def test_whole_numbers_may_become_fractions() -> None:
    rows, _ = read([b'{"v":1}'], [b'{"v":1.5}'])
    assert rows == [{"v": 1.0}, {"v": 1.5}]


def test_whole_numbers_that_float64_would_round_are_int64() -> None:
    rows, decoder = read([b'{"t":1740566235448000001}'], [b'{"t":-9223372036854775807}', b'{"t":9223372036854775808}', b'{"t":1.5}'])
    assert storages(decoder) == {"t": "int64"}
    assert rows == [{"t": 1740566235448000001}, {"t": -9223372036854775807}, {}, {}]
    assert decoder.left_out == {"(values)": "2 values do not fit the type of their signal"}


def test_numbers_beyond_int64_are_float64() -> None:
    rows, decoder = read([b'{"t":18446744073709551616}', b'{"t":123456789012345678}'])
    assert storages(decoder) == {"t": "float64"}
    assert rows == [{"t": 2.0**64}, {"t": 123456789012345678.0}]


def test_seconds_and_nanoseconds_become_one_time() -> None:
    first = [b'{"stamp":{"sec":5,"nsec":7}}', b'{"stamp":{"nanosec":1,"sec":2}}']
    rows, decoder = read(first[:1], [b'{"stamp":{"nsec":1}}', b'{"stamp":{"sec":-1,"nsec":999999999}}', b'{"stamp":{"sec":1e12,"nsec":0}}'])
    assert rows == [{"stamp": 5_000_000_007}, {}, {"stamp": -1}, {}]
    assert decoder.signals[0].unit == "ns"
    rows, _ = read(first[1:])
    assert rows == [{"stamp": 2_000_000_001}]


@pytest.mark.parametrize("text", ["é", "\U0001f600", 'quote " and \\ and /', "\b\f\n\r\t", "\u0000", "", "x" * 900])
def test_texts_are_unescaped(text: str) -> None:
    for message in (json.dumps({"s": text}), json.dumps({"s": text}, ensure_ascii=False)):
        rows, _ = read([b'{"s":"start"}'], [message.encode()])
        assert rows[1] == {"s": text}


def test_half_a_surrogate_pair_is_replaced() -> None:
    rows, _ = read([rb'{"s":"\ud83d"}', rb'{"s":"\ude00\ud83dx"}'])
    assert rows == [{"s": "\ufffd"}, {"s": "\ufffd\ufffdx"}]


def test_a_null_or_missing_key_has_no_value() -> None:
    rows, _ = read([b'{"a":1,"b":2}'], [b'{"a":null}', b"{}"])
    assert rows[1:] == [{}, {}]


def test_the_last_of_a_repeated_key_counts() -> None:
    rows, _ = read([b'{"a":{"x":1,"y":2},"l":[1,2]}'], [b'{"a":{"x":1,"y":2},"a":{"y":3},"l":[1,2],"l":[7]}', b'{"a":{"x":1},"a":null}'])
    assert rows[1] == {"a.y": 3, "l.length": 1, "l[0]": 7}
    assert rows[2] == {}


def test_keys_keep_their_escapes_apart() -> None:
    rows, _ = read([rb'{"a\"b":1,"\u0061":2,"c\\":3}'], [rb'{"a":5,"c\\":6,"a\"b":7}'])
    assert rows == [{'a"b': 1, "a": 2, "c\\": 3}, {"a": 5, "c\\": 6, 'a"b': 7}]


def test_names_are_unique_and_never_that_of_time() -> None:
    rows, decoder = read([b'{"a.b":1,"a":{"b":2},"t_ns":3,"l[0]":4,"l":[5],"":6}'])
    names = [signal.name for signal in decoder.signals]
    assert len(set(names)) == len(names)
    assert "t_ns" not in names
    assert sorted(rows[0].values()) == [1, 1, 2, 3, 4, 5, 6]


def test_a_message_may_be_a_number_or_an_array() -> None:
    assert read([b"1.5", b"true", b"null"])[0] == [{"value": 1.5}, {"value": 1}, {}]
    assert read([b"[1,[2]]"])[0] == [{"value.length": 2, "value[0]": 1, "value[1].length": 1, "value[1][0]": 2}]


def test_not_a_number_and_infinity_are_read_as_python_writes_them() -> None:
    rows, _ = read([json.dumps({"a": math.nan, "b": math.inf, "c": -math.inf}).encode()])
    assert math.isnan(rows[0]["a"])
    assert (rows[0]["b"], rows[0]["c"]) == (math.inf, -math.inf)


# --- bounds


def test_a_long_array_gives_its_length_only() -> None:
    rows, decoder = read([json.dumps({"l": list(range(33)), "m": list(range(32))}).encode()])
    assert rows[0]["l.length"] == 33
    assert "l[0]" not in rows[0]
    assert rows[0]["m[31]"] == 31
    assert decoder.left_out == {"l": "arrays of more than 32 elements: only their length is kept"}


def test_what_comes_after_the_first_messages_is_counted() -> None:
    rows, decoder = read([b'{"a":1,"l":[1]}'], [b'{"a":"text","l":[1,2,3],"new":5,"o":{"p":1}}', b'{"new":6}'])
    assert rows[1] == {"l.length": 3, "l[0]": 1}
    assert decoder.left_out == {
        "l": "2 elements beyond the 1 of the first messages",
        "new": "2 values of a kind, or under a key, that the first messages do not have",
        "o": "1 values of a kind, or under a key, that the first messages do not have",
        "(values)": "1 values do not fit the type of their signal",
    }


def test_elements_of_arrays_that_were_empty_first_are_counted() -> None:
    rows, decoder = read([b'{"l":[]}'], [b'{"l":[1,2]}'])
    assert rows == [{"l.length": 0}, {"l.length": 2}]
    assert decoder.left_out == {"l": "2 elements beyond the 0 of the first messages"}


def test_binary_data_as_text_is_left_out() -> None:
    rows, decoder = read([json.dumps({"data": "QUJD" * 300, "note": "some words " * 200}).encode()])
    assert list(rows[0]) == ["note"]
    assert decoder.left_out == {"data": "binary data as text"}
    rows, _ = read([json.dumps({"data": "QUJD" * 300}).encode(), b'{"data":"short"}'])
    assert rows[1] == {"data": "short"}


def test_more_signals_than_allowed_are_left_out() -> None:
    rows, decoder = read([json.dumps({str(i): i for i in range(50)}).encode()], limits=Limits(max_signals=20))
    assert len(rows[0]) == 20
    assert decoder.left_out == {"further fields": "more than 20 signals"}


def test_deep_nesting_is_left_out_or_refused_without_harm() -> None:
    _, decoder = read([b'{"a":' * 40 + b"1" + b"}" * 40])
    assert "nested too deeply" in decoder.left_out.values()
    rows, decoder = read([b'{"a":1}'], [b'{"b":' + b"[" * 100_000, b'{"b":' + b"[" * 900 + b"]" * 900 + b"}"])
    assert (len(rows), decoder.failed, decoder.failed_reason) == (2, 1, "nested too deeply")


@pytest.mark.parametrize(
    "bad",
    [
        *[b"", b" ", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,}', b'{"a":01}', b'{"a":+1}', b'{"a":1.}', b'{"a":.5}', b'{"a":1e}'],
        *[b'{"a" 1}', b"{'a':1}", b'{"a":tru}', b'{"a":1}}', b'{"a":1} x', b'{"a":"\n"}', rb'{"a":"\x"}', rb'{"a":"\u12g4"}', b'{"a":"'],
        *[b"nul", b"\xff", b"[1,", b'{"z":[1}', b'{"z":}', b'{"z":"'],
    ],
)  # fmt: skip
def test_what_is_not_json_gives_no_row_and_leaves_no_trace(bad: bytes) -> None:
    rows, decoder = read([b'{"a":"x","b":1}'], [b'{"b":2,"a":"y"}', bad, b'{"a":"z"}'])
    assert rows == [{"a": "x", "b": 1}, {"b": 2, "a": "y"}, {"a": "z"}]
    assert decoder.failed == 1
    assert decoder.failed_reason == "not JSON"


def test_keys_that_take_turns_end_a_message_instead_of_all_time() -> None:
    rows, decoder = read([json.dumps({"a": {str(i): i for i in range(1000)}}).encode()], [b"{" + b'"a":{"1":1},' * 10_000 + b'"a":1}'])
    assert len(rows) == 1
    assert decoder.failed_reason == "repeats its keys too often"


def test_a_byte_order_mark_and_trailing_zeros_are_no_harm() -> None:
    assert read([b'\xef\xbb\xbf{"a":1}\n\0'])[0] == [{"a": 1}]


# --- the schema

SCHEMA = {
    "type": "object",
    "properties": {
        "i": {"type": "integer"},
        "n": {"type": ["number", "null"]},
        "s": {"type": "string"},
        "b": {"type": "string", "contentEncoding": "base64"},
        "p": {"$ref": "#/definitions/point"},
        "l": {"type": "array", "items": {"$ref": "#/definitions/point"}},
        "c": {"oneOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "definitions": {"point": {"type": "object", "properties": {"x": {"type": "integer"}, "next": {"$ref": "#/definitions/point"}}}},
}


def test_a_schema_gives_signals_and_types_before_any_value() -> None:
    rows, decoder = read([b"{}"], [b'{"i":5,"n":2,"s":"t","b":"QUJD","p":{"x":3},"c":true}'], SCHEMA)
    assert storages(decoder) == {"i": "int64", "n": "float64", "s": "int32", "p.x": "int64", "l.length": "int64", "c": "uint8"}
    assert rows[1] == {"i": 5, "n": 2.0, "s": "t", "p.x": 3, "c": 1}


def test_elements_have_the_types_of_their_schema() -> None:
    _, decoder = read([b'{"l":[{"x":1},{"x":2}]}'], [], SCHEMA)
    assert storages(decoder)["l[1].x"] == "int64"


def test_integers_of_a_schema_may_be_written_with_a_point() -> None:
    rows, decoder = read([b'{"i":1}'], [b'{"i":2.0}', b'{"i":2.5}', b'{"i":3e2}'], SCHEMA)
    assert rows == [{"i": 1}, {"i": 2}, {}, {"i": 300}]
    assert decoder.left_out["(values)"] == "1 values do not fit the type of their signal"


@pytest.mark.parametrize(
    "schema", [b"{", b"[" * 100_000, b"\xff", b'{"properties": 5}', b'{"$ref": "#/a/b"}', b'{"$ref": "other.json"}', b"[]"]
)
def test_a_broken_schema_leaves_the_signals_to_the_messages(schema: bytes) -> None:
    rows, _ = read([b'{"a":1}'], [], schema)
    assert rows == [{"a": 1}]


def test_a_schema_that_contains_itself_ends() -> None:
    turn = {"properties": {"a": {"$ref": "#"}, "b": {"allOf": [{"$ref": "#/properties/b"}, {"type": "integer"}]}}}
    _, decoder = read([b'{"b":1}'], [], turn)
    assert len(decoder.signals) < 100


# --- numbers and random messages


@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.decimals(allow_nan=False, allow_infinity=False)))
def test_numbers_are_rounded_as_python_rounds_them(number: Any) -> None:
    text = str(number)
    if text.lstrip("-").startswith("00"):
        return
    found = parse_number(text.encode())
    assert struct.pack("<d", found) == struct.pack("<d", float(text))


def test_every_power_of_ten_is_exact() -> None:
    rng = random.Random(4)
    for power in range(-345, 312):
        for _ in range(40):
            text = f"{rng.randrange(1, 10 ** rng.randrange(1, 20))}e{power}"
            assert parse_number(text.encode()) == float(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefg"), VALUES, max_size=5))
def test_one_message_gives_exactly_its_values(value: dict[str, Any]) -> None:
    rows, decoder = read([json.dumps(value).encode()])
    assert decoder.failed == 0
    assert rows == [flat(value)]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """What the signals of one message are to be."""
    out: dict[str, Any] = {}
    if isinstance(value, dict):
        for key, inner in value.items():
            out |= flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        out[f"{path}.length"] = len(value)
        for number, inner in enumerate(value):
            out |= flat(inner, f"{path}[{number}]")
    elif value is not None:
        out[path] = value
    return out
