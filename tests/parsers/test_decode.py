"""Decoded values equal cantools on every vector of the corpus, and the rules of short frames, multiplexing and J1939 hold."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import cantools
import numpy as np
import pytest

from parsers.can.database import Database
from parsers.can.decode import Decoder, Stream
from parsers.can.frames import ERROR, EXTENDED, REMOTE
from parsers.limits import Limits
from tests.parsers.blocks import CORPUS, Row, block, frame

VECTORS = sorted((CORPUS / "dbc").glob("*.decoded.jsonl")) if CORPUS.is_dir() else []


def dbc(*lines: str) -> str:
    return "\n".join(['VERSION ""', "BS_:", "BU_: X", *lines]) + "\n"


def load(*lines: str) -> Database:
    return Database.load(dbc(*lines).encode(), "test.dbc")


def decode(database: Database, rows: list[Row], channels: list[str] | None = None, **options: Any) -> Decoder:
    decoder = Decoder(database, channels or ["can0"], **options)
    decoder.add(block(rows))
    return decoder


def rows_of(stream: Stream) -> list[dict[str, Any]]:
    """One dict per frame, with the null signals left out, as cantools gives it."""
    _, columns, masks = stream.columns.views(stream.columns.size)
    names = [signal.name for signal in stream.message.signals]
    return [
        {name: column[i].item() for name, column, mask in zip(names, columns, masks, strict=True) if mask is None or mask[i]}
        for i in range(stream.columns.size)
    ]


def same(mine: float, expected: float | str) -> bool:
    if isinstance(expected, str):
        return str(float(mine)) == expected
    return type(mine) is type(expected) and mine == expected


@pytest.mark.skipif(not VECTORS, reason="the corpus is not there")
@pytest.mark.parametrize("vectors", VECTORS, ids=lambda path: path.name.removesuffix(".decoded.jsonl"))
def test_every_value_equals_cantools_to_the_last_digit(vectors: Path) -> None:
    expected = [json.loads(line) for line in vectors.read_text().splitlines()]
    source = vectors.with_name(vectors.name.replace(".decoded.jsonl", ".dbc"))
    compiled = Database.load(source.read_bytes(), source.name).to_json()
    decoder = Decoder(Database.from_json(compiled), ["can0"], j1939_null=False)
    for first in range(0, len(expected), 97):  # odd blocks: a stream grows over several of them
        decoder.add(
            block(
                (e["t_us"] * 1000, 0, int(e["id"], 16), EXTENDED if e["ext"] else 0, bytes.fromhex(e["data"]))
                for e in expected[first : first + 97]
            )
        )
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for stream in decoder.streams:
        times, _, _ = stream.columns.views(stream.columns.size)
        for t_ns, values in zip(times.tolist(), rows_of(stream), strict=True):
            assert t_ns not in found
            found[t_ns] = (stream.message.name, values)
    for e in expected:
        name, values = found.pop(e["t_us"] * 1000, (e["message"], {}))
        assert name == e["message"]
        signals = e["signals"]
        assert set(values) == set(signals), e
        wrong = {s: (values[s], signals[s]) for s in signals if not same(values[s], signals[s])}
        assert not wrong, e
    assert not found


@pytest.mark.parametrize("seed", range(40))
def test_random_signals_of_every_width_and_place_equal_cantools(seed: int) -> None:
    rng = random.Random(seed)
    length = rng.choice([1, 3, 8, 8, 12, 64])
    lines = [f"BO_ 256 M: {length} X"]
    for i in range(30):
        bits = rng.randint(1, min(64, length * 8))
        start = rng.randint(0, length * 8 - bits)
        big = rng.random() < 0.5
        dbc_start = 8 * (start // 8) + 7 - start % 8 if big else start
        scale = rng.choice(["1", "2", "-3", "0.1", "0.0078125", "1e-3", "0"])
        offset = rng.choice(["0", "-40", "0.5", "1000000"])
        lines.append(f' SG_ S{i} : {dbc_start}|{bits}@{0 if big else 1}{rng.choice("+-")} ({scale},{offset}) [0|0] "" X')
    database = load(*lines)
    payloads = [rng.randbytes(length) for _ in range(50)]
    decoder = decode(database, [(i, 0, 256, 0, payload) for i, payload in enumerate(payloads)])
    found = rows_of(decoder.streams[0])
    # One message per signal: cantools misplaces signals that overlap.
    for i, line in enumerate(lines[1:]):
        oracle = cantools.database.load_string(dbc(lines[0], line), "dbc").messages[0]
        signal = next(signal for signal in database.messages[0].signals if signal.name == f"S{i}")
        inexact = signal.storage == "float64" and signal.length > 51  # cantools computes these with whole numbers of any size
        for payload, values in zip(payloads, found, strict=True):
            mine, expected = values[signal.name], oracle.decode(payload, decode_choices=False)[signal.name]
            assert math.isclose(mine, expected, rel_tol=1e-15) if inexact else same(mine, expected), line


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("bits", "code"), [(16, "e"), (32, "f"), (64, "d")])
def test_floats_of_three_widths_are_read_as_ieee_754(bits: int, code: str, big: bool) -> None:
    start = 7 if big else 0
    database = load(
        "BO_ 256 M: 8 X", f' SG_ S : {start}|{bits}@{0 if big else 1}- (1,0) [0|0] "" X', f"SIG_VALTYPE_ 256 S : {2 if bits == 64 else 1};"
    )
    values = [0.0, -0.0, 1.0, -1.5, 6.103515625e-05, 5.960464477539063e-08, 65504.0, math.inf, -math.inf]
    rows = [(i, 0, 256, 0, struct.pack((">" if big else "<") + code, value).ljust(8, b"\0")) for i, value in enumerate(values)]
    _, (column,), _ = decode(database, rows).streams[0].columns.views(len(values))
    assert [(v, math.copysign(1, v)) for v in column.tolist()] == [(v, math.copysign(1, v)) for v in values]


def test_a_short_frame_gives_the_signals_that_fit_and_nulls_for_the_rest() -> None:
    database = load(
        "BO_ 256 M: 8 X",
        ' SG_ A : 0|8@1+ (1,0) [0|0] "" X',
        ' SG_ B : 8|12@1+ (1,0) [0|0] "" X',
        ' SG_ C : 39|16@0+ (0.5,0) [0|0] "" X',
    )
    rows = [frame("100#0102030405060708"), frame("100#01"), frame("100#"), frame("100#010203"), frame("100#010203040506")]
    found = rows_of(decode(database, rows).streams[0])
    full, medium = {"A": 1, "B": 0x302, "C": 0x506 / 2}, {"A": 1, "B": 0x302}
    assert found == [full, {"A": 1}, {}, medium, full]


def test_a_signal_beyond_the_messages_length_is_decoded_when_the_frame_has_it() -> None:
    database = load("BO_ 256 M: 1 X", ' SG_ A : 8|8@1+ (1,0) [0|0] "" X')
    assert database.warnings == ["The signal A does not fit in message M."]
    assert rows_of(decode(database, [frame("100#0102"), frame("100#01")]).streams[0]) == [{"A": 2}, {}]


def test_a_nested_multiplexed_signal_needs_every_multiplexer_above_it() -> None:
    database = load(
        "BO_ 256 M: 8 X",
        ' SG_ Outer M : 0|8@1+ (1,0) [0|0] "" X',
        ' SG_ Inner m1M : 8|8@1+ (1,0) [0|0] "" X',
        ' SG_ Leaf m3 : 16|8@1+ (1,0) [0|0] "" X',
        ' SG_ Other m2 : 8|8@1+ (1,0) [0|0] "" X',
        "SG_MUL_VAL_ 256 Inner Outer 1-1, 5-7;",
        "SG_MUL_VAL_ 256 Leaf Inner 3-3, 10-12;",
        "SG_MUL_VAL_ 256 Other Outer 2-2;",
    )
    rows = [frame(f"100#{text}") for text in ("010309", "060B09", "060209", "020309", "090309", "0503", "01")]
    assert rows_of(decode(database, rows).streams[0]) == [
        {"Outer": 1, "Inner": 3, "Leaf": 9},
        {"Outer": 6, "Inner": 11, "Leaf": 9},
        {"Outer": 6, "Inner": 2},
        {"Outer": 2, "Other": 3},
        {"Outer": 9},
        {"Outer": 5, "Inner": 3},
        {"Outer": 1},
    ]


def test_values_that_64_bits_hold_stay_whole_numbers() -> None:
    database = load(
        "BO_ 256 M: 8 X",
        ' SG_ U : 0|64@1+ (1,0) [0|0] "" X',
        ' SG_ S : 0|64@1- (1,0) [0|0] "" X',
        ' SG_ Big : 0|64@1+ (3,0) [0|0] "" X',
        ' SG_ Small : 0|31@1+ (1,0) [0|0] "" X',
    )
    decoder = decode(database, [frame("100#FFFFFFFFFFFFFFFF"), frame("100#0000000000000080")])
    _, columns, _ = decoder.streams[0].columns.views(2)
    by_name = {signal.name: column for signal, column in zip(database.messages[0].signals, columns, strict=True)}
    assert {name: str(column.dtype) for name, column in by_name.items()} == {
        "U": "uint64", "S": "int64", "Big": "float64", "Small": "int32",
    }  # fmt: skip
    assert by_name["U"].tolist() == [2**64 - 1, 2**63]
    assert by_name["S"].tolist() == [-1, -(2**63)]
    assert by_name["Big"].tolist() == [float(3 * (2**64 - 1)), float(3 * 2**63)]


J1939 = (
    "BO_ 2364540158 EEC1: 8 X",  # 0xCF004FE: PF 0xF0, PDU2
    ' SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" X',
    "BO_ 2565872638 TSC1: 8 X",  # 0x18F000FE is PDU2; see the PDU1 message below
    ' SG_ A : 0|8@1+ (1,0) [0|0] "" X',
    "BO_ 2348810494 ToEngine: 8 X",  # 0xC0000FE: PF 0, PDU1, destination 0
    ' SG_ B : 0|8@1+ (1,0) [0|0] "" X',
    'BA_DEF_ BO_  "VFrameFormat" ENUM  "StandardCAN","ExtendedCAN","reserved","J1939PG";',
    'BA_DEF_DEF_  "VFrameFormat" "J1939PG";',
)


def test_a_j1939_message_matches_every_source_priority_and_pdu1_destination() -> None:
    decoder = decode(
        load(*J1939),
        [
            frame("0CF00400#FFFFFF204EFFFFFF"),
            frame("18F00427#FFFFFF401FFFFFFF"),
            frame("0C000B03#11"),
            frame("0C002103#12"),
            frame("0CF00500#FFFFFF204EFFFFFF"),
            frame("123#FFFFFF204EFFFFFF"),
        ],
    )
    found = [(s.message.name, s.source_address, rows_of(s)) for s in decoder.streams]
    assert found == [
        ("EEC1", 0x00, [{"EngineSpeed": 2500.0}]),
        ("EEC1", 0x27, [{"EngineSpeed": 1000.0}]),
        ("ToEngine", 0x03, [{"B": 0x11}, {"B": 0x12}]),
    ]


def test_a_j1939_value_of_all_ones_is_null_unless_asked_otherwise() -> None:
    rows = [frame("0CF00400#FFFFFFFFFFFFFFFF"), frame("0CF00400#FFFFFF204EFFFFFF")]
    assert rows_of(decode(load(*J1939), rows).streams[0]) == [{}, {"EngineSpeed": 2500.0}]
    assert rows_of(decode(load(*J1939), rows, j1939_null=False).streams[0]) == [{"EngineSpeed": 8191.875}, {"EngineSpeed": 2500.0}]


def test_all_ones_of_a_message_that_is_not_j1939_are_a_value() -> None:
    database = load("BO_ 2364540158 E: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X')
    assert rows_of(decode(database, [frame("0CF004FE#FF"), frame("0CF00400#FF")]).streams[0]) == [{"A": 255}]


def test_eleven_and_29_bit_ids_of_one_number_are_different_messages() -> None:
    database = load("BO_ 256 Std: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X', "BO_ 2147483904 Ext: 8 X", ' SG_ B : 0|8@1+ (1,0) [0|0] "" X')
    decoder = decode(database, [frame("100#01"), frame("00000100#02")])
    assert [(s.message.name, rows_of(s)) for s in decoder.streams] == [("Std", [{"A": 1}]), ("Ext", [{"B": 2}])]


def test_each_bus_has_its_own_stream_and_a_restricted_database_wins_on_its_bus() -> None:
    left = Database.load(dbc("BO_ 256 Left: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X').encode(), "left", ("can1",))
    every = load("BO_ 256 Every: 8 X", ' SG_ B : 0|8@1+ (1,0) [0|0] "" X')
    rows = [frame("100#01", 1, 0), frame("100#02", 2, 1), frame("100#03", 3, 0)]
    decoder = decode(Database.merge([every, left]), rows, ["can0", "can1"])
    assert [(s.message.name, s.channel, rows_of(s)) for s in decoder.streams] == [
        ("Every", 0, [{"B": 1}, {"B": 3}]),
        ("Left", 1, [{"A": 2}]),
    ]


def test_error_and_remote_frames_are_counted_but_never_decoded() -> None:
    database = load("BO_ 256 M: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X')
    decoder = decode(database, [(0, 0, 256, ERROR, b"\x01"), (1, 0, 256, REMOTE, b""), (2, 0, 256, 0, b"\x05")])
    assert rows_of(decoder.streams[0]) == [{"A": 5}]
    grouper = decoder.grouper
    assert (grouper.total, grouper.errors, grouper.remotes) == (3, 1, 1)
    assert grouper.statistics(0) == (2, 1, 0, 1, 1, 2)


def test_frames_keep_file_order_over_blocks_and_dropped_rows_do_not_come_back() -> None:
    database = load("BO_ 256 M: 8 X", ' SG_ A : 0|16@1+ (1,0) [0|0] "" X', ' SG_ B : 32|8@1+ (1,0) [0|0] "" X')
    decoder = Decoder(database, ["can0"], shift_ns=1000)
    seen: list[int] = []
    for start in range(0, 50_000, 5000):
        decoder.add(block((i, 0, 256, 0, struct.pack("<HH", i, 0) + b"\1" * (i % 3)) for i in range(start, start + 5000)))
        columns = decoder.streams[0].columns
        times, (a, b), masks = columns.views(columns.size // 2)
        assert masks[0] is None
        assert (times - 1000 == a).all()
        assert (masks[1] == (a % 3 > 0)).all()
        assert (b == masks[1]).all()
        seen.extend(a.tolist())
        columns.drop(columns.size // 2)
    _, (a, _), _ = columns.views(columns.size)
    assert [*seen, *a.tolist()] == list(range(50_000))


def test_many_ids_are_told_apart_and_the_rest_is_counted() -> None:
    decoder = Decoder(Database(), ["can0"])
    decoder.add(block((i, 0, i * 31 % (1 << 29), EXTENDED, b"") for i in range(70_000)))
    assert decoder.grouper.slot_count == 65_536
    assert decoder.grouper.overflow == 70_000 - 65_536
    assert decoder.grouper.key(65_535) == (0, True, 65_535 * 31)


def test_no_more_streams_than_the_limit_are_made() -> None:
    lines = [line for i in range(5) for line in (f"BO_ {256 + i} M{i}: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X')]
    decoder = decode(load(*lines), [frame(f"10{i}#01") for i in range(5)], limits=Limits(max_streams=3))
    assert [stream.message.name for stream in decoder.streams] == ["M0", "M1", "M2"]
    assert decoder.streams_dropped == 2


def test_the_clock_is_watched_over_block_borders() -> None:
    second = 1_000_000_000
    times = [0, second, second - 500_000, 3 * second, second, 2 * second, 4000 * second, -(2**63), 2**63 - 1]
    decoder = Decoder(Database(), ["can0"])
    for t in times:
        decoder.add(block([(t, 0, 1, 0, b"")]))
    grouper = decoder.grouper
    assert (grouper.first_ns, grouper.last_ns) == (-(2**63), 2**63 - 1)
    assert grouper.backward_count == 2
    assert grouper.jump_list() == [
        (4, 3 * second, second),
        (6, 2 * second, 4000 * second),
        (7, 4000 * second, -(2**63)),
        (8, -(2**63), 2**63 - 1),
    ]


def test_a_block_that_points_outside_its_data_is_refused() -> None:
    database = load("BO_ 256 M: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X')
    good = block([frame("100#0102")])
    for field, value in (("data_offset", np.array([3], np.uint32)), ("length", np.array([64], np.uint8))):
        broken = type(good)(**{name: value if name == field else getattr(good, name) for name in good.__slots__})
        with pytest.raises(ValueError, match="payload out of range"):
            Decoder(database, ["can0"]).add(broken)
