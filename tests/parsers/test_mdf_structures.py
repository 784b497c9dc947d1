"""How MDF files hold their records: kinds of data blocks, mixed groups, columns, signal data, bits, texts, arrays, and lies about them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.base import Recording
from parsers.blocks import SampleBlock
from parsers.errors import ParseError
from parsers.limits import Limits
from parsers.mdf.reader import MdfParser
from parsers.results.samples import check
from parsers.source import BytesSource
from tests import mdf
from tests.mdf import ca, cc, cg, cn, dg, dl, dt, dz, hd, hl, ld, time_cn, vlsd

Stream = dict[str, list[Any]]


def read(data: bytes, limits: Limits | None = None) -> tuple[dict[str, Stream], Recording]:
    """Streams by name: times under `t`, the values of each signal, texts by name, None where there is no value."""
    recording = Recording()
    found: dict[str, Stream] = {}
    for block in MdfParser().blocks(BytesSource(data), recording, limits or Limits()):
        assert isinstance(block, SampleBlock)
        spec = recording.streams[block.stream]
        check(spec, block)
        stream = found.setdefault(spec.name, {"t": [], **{signal.name: [] for signal in spec.signals}})
        stream["t"] += block.t_ns.tolist()
        for signal, column, mask in zip(spec.signals, block.columns, block.masks, strict=True):
            names = signal.choices or {}
            values = [names.get(value, value) for value in column.tolist()]
            stream[signal.name] += values if mask is None else [value if valid else None for value, valid in zip(values, mask, strict=True)]
    return found, recording


def sound(data: bytes, limits: Limits | None = None) -> dict[str, Stream]:
    """The streams of a file that nothing is wrong with."""
    found, recording = read(data, limits)
    assert recording.lost == []
    assert recording.problems == []
    assert recording.undecoded == {}
    return found


def only(data: bytes) -> Stream:
    """The one stream of such a file."""
    (stream,) = sound(data).values()
    return stream


def rows(count: int, layout: str = "<dH", value: Callable[[int], tuple[Any, ...]] = lambda i: (i / 8, 3 * i)) -> bytes:
    """Records of a time and a number."""
    return b"".join(struct.pack(layout, *value(i)) for i in range(count))


def group(count: int, **rest: Any) -> mdf.Block:
    """The group of these records."""
    return cg(time_cn(), cn("v", byte=8, bits=16, unit="V"), rows=count, size=10, name="G", **rest)


def expected(count: int) -> Stream:
    return {"t": [i * 125_000_000 for i in range(count)], "v": [3 * i for i in range(count)]}


# --- where the records lie

COUNT = 100
RECORDS = rows(COUNT)
CUTS = [0, 7, 250, 255, 900, len(RECORDS)]  # not between records
PARTS = [RECORDS[a:b] for a, b in pairwise(CUTS)]
SIZES = [len(part) for part in PARTS]


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (dt(RECORDS), 400),
        (dz(RECORDS), 410),
        (dz(RECORDS, columns=10), 410),
        (dz(RECORDS, columns=7), 410),
        (dz(RECORDS, columns=999), 410),
        (dl(*map(dt, PARTS), sizes=SIZES), 400),
        (dl(dt(RECORDS), sizes=[len(RECORDS)]), 400),
        (dl(dt(RECORDS[:500]), dt(RECORDS[500:]), equal=500), 400),
        (hl(dl(*map(dz, PARTS), sizes=SIZES)), 410),
        (hl(dl(*(dz(part, columns=10) for part in PARTS), sizes=SIZES), 1), 410),
        (dl(*(dz(part) if i % 2 else dt(part) for i, part in enumerate(PARTS)), sizes=SIZES), 410),
        (
            dl(
                dt(PARTS[0]), sizes=SIZES[:1],
                following=dl(*map(dt, PARTS[1:3]), sizes=SIZES[1:3], following=dl(*map(dt, PARTS[3:]), sizes=SIZES[3:])),
            ),
            400,
        ),
        (dl(dt(b""), dt(RECORDS), dt(b""), sizes=[0, len(RECORDS), 0]), 400),
        (dt(RECORDS, "DV"), 420),
        (ld([dt(RECORDS[:500], "DV"), dt(RECORDS[500:], "DV")], [50, 50]), 420),
        (ld([dz(RECORDS[:500], "DV"), dz(RECORDS[500:], "DV", columns=10)], [50, 50], equal=50), 420),
        (ld([dt(RECORDS[:300], "DV")], [30], following=ld([dt(RECORDS[300:], "DV")], [70])), 420),
    ],
)  # fmt: skip
def test_records_are_the_same_in_every_kind_of_block(data: mdf.Block, version: int) -> None:
    file = mdf.mdf(hd(dg(group(COUNT), data=data)), version=version)
    assert sound(file) == {"G": expected(COUNT)}
    assert sound(file, Limits(block_rows=7, read_size=13)) == {"G": expected(COUNT)}


def test_a_group_without_records_gives_no_rows() -> None:
    assert sound(mdf.mdf(hd(dg(group(0)), dg(group(0), data=dt(b"")), dg(group(0), data=dl())))) == {}


@pytest.mark.parametrize("id_size", [1, 2, 4, 8])
def test_records_of_several_groups_lie_mixed(id_size: int) -> None:
    def record(number: int, content: bytes) -> bytes:
        return number.to_bytes(id_size, "little") + content

    pieces = []
    for i in range(50):
        pieces.append(record(7, struct.pack("<dH", i / 8, 3 * i)))
        if i % 3 == 0:
            pieces.append(record(200, struct.pack("<fb", i, -i)))
    groups = [
        group(50, record_id=7),
        cg(time_cn(type=4, bits=32), cn("w", type=2, byte=4, bits=8), rows=17, size=5, record_id=200, name="H"),
    ]
    for data in (dt(b"".join(pieces)), hl(dl(dz(b"".join(pieces[:20])), dz(b"".join(pieces[20:])), sizes=[1, 1]))):
        found = sound(mdf.mdf(hd(dg(*groups, data=data, id_size=id_size))))
        assert found["G"] == expected(50)
        assert found["H"] == {"t": [i * 3 * 10**9 for i in range(17)], "w": [-3 * i for i in range(17)]}


def test_one_group_may_have_record_ids_too() -> None:
    data = b"".join(b"\x05" + RECORDS[i : i + 10] for i in range(0, len(RECORDS), 10))
    assert only(mdf.mdf(hd(dg(group(COUNT, record_id=5), data=dt(data), id_size=1)))) == expected(COUNT)


def test_a_record_id_that_no_group_has_ends_the_data() -> None:
    data = b"".join(b"\x05" + RECORDS[i : i + 10] for i in range(0, 500, 10)) + b"\x09" + RECORDS[500:]
    found, recording = read(mdf.mdf(hd(dg(group(COUNT, record_id=5), group(0, record_id=6), data=dt(data), id_size=1))))
    assert found["G"] == expected(50)
    assert recording.lost


# --- columns (MDF 4.2)


def test_groups_of_one_column_take_their_time_from_another_group() -> None:
    times = struct.pack("<4d", 0, 0.5, 1, 1.5)
    values = struct.pack("<4h", 1, -2, 3, -4)
    master = cg(time_cn(), rows=4, size=8, name="T")
    valued = cg(cn("v", type=2, bits=16), rows=4, size=2, flags=8, master=master, name="G")
    found = sound(mdf.mdf(hd(dg(master, data=dt(times, "DV")), dg(valued, data=ld([dt(values, "DV")], [4]))), version=420))
    assert found["G"] == {"t": [0, 500_000_000, 10**9, 1_500_000_000], "v": [1, -2, 3, -4]}


def test_columns_have_their_invalidation_bits_in_blocks_of_their_own() -> None:
    column = [struct.pack("<dH", i, i) for i in range(6)]
    parts = [dt(b"".join(column[:4]), "DV"), dz(b"".join(column[4:]), "DV")]
    bits = [dt(b"\x00\x01\x00\x01", "DI"), dz(b"\x01\x00", "DI")]
    channels = cg(time_cn(), cn("v", byte=8, bits=16, flags=2, invalid=0), rows=6, size=10, invalid=1, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=ld(parts, [4, 2], bits))), version=420))["v"] == [0, None, 2, None, None, 5]


def columns_of_three(first: mdf.Block, second: mdf.Block, third: mdf.Block) -> bytes:
    """Time and two values of six rows, each in a group of its own."""
    master = cg(time_cn(), rows=6, size=8, name="T")
    members = [cg(cn(name, bits=8), rows=6, size=1, flags=8, master=master, name="G") for name in "ab"]
    groups = [dg(master, data=first), dg(members[0], data=second), dg(members[1], data=third)]
    return mdf.mdf(hd(*groups), version=420)


TIMES, BYTES = struct.pack("<6d", *range(6)), bytes(range(6))


def test_a_lost_column_leaves_the_others() -> None:
    good = ld([dt(BYTES[:4], "DV"), dt(BYTES[4:], "DV")], [4, 2])
    torn = dz(BYTES[:4], "DV")
    torn.data = torn.data[:24] + b"\xff" * (len(torn.data) - 24)
    for bad, values in (
        (dt(b"", "DV"), [None] * 6),
        (dt(BYTES[:3], "DV"), [0, 1, 2, None, None, None]),
        (ld([torn, dt(BYTES[4:], "DV")], [4, 2]), [None, None, None, None, 4, 5]),
        (ld([dt(BYTES[:2], "DV"), torn], [2, 4]), [0, 1, None, None, None, None]),
    ):
        found, recording = read(columns_of_three(dt(TIMES, "DV"), good, bad))
        (stream,) = found.values()
        assert stream == {"t": [i * 10**9 for i in range(6)], "a": list(BYTES), "b": values}
        assert recording.lost or recording.problems


def test_rows_whose_time_is_lost_are_left_out() -> None:
    torn = dz(TIMES[:16], "DV")
    torn.data = torn.data[:24] + b"\xff" * (len(torn.data) - 24)
    good = dt(BYTES, "DV")
    found, recording = read(columns_of_three(ld([torn, dt(TIMES[16:], "DV")], [2, 4]), good, dt(BYTES, "DV")))
    (stream,) = found.values()
    assert stream == {"t": [i * 10**9 for i in range(2, 6)], "a": [2, 3, 4, 5], "b": [2, 3, 4, 5]}
    assert recording.lost


@pytest.mark.parametrize("flags", [0, 1 << 7, 1 << 31])
def test_invalidation_data_are_read_whatever_the_flag_says(flags: int) -> None:
    data = ld([dt(BYTES, "DV")], [6], [dt(b"\0\1\0\1\0\0", "DI")])
    data.data = struct.pack("<I", flags) + data.data[4:]
    channels = cg(cn("t", 3, sync=1, conversion=cc(1, [0, 1])), cn("v", bits=8, flags=2), rows=6, size=1, invalid=1, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=data)), version=420))["v"] == [0, None, 2, None, 4, 5]


# --- signal data


def test_values_of_any_length_lie_in_signal_data() -> None:
    texts = [b"first", b"", b"a much longer one", b"last"]
    content, offsets = vlsd(*texts)
    records = b"".join(struct.pack("<dQ", i, offset) for i, offset in enumerate(offsets))
    third = len(content) // 3
    for data in (
        dt(content, "SD"),
        dz(content, "SD"),
        dz(content, "SD", columns=4),
        dl(dt(content[:third], "SD"), dt(content[third:], "SD"), sizes=[third, len(content) - third]),
        hl(dl(dz(content[:third], "SD"), dz(content[third:], "SD"), sizes=[third, len(content) - third])),
    ):
        channels = cg(time_cn(), cn("text", 1, type=7, byte=8, bits=64, data=data), rows=4, size=16, name="G")
        assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["text"] == [text.decode() for text in texts]


def test_values_of_any_length_may_share_their_place() -> None:
    content, offsets = vlsd(b"on", b"off")
    records = b"".join(struct.pack("<dQ", i, offsets[i % 2]) for i in range(6))
    channels = cg(time_cn(), cn("text", 1, type=7, byte=8, bits=64, data=dt(content, "SD")), rows=6, size=16, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["text"] == ["on", "off"] * 3


def test_an_offset_beyond_the_signal_data_gives_no_value_and_is_told() -> None:
    content, offsets = vlsd(b"on", b"off")
    records = b"".join(
        struct.pack("<dQ", i, offset) for i, offset in enumerate([offsets[0], 10**6, (1 << 64) - 1, len(content) - 2, offsets[1]])
    )
    channels = cg(time_cn(), cn("text", 1, type=7, byte=8, bits=64, data=dt(content, "SD")), rows=5, size=16, name="G")
    found, recording = read(mdf.mdf(hd(dg(channels, data=dt(records)))))
    assert found["G"]["text"][0] == "on"
    assert found["G"]["text"][4] == "off"
    assert found["G"]["text"][1:4] == [None] * 3
    assert recording.problems


def mixed_texts(texts: list[bytes], offsets: list[int]) -> bytes:
    """Records of group 1 whose texts are records of the VLSD group 2."""
    out = b""
    for i, (text, offset) in enumerate(zip(texts, offsets, strict=True)):
        out += b"\x02" + struct.pack("<I", len(text)) + text
        out += b"\x01" + struct.pack("<dQ", i, offset)
    return out


TEXTS = [b"first", b"", b"a longer one", b"last"]


def test_values_of_any_length_may_be_records_of_their_own() -> None:
    content, offsets = vlsd(*TEXTS)
    texts = cg(rows=4, size=len(content) & 0xFFFFFFFF, record_id=2, flags=1)
    channels = cg(time_cn(), cn("text", 1, type=7, byte=8, bits=64, data=texts), rows=4, size=16, record_id=1, name="G")
    found = sound(mdf.mdf(hd(dg(channels, texts, data=dt(mixed_texts(TEXTS, offsets)), id_size=1))))
    assert found["G"]["text"] == [text.decode() for text in TEXTS]


def test_values_up_to_a_length_tell_how_much_of_them_counts() -> None:
    length = cn("length", byte=8, bits=8)
    text = cn("text", 5, type=7, byte=9, bits=64, data=length)
    records = b"".join(struct.pack("<dB8s", i, size, b"abcdefgh") for i, size in enumerate([0, 3, 8]))
    assert only(mdf.mdf(hd(dg(cg(time_cn(), length, text, rows=3, size=17, name="G"), data=dt(records)))))["text"] == [
        "",
        "abc",
        "abcdefgh",
    ]


# --- bits, numbers, texts


def test_invalidation_bits_make_values_absent() -> None:
    records = b"".join(struct.pack("<dBBBH", i, i, i, i, 0b10_0000_0001 if i % 2 else 0) for i in range(4))
    channels = cg(
        time_cn(),
        cn("a", byte=8, bits=8, flags=2, invalid=0),
        cn("b", byte=9, bits=8, flags=2, invalid=9),
        cn("c", byte=10, bits=8, invalid=9),
        rows=4, size=11, invalid=2, name="G",
    )  # fmt: skip
    found = only(mdf.mdf(hd(dg(channels, data=dt(records)))))
    assert (found["a"], found["b"], found["c"]) == ([0, None, 2, None], [0, None, 2, None], [0, 1, 2, 3])


def test_a_channel_may_be_invalid_as_a_whole() -> None:
    records = b"".join(struct.pack("<dBB", i, i, i) for i in range(3))
    channels = cg(time_cn(), cn("a", byte=8, bits=8, flags=1), cn("b", byte=9, bits=8), rows=3, size=10, name="G")
    found = read(mdf.mdf(hd(dg(channels, data=dt(records)))))[0]["G"]
    assert found.get("a", [None] * 3) == [None] * 3
    assert found["b"] == [0, 1, 2]


def test_an_invalidation_bit_behind_the_record_is_told() -> None:
    records = b"".join(struct.pack("<dBB", i, i, 0) for i in range(3))
    channels = cg(time_cn(), cn("a", byte=8, bits=8, flags=2, invalid=8), rows=3, size=9, invalid=1, name="G")
    _, recording = read(mdf.mdf(hd(dg(channels, data=dt(records)))))
    assert recording.problems or recording.undecoded


@given(
    st.integers(1, 64), st.integers(0, 7), st.integers(0, 3), st.booleans(), st.booleans(),
    st.lists(st.binary(min_size=13, max_size=13), min_size=1, max_size=9),
)  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_whole_numbers_of_any_width_at_any_bit(bits: int, bit: int, byte: int, big: bool, signed: bool, contents: list[bytes]) -> None:
    channels = cg(
        time_cn(), cn("v", type=2 * signed + big, byte=8 + byte, bit=bit, bits=bits), rows=len(contents), size=21, name="G"
    )  # fmt: skip
    records = b"".join(struct.pack("<d", i) + content for i, content in enumerate(contents))

    def value(content: bytes) -> int:
        covered = content[byte : byte + (bit + bits + 7) // 8]
        number = int.from_bytes(covered, "big" if big else "little") >> bit & ((1 << bits) - 1)
        return number - (1 << bits) if signed and number >> (bits - 1) else number

    assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["v"] == [value(content) for content in contents]


@pytest.mark.parametrize(("letter", "bits"), [("e", 16), ("f", 32), ("d", 64)])
@pytest.mark.parametrize("big", [False, True])
def test_real_numbers(letter: str, bits: int, big: bool) -> None:
    numbers = [0.0, -1.5, 65504.0, float("inf"), -0.25]
    records = b"".join(struct.pack("<dx", i) + struct.pack(f"{'>' if big else '<'}{letter}", number) for i, number in enumerate(numbers))
    channels = cg(time_cn(), cn("v", type=5 if big else 4, byte=9, bits=bits), rows=5, size=9 + bits // 8, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["v"] == numbers


@pytest.mark.parametrize(("kind", "encoding"), [(6, "latin-1"), (7, "utf-8"), (8, "utf-16-le"), (9, "utf-16-be")])
def test_texts_end_at_a_zero_or_with_their_room(kind: int, encoding: str) -> None:
    texts = ["Ölstand", "", "zwölf-hex"]
    room = 20
    records = b"".join(struct.pack("<d", i) + text.encode(encoding)[:room].ljust(room, b"\0") for i, text in enumerate(texts))
    channels = cg(time_cn(), cn("text", type=kind, byte=8, bits=8 * room), rows=3, size=8 + room, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["text"] == texts


@pytest.mark.parametrize(("kind", "encoding"), [(6, "latin-1"), (7, "utf-8"), (8, "utf-16-le"), (9, "utf-16-be")])
def test_texts_of_any_length_in_every_encoding(kind: int, encoding: str) -> None:
    texts = ["Ölstand", "", "zwölf"]
    content, offsets = vlsd(*(text.encode(encoding) for text in texts))
    records = b"".join(struct.pack("<dQ", i, offset) for i, offset in enumerate(offsets))
    channels = cg(time_cn(), cn("text", 1, type=kind, byte=8, bits=64, data=dt(content, "SD")), rows=3, size=16, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["text"] == texts


def test_texts_are_looked_up_in_tables() -> None:
    records = b"".join(struct.pack("<d4s", i, text) for i, text in enumerate([b"ein", b"aus", b"?"]))
    for block, values in (
        (cc(9, [1, 0], ["ein", "aus"]), [1, 0, None]),
        (cc(10, refs=["ein", "on", "aus", "off", None]), ["on", "off", "?"]),
    ):
        channels = cg(time_cn(), cn("text", type=7, byte=8, bits=32, conversion=block), rows=3, size=12, name="G")
        assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["text"] == values


# --- arrays and structures


def test_elements_of_an_array_are_signals() -> None:
    records = b"".join(struct.pack("<d6B", i, *range(10 * i, 10 * i + 6)) for i in range(2))
    channels = cg(time_cn(), cn("a", byte=8, bits=8, inner=ca(2, 3, stride=1)), rows=2, size=14, name="G")
    found = only(mdf.mdf(hd(dg(channels, data=dt(records)))))
    assert [values for name, values in found.items() if name.startswith("a[")] == [[k, 10 + k] for k in range(6)]


def test_elements_may_lie_apart() -> None:
    records = b"".join(struct.pack("<d3I", i, 1, 2, 3) for i in range(2))
    channels = cg(time_cn(), cn("a", byte=8, bits=8, inner=ca(3, stride=4)), rows=2, size=20, name="G")
    found = only(mdf.mdf(hd(dg(channels, data=dt(records)))))
    assert (found["a[0]"], found["a[1]"], found["a[2]"]) == ([1, 1], [2, 2], [3, 3])


def test_of_a_long_array_only_the_length_is_a_signal() -> None:
    channels = cg(time_cn(), cn("a", byte=8, bits=8, inner=ca(100, stride=1)), rows=2, size=108, name="G")
    found = read(mdf.mdf(hd(dg(channels, data=dt(bytes(216))))))[0]["G"]
    assert found["a.length"] == [100, 100]
    assert not any(name.startswith("a[") for name in found)


@pytest.mark.parametrize(
    ("sizes", "stride"), [((1 << 40, 1 << 40), 1), ((1 << 63, 2), 1), ((0,), 1), ((3,), -5), ((3,), 1 << 30), ((), 1), ((3,) * 40, 1)]
)
def test_arrays_that_lie_stay_in_their_record(sizes: tuple[int, ...], stride: int) -> None:
    channels = cg(time_cn(), cn("b", byte=8, bits=8), cn("a", byte=8, bits=8, inner=ca(*sizes, stride=stride)), rows=2, size=12, name="G")
    found, recording = read(mdf.mdf(hd(dg(channels, data=dt(bytes(24))))))
    assert found["G"]["b"] == [0, 0]
    assert recording.problems or recording.undecoded or any(name.startswith("a") for name in found["G"])


def test_members_of_a_structure_are_signals() -> None:
    member = cn("x", byte=8, bits=8)
    member.links[0] = cn("y", byte=9, bits=8, inner=cn("z", byte=10, bits=8))
    channels = cg(time_cn(), cn("s", type=10, byte=8, bits=24, inner=member), rows=2, size=11, name="G")
    found = only(mdf.mdf(hd(dg(channels, data=dt(struct.pack("<d3Bd3B", 0, 1, 2, 3, 1, 4, 5, 6))))))
    values = [values for name, values in found.items() if name != "t"]
    assert [1, 4] in values
    assert [3, 6] in values


# --- time


def test_the_master_may_be_whole_numbers_with_a_scale() -> None:
    records = b"".join(struct.pack("<QB", 10**9 + 5 * i, i) for i in range(3))
    channels = cg(time_cn(type=0, bits=64, conversion=cc(1, [0, 1e-6])), cn("v", byte=8, bits=8), rows=3, size=9, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=dt(records)))))["t"] == [10**12 + 5000 * i for i in range(3)]


def test_a_virtual_master_counts_the_rows() -> None:
    channels = cg(cn("t", 3, sync=1, conversion=cc(1, [2, 0.5])), cn("v", bits=8), rows=3, size=1, name="G")
    assert only(mdf.mdf(hd(dg(channels, data=dt(b"\x07\x08\x09"))))) == {"t": [2 * 10**9, 2_500_000_000, 3 * 10**9], "v": [7, 8, 9]}


def test_virtual_channels_have_their_value_in_the_conversion() -> None:
    channels = cg(
        time_cn(),
        cn("constant", 6, conversion=cc(1, [5, 0])),
        cn("row", 6, conversion=cc(1, [1, 2])),
        rows=3, size=8, name="G",
    )  # fmt: skip
    found = only(mdf.mdf(hd(dg(channels, data=dt(struct.pack("<3d", 0, 1, 2))))))
    assert (found["constant"], found["row"]) == ([5, 5, 5], [1, 3, 5])


def test_the_start_is_utc() -> None:
    _, recording = read(mdf.mdf(hd(dg(group(COUNT), data=dt(RECORDS)))))
    assert (recording.absolute, recording.start_ns) == (True, mdf.START_NS)


# --- files that were not closed


def unfinished(flags: int, *groups: mdf.Block, last: list[mdf.Block], **rest: Any) -> tuple[dict[str, Stream], Recording]:
    return read(mdf.mdf(hd(*groups, **rest), unfinished=flags, last=last))


def test_cycle_counters_that_were_not_written_are_counted() -> None:
    data = dt(RECORDS)
    assert unfinished(1, dg(group(0), data=data), last=[data])[0] == {"G": expected(COUNT)}


def test_the_last_data_block_goes_on_to_the_end_of_the_file() -> None:
    for length in (24, 0):
        data = dt(RECORDS, length=length)
        assert unfinished(1 | 4, dg(group(0), data=data), last=[data])[0] == {"G": expected(COUNT)}


def test_the_last_data_block_of_a_list_goes_on_to_the_end_of_the_file() -> None:
    first, data = dt(RECORDS[:500]), dt(RECORDS[500:], length=24)
    listed = dl(first, data, sizes=[500, 500])
    assert unfinished(1 | 4, dg(group(0), data=listed), last=[first, data])[0] == {"G": expected(COUNT)}


def test_a_list_that_was_not_filled_up_ends_with_its_last_block() -> None:
    first, data = dt(RECORDS[:500]), dt(RECORDS[500:])
    listed = dl(first, data, None, None, sizes=[500, 500, 0, 0], count=4)
    assert unfinished(1 | 0x10, dg(group(0), data=listed), last=[first, data])[0]["G"] == expected(COUNT)
    listed = dl(first, data, None, None, sizes=[500, 500, 0, 0], count=2)
    assert unfinished(1 | 0x10, dg(group(0), data=listed), last=[first, data])[0]["G"] == expected(COUNT)


def test_mixed_records_of_a_file_that_was_not_closed() -> None:
    content = b"".join(b"\x05" + RECORDS[i : i + 10] for i in range(0, len(RECORDS), 10))
    data = dt(content + b"\x05\x01\x02", length=24)
    found, recording = unfinished(1 | 4, dg(group(0, record_id=5), data=data, id_size=1), last=[data])
    assert found == {"G": expected(COUNT)}
    assert recording.lost


def test_values_of_any_length_whose_bytes_were_not_counted() -> None:
    _, offsets = vlsd(*TEXTS)
    data = dt(mixed_texts(TEXTS, offsets))
    texts = cg(rows=0, size=0, record_id=2, flags=1)
    channels = cg(time_cn(), cn("text", 1, type=7, byte=8, bits=64, data=texts), rows=0, size=16, record_id=1, name="G")
    found, _ = unfinished(1 | 0x20, dg(channels, texts, data=data, id_size=1), last=[data])
    assert found["G"]["text"] == [text.decode() for text in TEXTS]


def test_values_of_any_length_whose_offsets_were_not_written() -> None:
    data = dt(mixed_texts(TEXTS, [0] * 4))
    texts = cg(rows=0, size=0, record_id=2, flags=1)
    channels = cg(time_cn(), cn("text", 1, type=7, byte=8, bits=64, data=texts), rows=0, size=16, record_id=1, name="G")
    found, _ = unfinished(1 | 0x20 | 0x40, dg(channels, texts, data=data, id_size=1), last=[data])
    assert found["G"]["text"] == [text.decode() for text in TEXTS]


@pytest.mark.parametrize("flag", [2, 8])
def test_sample_reductions_that_were_not_finished_change_nothing(flag: int) -> None:
    data = dt(RECORDS)
    assert unfinished(flag, dg(group(COUNT), data=data), last=[data])[0] == {"G": expected(COUNT)}


# --- attachments


def test_attachments_are_listed() -> None:
    embedded = mdf.at("notes.txt", b"hello")
    outside = mdf.at("video.mp4", b"", "video/mp4", flags=0, original=10**9)
    _, recording = read(mdf.mdf(hd(dg(group(COUNT), data=dt(RECORDS)), attachments=[embedded, outside])))
    assert [(item.name, item.media_type) for item in recording.attachments] == [("notes.txt", "text/plain"), ("video.mp4", "video/mp4")]
    assert recording.attachments[0].size == 5


# --- lies


def test_groups_that_lead_back_to_themselves_end() -> None:
    first = dg(group(COUNT), data=dt(RECORDS))
    first.links[0] = first
    found, recording = read(mdf.mdf(hd(first)))
    assert found == {"G": expected(COUNT)}
    assert recording.problems

    channels = group(COUNT, record_id=1)
    channels.links[0] = channels
    data = b"".join(b"\x01" + RECORDS[i : i + 10] for i in range(0, len(RECORDS), 10))
    found, recording = read(mdf.mdf(hd(dg(channels, data=dt(data), id_size=1))))
    assert found == {"G": expected(COUNT)}
    assert recording.problems


def test_channels_that_lead_back_to_themselves_end() -> None:
    for index in (0, 1):
        value = cn("v", byte=8, bits=16)
        value.links[index] = value
        found, recording = read(mdf.mdf(hd(dg(cg(time_cn(), value, rows=COUNT, size=10, name="G"), data=dt(RECORDS)))))
        assert found["G"]["t"] == expected(COUNT)["t"]
        assert recording.problems


def test_lists_that_lead_back_to_themselves_end() -> None:
    for make in (lambda: dl(dt(RECORDS), sizes=[len(RECORDS)]), lambda: ld([dt(RECORDS, "DV")], [COUNT])):
        listed = make()
        listed.links[0] = listed
        found, recording = read(mdf.mdf(hd(dg(group(COUNT), data=listed))))
        assert found["G"]["v"][:COUNT] == expected(COUNT)["v"]
        assert len(found["G"]["v"]) <= 2 * COUNT
        assert recording.problems or recording.lost
    inner = dl(sizes=[])
    inner.links.append(inner)
    _, recording = read(mdf.mdf(hd(dg(group(COUNT), data=inner), dg(group(COUNT), data=dt(RECORDS)))))
    assert recording.problems or recording.lost


@pytest.mark.parametrize("told", [0, 1, COUNT - 1, COUNT + 1, 1 << 40, (1 << 64) - 1])
def test_the_number_of_records_is_not_believed(told: int) -> None:
    for data in (dt(RECORDS), dz(RECORDS)):
        found, recording = read(mdf.mdf(hd(dg(group(told), data=data))))
        assert found["G"] == expected(COUNT)
        assert recording.problems or recording.lost


@pytest.mark.parametrize("length", [0, 1, 23, 24 + 55, 24 + len(RECORDS) - 1, 24 + len(RECORDS) + 8, 1 << 40, (1 << 64) - 1])
def test_the_length_of_a_data_block_is_not_believed(length: int) -> None:
    found, recording = read_or_nothing(
        mdf.mdf(hd(dg(group(COUNT), data=dt(RECORDS, length=length)), dg(cg(time_cn(), rows=1, size=8, name="H"), data=dt(bytes(8)))))
    )
    assert found.get("G", {"v": []})["v"] == expected(COUNT)["v"][: len(found.get("G", {"v": []})["v"])]
    assert recording.problems or recording.lost or recording.undecoded


@pytest.mark.parametrize("length", [1 << 40, 24 + 500 + 16])
def test_a_block_of_a_list_that_reaches_into_the_next_does_not_lead_back(length: int) -> None:
    for make in (dl, lambda *parts, sizes: dl(*parts, equal=sizes[0])):
        listed = make(dt(RECORDS[:500], length=length), dt(RECORDS[500:]), sizes=[500, 500])
        found, recording = read(mdf.mdf(hd(dg(group(COUNT), data=listed))))
        assert found["G"]["v"][:50] == expected(COUNT)["v"][:50]
        assert len(found["G"]["v"]) < 3 * COUNT
        assert recording.problems


def read_or_nothing(data: bytes) -> tuple[dict[str, Stream], Recording]:
    try:
        return read(data)
    except ParseError as error:
        recording = Recording()
        recording.add_problem(error.offset or 0, error.reason)
        return {}, recording


@pytest.mark.parametrize("declared", [0, 1, len(RECORDS) - 1, len(RECORDS) + 1, 1 << 40])
def test_the_inflated_size_is_not_believed(declared: int) -> None:
    found, recording = read_or_nothing(mdf.mdf(hd(dg(group(COUNT), data=dz(RECORDS, declared=declared)))))
    held = found.get("G", {"v": []})["v"]
    assert held == expected(COUNT)["v"][: len(held)]
    assert recording.problems or recording.lost


@pytest.mark.parametrize("method", [2, 3, 4, 5, 6, 255])
def test_a_compression_that_is_not_read_is_told(method: int) -> None:
    other = dg(group(COUNT), data=dt(RECORDS))
    found, recording = read(mdf.mdf(hd(dg(cg(time_cn(), rows=1, size=8, name="H"), data=dz(RECORDS, method=method)), other)))
    assert found["G"] == expected(COUNT)
    assert recording.lost or recording.undecoded or found.get("H")


@pytest.mark.parametrize("size", [0, 1, 9, 11, 4000, (1 << 32) - 1])
def test_a_record_size_that_does_not_fit_its_channels_is_told(size: int) -> None:
    channels = cg(time_cn(), cn("v", byte=8, bits=16), rows=COUNT, size=size, name="G")
    _, recording = read_or_nothing(
        mdf.mdf(hd(dg(channels, data=dt(RECORDS)), dg(cg(time_cn(), rows=1, size=8, name="H"), data=dt(bytes(8)))))
    )
    assert recording.problems or recording.lost or recording.undecoded


@pytest.mark.parametrize(
    ("byte", "bit", "bits"), [(9, 0, 16), (8, 8, 8), (1 << 31, 0, 8), (8, 0, (1 << 32) - 1), (8, 255, 8), (8, 1, 64), (0, 0, 0)]
)
def test_a_channel_outside_of_its_record_is_told(byte: int, bit: int, bits: int) -> None:
    channels = cg(time_cn(), cn("a", byte=8, bits=8), cn("v", byte=byte, bit=bit, bits=bits), rows=3, size=10, name="G")
    found, recording = read(mdf.mdf(hd(dg(channels, data=dt(RECORDS[:30])))))
    assert found["G"]["a"] == [0, 3, 6]
    assert "v" in recording.undecoded or any("v" in name for name in recording.undecoded) or recording.problems or "v" in found["G"]


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("link", [1, 63, 72, 1 << 40, (1 << 64) - 1])
def test_links_of_a_channel_that_lead_nowhere_do_not_stop_the_others(position: int, link: int) -> None:
    value = cn("v", byte=8, bits=16)
    value.links[position] = link
    channels = cg(time_cn(), cn("a", byte=8, bits=8), value, rows=3, size=10, name="G")
    found, _ = read(mdf.mdf(hd(dg(channels, data=dt(RECORDS[:30])))))
    assert found["G"]["a"] == [0, 3, 6]
