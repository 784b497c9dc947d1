"""MDF files as measurements: the contract of all parsers, losses, clocks, values, events, and refusals."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from parsers.base import Recording
from parsers.blocks import NO_TIME, MessageBlock, SampleBlock
from parsers.contract import ParserContract, read
from parsers.detect import detect
from parsers.errors import Corrupt, Truncated, Unsupported
from parsers.limits import Limits
from parsers.mdf.reader import MdfParser
from parsers.source import BytesSource
from tests import mdf
from tests.mdf import cc, cg, cn, dg, dl, dt, dz, hd, ld, time_cn, vlsd
from tests.parsers.mdf_logs import measured, measured_file


class TestContract(ParserContract):
    parser = MdfParser
    sample = measured_file()


# --- losses


def test_a_lost_block_costs_its_own_records_only() -> None:
    records = [struct.pack("<dH", i, i) for i in range(40)]
    parts = [dz(b"".join(records)[a:b]) for a, b in ((0, 95), (95, 205), (205, 400))]
    sizes = [95, 110, 195]
    group = cg(time_cn(), cn("v", byte=8, bits=16), rows=40, size=10, name="G")
    good = bytearray(mdf.mdf(hd(dg(group, data=dl(*parts, sizes=sizes)))))
    good[parts[1].offset + 60] ^= 0xFF
    lines, recording = read(MdfParser(), bytes(good))
    assert [int(line.rsplit("=")[-1]) for line in lines] == [*range(9), *range(21, 40)]
    assert recording.lost


def test_values_of_a_virtual_channel_keep_their_row_behind_a_loss() -> None:
    parts = [dz(bytes(80)), dz(bytes(80)), dz(bytes(80))]
    group = cg(cn("t", 3, sync=1, conversion=cc(1, [0, 0.5])), cn("v", byte=0, bits=8), rows=30, size=8, name="G")
    damaged = bytearray(mdf.mdf(hd(dg(group, data=dl(*parts, equal=80)))))
    damaged[parts[1].offset + 54] ^= 0xFF
    lines, _ = read(MdfParser(), bytes(damaged))
    assert [int(line.split(",")[1]) for line in lines] == [i * 500_000_000 for i in (*range(10), *range(20, 30))]


def test_columns_that_lack_rows_have_no_values_in_them() -> None:
    master = cg(time_cn(), rows=40, size=8, name="T")
    valued = cg(cn("v", bits=16), rows=40, size=2, flags=8, master=master, name="G")
    times = [dz(struct.pack("<20d", *range(a, a + 20)), "DV") for a in (0, 20)]
    values = [dz(struct.pack("<10H", *range(a, a + 10)), "DV") for a in (0, 10, 20, 30)]
    file = bytearray(mdf.mdf(hd(dg(master, data=ld(times, [20, 20])), dg(valued, data=ld(values, [10] * 4))), version=420))
    file[values[1].offset + 55] ^= 0xFF
    lines, recording = read(MdfParser(), bytes(file))
    assert len(lines) == 40
    assert [int(line.rsplit("=")[-1]) for line in lines if "=" in line] == [*range(10), *range(20, 40)]
    assert [int(line.split(",")[1]) // 10**9 for line in lines] == [*range(40)]
    assert [int(line.split(",")[1]) // 10**9 for line in lines if "=" in line] == [*range(10), *range(20, 40)]
    assert recording.lost


# --- clocks


@pytest.mark.parametrize(
    ("scale", "ticks", "t_ns"),
    [
        ((0, 1e-6), [0, 1, 281474976710655], [0, 1000, 281474976710655000]),
        ((0, 1e-9), [2**53 + 1, 2**62 - 1], [2**53 + 1, 2**62 - 1]),
        ((0, 5e-10), [1, 2, 3, 5], [0, 1, 2, 2]),  # halves to even
        ((0.1, 1e-7), [1, 3], [100000100, 100000300]),
        ((1_600_000_000.123456789, 1e-3), [1], [1600000000124456700]),
    ],
)
def test_whole_ticks_become_exact_nanoseconds(scale: tuple[float, float], ticks: list[int], t_ns: list[int]) -> None:
    group = cg(time_cn(type=0, bits=64, conversion=cc(1, scale)), cn("v", byte=8, bits=8), rows=len(ticks), size=9, name="G")
    records = b"".join(struct.pack("<QB", tick, 0) for tick in ticks)
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(records)))))
    assert [int(line.split(",")[1]) for line in lines] == t_ns
    assert recording.problems == []


def test_real_seconds_are_rounded_once() -> None:
    seconds = [0.1, 0.2, 1.0000000005, 123456.789012345]
    group = cg(time_cn(), cn("v", byte=8, bits=8), rows=4, size=9, name="G")
    lines, _ = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(b"".join(struct.pack("<dB", t, 0) for t in seconds))))))
    assert [int(line.split(",")[1]) for line in lines] == [round(t * 1e9) for t in seconds]


def test_records_without_a_valid_time_are_left_out_and_counted() -> None:
    seconds = [0.0, float("nan"), float("inf"), 1e300, -1e12, 2.0]
    group = cg(time_cn(), cn("v", byte=8, bits=8), rows=6, size=9, name="G")
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(b"".join(struct.pack("<dB", t, i) for i, t in enumerate(seconds)))))))
    assert [line.rsplit("=")[-1] for line in lines] == ["0", "5"]
    assert recording.problem_count == 4
    assert "without a valid time" in recording.problems[0].reason


@pytest.mark.parametrize("sync", [2, 3, 4])
def test_a_master_that_counts_no_time_is_a_signal_and_rows_count_nanoseconds(sync: int) -> None:
    group = cg(cn("angle", 2, sync=sync, type=4, bits=64), cn("v", byte=8, bits=8), rows=3, size=9, name="G")
    records = b"".join(struct.pack("<dB", i * 30, i) for i in range(3))
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(records)))))
    assert lines == ["G[0],0,angle=0.0,v=0", "G[0],1,angle=30.0,v=1", "G[0],2,angle=60.0,v=2"]
    assert "its master angle counts no time" in recording.problems[0].reason


def test_groups_without_a_master_say_so() -> None:
    _, recording = read(MdfParser(), mdf.mdf(hd(dg(cg(cn("v", bits=8), rows=2, size=1, name="G"), data=dt(b"\x01\x02")))))
    assert "it has no master channel" in recording.problems[0].reason


@pytest.mark.parametrize(("start_ns", "absolute"), [(0, False), (1, True), (1 << 62, False), ((1 << 64) - 1, False)])
def test_a_start_that_is_no_time_leaves_times_relative(start_ns: int, absolute: bool) -> None:
    _, recording = read(MdfParser(), mdf.mdf(hd(measured(), start_ns=start_ns)))
    assert recording.absolute == absolute
    assert recording.start_ns == (start_ns if absolute else 0)
    assert bool(recording.problems) != absolute


def test_a_local_start_is_taken_for_utc_and_said() -> None:
    _, recording = read(MdfParser(), mdf.mdf(hd(measured(), flags=1)))
    assert recording.absolute
    assert "unknown zone" in recording.metadata["start time"]


# --- values


def test_canopen_dates_and_times_are_nanoseconds_since_1970() -> None:
    group = cg(
        time_cn(), cn("date", type=13, byte=8, bits=56), cn("time", type=14, byte=15, bits=48), rows=3, size=21, name="G"
    )  # fmt: skip
    records = [
        struct.pack("<dHBBBBB", 0, 500, 30, 12, 29, 2, 24) + struct.pack("<IH", 1000, 0),
        struct.pack("<dHBBBBB", 1, 0, 0, 0, 1, 1, 84) + struct.pack("<IH", 86_399_999, 365),
        struct.pack("<dHBBBBB", 2, 0, 0, 0, 30, 2, 23) + struct.pack("<IH", 86_400_000, 0),
    ]
    lines, _ = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(b"".join(records))))))
    times = ["2024-02-29T12:30:00.500", "1984-01-01T00:00:01", "1984-01-01", "1984-12-31T23:59:59.999"]
    leap, second, first, last = (int(np.datetime64(text, "ns").astype(np.int64)) for text in times)
    assert lines == [f"G[0],0,date={leap},time={second}", f"G[0],1000000000,date={first},time={last}", "G[0],2000000000"]


@pytest.mark.parametrize(
    ("channel", "reason"),
    [
        (cn("x", type=10, byte=8, bits=64), "bytes, not a number or text"),
        (cn("x", type=15, byte=8, bits=64), "complex numbers"),
        (cn("x", type=11, byte=8, bits=64), "MIME data"),
        (cn("x", type=0, byte=8, bits=72), "whole number of 72 bits"),
        (cn("x", type=4, byte=8, bits=24), "real number of 24 bits"),
        (cn("x", 7, type=7, byte=8, bits=64), "channel type 7"),
        (cn("x", type=99, byte=8, bits=8), "data type 99 is no number"),
    ],
)
def test_what_gives_no_signal_is_listed_with_its_reason(channel: mdf.Block, reason: str) -> None:
    group = cg(time_cn(), channel, cn("v", byte=8, bits=8), rows=2, size=16, name="G")
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(bytes(32))))))
    assert len(lines) == 2
    assert reason in recording.undecoded["G.x"]


def test_names_of_signals_are_unique() -> None:
    group = cg(time_cn(), *(cn(name, byte=8, bits=8) for name in ("v", "v", "t_ns", "v")), rows=1, size=9, name="G")
    lines, _ = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(bytes(9))))))
    assert lines == ["G[0],0,v=0,v#2=0,t_ns#2=0,v#3=0"] or lines == ["G[0],0,v=0,v#2=0,t_ns#2=0,v#2#3=0"]


def test_more_signals_than_allowed_are_listed() -> None:
    group = cg(time_cn(), *(cn(f"v{i}", byte=8, bits=8) for i in range(6)), rows=1, size=9, name="G")
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(bytes(9))))), Limits(max_signals=4))
    assert lines == ["G[0],0,v0=0,v1=0,v2=0,v3=0"]
    assert set(recording.undecoded) == {"G.v4", "G.v5"}


def test_channels_that_lie_over_one_another_thousands_of_times_are_not_all_read() -> None:
    group = cg(time_cn(bits=64), *(cn(f"v{i}", byte=8, bits=8, conversion=None, type=0) for i in range(3)), rows=1, size=9, name="G")
    many = cg(cn("t", 3, sync=1), *(cn(f"v{i}", bits=1, conversion=cc(1, [0, 0.5])) for i in range(1200)), rows=1, size=1, name="M")
    _, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(bytes(9))), dg(many, data=dt(b"\x01")))))
    assert 500 < len(recording.streams[1].signals) < 600
    assert recording.undecoded


def test_limits_of_a_channel_are_those_of_its_signal() -> None:
    channel = cn("v", byte=8, bits=8, flags=16)
    channel.data = channel.data[:24] + struct.pack("<6d", 0, 0, -5, 120, 0, 0)
    _, recording = read(MdfParser(), mdf.mdf(hd(dg(cg(time_cn(), channel, rows=1, size=9, name="G"), data=dt(bytes(9))))))
    signal = recording.streams[0].signals[0]
    assert (signal.minimum, signal.maximum) == (-5, 120)


def test_different_texts_beyond_the_limit_are_left_out_and_told() -> None:
    rows = 5000
    group = cg(time_cn(), cn("s", type=7, byte=8, bits=64), rows=rows, size=16, name="G")
    records = b"".join(struct.pack("<d8s", i, str(i).encode()) for i in range(rows))
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=dt(records)))))
    assert len(lines) == rows
    assert sum(",s=" in line for line in lines) == 4096
    assert recording.problem_count == rows - 4096


@pytest.mark.parametrize("room", [64 << 20, 0])
def test_texts_may_be_named_in_any_order(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parsers.mdf.state._VALUE_ROOM", room)
    content, offsets = vlsd(*(f"text {i}".encode() for i in range(50)))
    order = [i * 17 % 50 for i in range(200)]
    records = b"".join(struct.pack("<dQ", i, offsets[place]) for i, place in enumerate(order))
    half = len(content) // 2
    for data in (dt(content, "SD"), dl(dz(content[:half], "SD"), dz(content[half:], "SD"), equal=half)):
        group = cg(time_cn(), cn("s", 1, type=7, byte=8, bits=64, data=data), rows=200, size=16, name="G")
        recording = Recording()
        (block,) = MdfParser().blocks(BytesSource(mdf.mdf(hd(dg(group, data=dt(records))))), recording)
        assert isinstance(block, SampleBlock)
        choices = recording.streams[0].signals[0].choices
        assert choices is not None
        assert [choices[code] for code in block.columns[0].tolist()] == [f"text {place}" for place in order]
        assert recording.lost == []


def test_a_small_file_does_not_become_a_flood_of_values() -> None:
    channels = [cn(f"v{i}", bits=1, bit=i % 8, conversion=cc(1, [0, 0.5])) for i in range(500)]
    group = cg(cn("t", 3, sync=1, conversion=cc(1, [0, 1e-9])), *channels, rows=1, size=1, name="G")
    recording = Recording()
    blocks = MdfParser().blocks(BytesSource(mdf.mdf(hd(dg(group, data=dz(bytes(20_000_000)))))), recording)
    assert sum(block.nbytes for block in blocks if isinstance(block, SampleBlock)) < 1200 << 20
    assert any("than the size of the file justifies" in lost.reason for lost in recording.lost)


def test_data_that_many_groups_share_are_not_read_for_all_of_them() -> None:
    data = dt(bytes(1_000_000))
    groups = [dg(cg(time_cn(), cn("v", byte=8, bits=16), rows=100_000, size=10, name="G"), data=data) for _ in range(200)]
    lines = 0
    recording = Recording()
    for block in MdfParser().blocks(BytesSource(mdf.mdf(hd(*groups))), recording):
        lines += len(block)
    assert lines < 8_000_000
    assert any("linked to again and again" in lost.reason for lost in recording.lost)


def packed(content: bytes, method: int, codec: str, columns: int = 10) -> mdf.Block:
    """A block of zstd or LZ4 data, transposed when the method is odd."""
    turned = b"".join(content[i::columns] for i in range(columns)) if method & 1 else content
    stored = pa.Codec(codec).compress(turned).to_pybytes()
    return mdf.Block("DZ", [], struct.pack("<2sBxIQQ", b"DT", method, columns, len(content), len(stored)) + stored)


@pytest.mark.parametrize(("method", "codec"), [(2, "zstd"), (3, "zstd"), (4, "lz4"), (5, "lz4"), (4, "lz4_raw"), (5, "lz4_raw")])
def test_newer_compressions_are_read_and_their_sizes_not_believed(method: int, codec: str) -> None:
    content = b"".join(struct.pack("<dH", i / 4, 3 * i) for i in range(50))
    group = cg(time_cn(), cn("v", byte=8, bits=16), rows=50, size=10, name="G")
    data = packed(content, method, codec)
    lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=data), measured(2))))
    assert [int(line.rsplit("=")[-1]) for line in lines] == [*range(0, 150, 3), 0, 3]
    assert recording.problems == []
    for size in (len(content) - 10, len(content) + 10, 1 << 60):
        lying = mdf.Block("DZ", [], data.data[:8] + struct.pack("<Q", size) + data.data[16:])
        lines, recording = read(MdfParser(), mdf.mdf(hd(dg(group, data=lying), measured(2))))
        assert [int(line.rsplit("=")[-1]) for line in lines] == [0, 3]
        assert recording.lost


# --- what the file says of itself


def event(kind: int, base: int, factor: float, name: str, *, sync: int = 1, span: int = 0, cause: int = 0) -> mdf.Block:
    """u8 type, sync type, range type, cause, flags, 3 unused, u32 scopes, u16 attachments, u16 creator, i64 base, f64 factor."""
    return mdf.Block(
        "EV", [None, None, None, mdf.tx(name), None], struct.pack("<BBBBB3xIHHqd", kind, sync, span, cause, 0, 0, 0, 0, base, factor)
    )


def test_events_are_log_messages() -> None:
    events = [
        event(6, 1500, 1e-3, "here"),
        event(1, 2, 1.0, "", cause=1),
        event(5, 7, 1.0, "by angle", sync=2, span=1),
        event(5, 1 << 62, 1e300, "never"),
    ]
    for block, following in pairwise(events):
        block.links[0] = following
    recording = Recording()
    blocks = list(MdfParser().blocks(BytesSource(mdf.mdf(hd(measured(), events=events[0]))), recording))
    messages = blocks[0]
    assert isinstance(messages, MessageBlock)
    assert [messages.text_of(i) for i in range(4)] == ["here", "recording interrupt (cause: error)", "by angle", "never"]
    assert messages.t_ns.tolist() == [1_500_000_000, 2 * 10**9, NO_TIME, NO_TIME]
    assert [recording.sources[number] for number in messages.source] == ["marker", "recording interrupt", "trigger begins", "trigger"]


def test_comments_and_history_are_metadata() -> None:
    comment = mdf.md(
        "<HDcomment><TX>a &lt;drive&gt;</TX>"
        "<common_properties><tree name='x'><e name='serial'>42</e></tree></common_properties></HDcomment>"
    )
    history = mdf.fh(mdf.md("<FHcomment><TX>made</TX><tool_id>tool</tool_id></FHcomment>"))
    _, recording = read(MdfParser(), mdf.mdf(hd(measured(), comment=comment, history=[history])))
    expected = {"comment": "a <drive>", "serial": "42", "history 1": "made", "history 1 tool id": "tool", "MDF version": "4.10"}
    assert expected.items() <= recording.metadata.items()


def test_no_entity_of_a_comment_is_ever_expanded() -> None:
    bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><HDcomment><TX>&b;</TX></HDcomment>"
    _, recording = read(MdfParser(), mdf.mdf(hd(measured(), comment=mdf.md(bomb))))
    assert "aaaa" not in recording.metadata.get("comment", "").replace("'aaaaaaaaaa'", "")


# --- refusals


def test_packed_logs_of_canedge_are_refused_by_name() -> None:
    data = b"Generic File\0\0" + bytes(500)
    assert detect(BytesSource(data, "x.MFC")).format == "mdf"
    with pytest.raises(Unsupported, match=r"compressed or encrypted CANedge log"):
        read(MdfParser(), data)


@pytest.mark.parametrize(("text", "number", "shown"), [(b"3.30    ", 330, "3.30"), (b"2.14    ", 214, "2.14"), (b"3.00    ", 300, "3.00")])
def test_older_versions_are_refused_by_number(text: bytes, number: int, shown: str) -> None:
    data = bytearray(measured_file())
    data[8:16] = text
    data[28:30] = struct.pack("<H", number)
    assert detect(BytesSource(bytes(data))).format == "mdf"
    with pytest.raises(Unsupported, match=f"MDF version {shown}"):
        read(MdfParser(), bytes(data))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"MDF", Truncated, "needs 64 bytes, 3 are there"),
        (measured_file()[:63], Truncated, "needs 64 bytes, 63 are there"),
        (measured_file()[:64], Truncated, "the file ends at 64 at byte 64"),
        (measured_file()[:100], Truncated, "HD block of 104 bytes ends behind the file"),
        (measured_file()[:200], Truncated, "DG block of 64 bytes ends behind the file"),
        (b"MDX" + measured_file()[3:], Corrupt, "no MDF signature at byte 0"),
        (measured_file()[:64] + b"##DG" + measured_file()[68:], Corrupt, "DG block where HD must stand"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_refused(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(MdfParser(), data)


def test_metadata_behind_the_data_of_a_cut_file_are_missed() -> None:
    group = measured(50)
    data = mdf.mdf(hd(group), last=[group])
    cut = data[: group.offset - 10]
    with pytest.raises(Truncated, match=f"link leads to byte {group.offset}, the file ends at {len(cut)}"):
        read(MdfParser(), cut)


def test_groups_before_a_broken_link_are_read() -> None:
    groups = [measured(3), measured(4), measured(5)]
    data = bytearray(mdf.mdf(hd(*groups)))
    struct.pack_into("<Q", data, groups[1].offset + 24, 1 << 40)
    lines, recording = read(MdfParser(), bytes(data))
    assert len(lines) == 7
    assert recording.partial
