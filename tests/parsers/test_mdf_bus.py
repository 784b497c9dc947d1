"""MDF files as bus logs: frames of sorted and running logs, and what damage between their records costs."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from parsers.base import Recording
from parsers.can.frames import BRS, ESI, EXTENDED, FD, REMOTE, TX, FrameBlock
from parsers.contract import ParserContract, attempt, read
from parsers.errors import ParseError
from parsers.limits import Limits
from parsers.mdf.reader import MdfParser
from parsers.source import BytesSource
from tests import mdf
from tests.mdf import cc, cg, cn, dg, dl, dt, dz, hd, si, time_cn, vlsd
from tests.parsers.mdf_logs import data_last, measured

# t f64, then ID with IDE in its top bit, BusChannel, Dir and flags, DataLength, DataBytes
FRAME = struct.Struct("<dIBBB8s")


def members(kind: str, *wanted: str, data: mdf.Block | None = None) -> list[mdf.Block]:
    """The members of a frame that lies as in FRAME; DataBytes with `data` are offsets into it."""
    known = {
        "ID": cn(f"{kind}.ID", byte=8, bits=29),
        "IDE": cn(f"{kind}.IDE", byte=11, bit=7, bits=1),
        "BusChannel": cn(f"{kind}.BusChannel", byte=12, bits=8),
        "Dir": cn(f"{kind}.Dir", byte=13, bits=1),
        "EDL": cn(f"{kind}.EDL", byte=13, bit=1, bits=1),
        "BRS": cn(f"{kind}.BRS", byte=13, bit=2, bits=1),
        "ESI": cn(f"{kind}.ESI", byte=13, bit=3, bits=1),
        "DataLength": cn(f"{kind}.DataLength", byte=14, bits=8),
        "DLC": cn(f"{kind}.DLC", byte=14, bits=4),
        "DataBytes": cn(f"{kind}.DataBytes", 1 if data else 0, type=10, byte=15, bits=64, data=data),
    }
    return [known[name] for name in wanted]


ALL = ("ID", "IDE", "BusChannel", "Dir", "EDL", "BRS", "ESI", "DataLength", "DataBytes")


def frames_of(kind: str, rows: int, *wanted: str, record_id: int = 0, data: mdf.Block | None = None) -> mdf.Block:
    """A channel group of frames."""
    first, *rest = members(kind, *(wanted or ALL), data=data)
    before = first
    for block in rest:
        before.links[0] = block
        before = block
    whole = cn(kind, type=10, byte=8, bits=120, inner=first)
    return cg(time_cn(), whole, rows=rows, size=FRAME.size, record_id=record_id, flags=6, name=kind, source=si("CAN"))


def frame(i: int, identifier: int = 0x123, bus: int = 1, bits: int = 0, payload: bytes = b"\x01\x02\x03") -> bytes:
    return FRAME.pack(i / 4, identifier, bus, bits, len(payload), payload)


def bus_file(records: list[bytes], kind: str = "CAN_DataFrame", *wanted: str, **rest: Any) -> bytes:
    """A sorted bus log of these records."""
    data = dt(b"".join(records))
    return data_last(hd(dg(frames_of(kind, len(records), *wanted), data=data)), data, **rest)


def frame_blocks(data: bytes, limits: Limits | None = None) -> tuple[list[FrameBlock], Recording]:
    recording = Recording()
    blocks = list(MdfParser().blocks(BytesSource(data), recording, limits or Limits()))
    assert all(isinstance(block, FrameBlock) for block in blocks)
    return [block for block in blocks if isinstance(block, FrameBlock)], recording


def unsorted_bus_file(**rest: Any) -> bytes:
    """Frames of two groups and their payloads in the records of a third, as loggers write them while they run."""
    payloads = cg(rows=0, size=0, record_id=3, flags=1)
    data_frames = frames_of("CAN_DataFrame", 0, "ID", "IDE", "BusChannel", "DataBytes", record_id=1, data=payloads)
    errors = frames_of("CAN_ErrorFrame", 0, "BusChannel", record_id=2)
    content, at = b"", 0
    for i in range(6):
        if i % 3 == 2:
            content += b"\x02" + FRAME.pack(i / 4, 0, 2, 0, 0, b"")
        payload = bytes(range(i))
        content += b"\x01" + FRAME.pack(i / 4, 0x100 + i, 1, 0, 0, struct.pack("<Q", at))
        content += b"\x03" + struct.pack("<I", i) + payload
        at += 4 + i
    data = dt(content, length=24)
    return data_last(hd(dg(data_frames, errors, payloads, data=data, id_size=1)), data, unfinished=1 | 4 | 32, **rest)


UNSORTED = [
    "0,1,100,0,0,0,0,",
    "250000000,1,101,0,0,0,0,00",
    "500000000,2,0,0,0,0,1,",
    "500000000,1,102,0,0,0,0,0001",
    "750000000,1,103,0,0,0,0,000102",
    "1000000000,1,104,0,0,0,0,00010203",
    "1250000000,2,0,0,0,0,1,",
    "1250000000,1,105,0,0,0,0,0001020304",
]


class TestContract(ParserContract):
    parser = MdfParser
    sample = bus_file([frame(i, 0x100 + i) for i in range(4)], "CAN_DataFrame", "ID", "DataLength", "DataBytes")


# --- CAN frames


def test_members_make_a_frame() -> None:
    data = bus_file(
        [
            frame(0, 0x7FF, 1, 1, b"\x01\x02"),
            frame(1, 0x80000123, 2, 2 | 4 | 8, b""),
            frame(2, 0x98DAF110, 2, 0, b"12345678"),
        ]
    )
    lines, recording = read(MdfParser(), data)
    assert lines == ["0,1,7ff,0,0,0,0,0102", "250000000,2,123,1,1,0,0,", "500000000,2,18daf110,1,0,0,0,3132333435363738"]
    (block,), _ = frame_blocks(data)
    assert block.flags.tolist() == [TX, EXTENDED | FD | BRS | ESI, EXTENDED]
    assert recording.channels == ["1", "2"]
    assert recording.problems == []
    assert (recording.start_ns, recording.absolute) == (mdf.START_NS, True)


def test_an_id_above_eleven_bits_is_extended_when_nothing_else_says_so() -> None:
    lines, _ = read(
        MdfParser(), bus_file([frame(0, 0x7FF), frame(1, 0x800)], "CAN_DataFrame", "ID", "BusChannel", "DataLength", "DataBytes")
    )
    assert [line.split(",")[2:4] for line in lines] == [["7ff", "0"], ["800", "1"]]


def test_remote_and_error_frames_have_no_data() -> None:
    remote, _ = read(MdfParser(), bus_file([frame(0, 0x80000123)], "CAN_RemoteFrame", "ID", "IDE", "BusChannel", "Dir", "DataLength"))
    assert remote == ["0,1,123,1,0,1,0,"]
    (block,), _ = frame_blocks(bus_file([frame(0, 0x123, bits=1)], "CAN_RemoteFrame", "ID", "BusChannel", "Dir"))
    assert (block.flags.tolist(), block.length.tolist()) == ([REMOTE | TX], [0])
    error, _ = read(MdfParser(), bus_file([frame(0, 0x123)], "CAN_ErrorFrame", "BusChannel"))
    assert error == ["0,1,0,0,0,0,1,"]


@pytest.mark.parametrize(("bits", "code", "length"), [(0, 3, 3), (0, 9, 8), (0, 15, 8), (2, 8, 8)])
def test_without_a_length_the_dlc_counts(bits: int, code: int, length: int) -> None:
    record = FRAME.pack(0, 0x123, 1, bits, code, b"12345678")
    (block,), _ = frame_blocks(bus_file([record], "CAN_DataFrame", "ID", "BusChannel", "EDL", "DLC", "DataBytes"))
    assert block.length.tolist() == [length]


def test_a_length_beyond_the_data_is_cut_and_told() -> None:
    (block,), recording = frame_blocks(bus_file([FRAME.pack(0, 1, 1, 0, 200, b"12345678")]))
    assert block.length.tolist() == [8]
    assert "name more data than they have" in recording.problems[0].reason


def test_what_is_only_in_the_conversion_is_taken_from_there() -> None:
    first, *rest = members("CAN_DataFrame", "ID", "DataLength", "DataBytes")
    virtual = [
        cn("CAN_DataFrame.BusChannel", 6, conversion=cc(1, [9, 0])),
        cn("CAN_DataFrame.IDE", 6, conversion=cc(1, [1, 0])),
        cn("CAN_DataFrame.Dir", 6, conversion=cc(7, [0, 1], ["Rx", "Tx", "Tx"])),
    ]
    before = first
    for block in [*rest, *virtual]:
        before.links[0] = block
        before = block
    records = b"".join(frame(i, 0x10) for i in range(3))
    group = cg(time_cn(), cn("CAN_DataFrame", type=10, byte=8, bits=120, inner=first), rows=3, size=FRAME.size, name="CAN9")
    (block,), recording = frame_blocks(mdf.mdf(hd(dg(group, data=dt(records)))))
    assert recording.channels == ["9"]
    assert block.flags.tolist() == [EXTENDED, EXTENDED | TX, EXTENDED | TX]


def test_a_bus_may_be_named_by_a_text() -> None:
    kind = "CAN_DataFrame"
    bus = cn(f"{kind}.BusChannel", byte=12, bits=8, conversion=cc(7, [1, 2], ["Powertrain", "Body", None]))
    data = cn(f"{kind}.DataBytes", type=10, byte=15, bits=64)
    identifier = cn(f"{kind}.ID", byte=8, bits=29)
    group = cg(time_cn(), identifier, bus, data, cn(kind, type=10, byte=8, bits=120), rows=3, size=FRAME.size, name="CAN")
    records = b"".join(frame(i, 0x10, bus) for i, bus in enumerate((1, 2, 1)))
    (block,), recording = frame_blocks(mdf.mdf(hd(dg(group, data=dt(records)))))
    assert [recording.channels[number] for number in block.channel] == ["Powertrain", "Body", "Powertrain"]


@pytest.mark.parametrize("kind", ["SD", "DZ"])
def test_data_of_any_length_up_to_64_bytes(kind: str) -> None:
    values = [bytes(range(length)) for length in (0, 1, 8, 12, 64, 65, 3)]
    content, offsets = vlsd(*values)
    data = dt(content, "SD") if kind == "SD" else dl(dz(content[:20], "SD"), dz(content[20:], "SD"), sizes=[20, len(content) - 20])
    group = frames_of("CAN_DataFrame", 7, "ID", "BusChannel", "DataBytes", data=data)
    records = b"".join(FRAME.pack(i, 0x100 + i, 1, 0, 0, struct.pack("<Q", offset)) for i, offset in enumerate(offsets))
    blocks, recording = frame_blocks(mdf.mdf(hd(dg(group, data=dt(records)))), Limits(read_size=17))
    lengths = [length for block in blocks for length in block.length.tolist()]
    assert lengths == [0, 1, 8, 12, 64, 3]
    assert recording.skipped == {"CAN frame longer than 64 bytes": 1}
    for block in blocks:
        for start, length in zip(block.data_offset, block.length, strict=True):
            assert block.data[start : start + length].tobytes() == bytes(range(length))


def test_frames_of_several_groups_come_in_the_order_of_their_records() -> None:
    lines, recording = read(MdfParser(), unsorted_bus_file())
    assert lines == UNSORTED
    assert recording.problems == []
    assert recording.metadata["finished"].startswith("no")


@pytest.mark.parametrize(
    "limits", [Limits(block_frames=1), Limits(block_frames=2), Limits(block_frames=3, read_size=5), Limits(read_size=1)]
)
def test_the_size_of_blocks_does_not_change_the_order(limits: Limits) -> None:
    lines, recording = read(MdfParser(), unsorted_bus_file(), limits)
    assert lines == UNSORTED
    assert recording.lost == []


def test_a_running_log_that_is_cut_anywhere_gives_whole_frames_only() -> None:
    data = unsorted_bus_file()
    start = data.index(b"##DT") + 24
    for cut in range(start, len(data)):
        outcome = attempt(MdfParser(), data[:cut])
        if isinstance(outcome, ParseError):
            assert cut < start + 1 + FRAME.size + 5
            continue
        found, recording = outcome
        lines = found.get("frames", [])
        assert lines == UNSORTED[: len(lines)], cut
        # A recorder that was switched off leaves a file like this one; only half a record can be told.
        ends_whole = data[:cut].endswith(tuple(b"\x03" + struct.pack("<I", i) + bytes(range(i)) for i in range(6)))
        assert ends_whole or cut == start or recording.lost or lines == UNSORTED[: len(lines)], cut


def test_buses_that_are_not_read_are_counted() -> None:
    lin = frames_of("LIN_Frame", 5)
    ethernet = frames_of("ETH_Frame", 2)
    log = hd(dg(lin, data=dt(bytes(5 * FRAME.size))), dg(ethernet, data=dt(bytes(2 * FRAME.size))), measured())
    lines, recording = read(MdfParser(), mdf.mdf(log))
    assert len(lines) == 4
    assert recording.skipped == {"LIN frame": 5, "Ethernet frame": 2}


def test_a_group_of_frames_without_their_members_is_listed() -> None:
    found, recording = read(MdfParser(), bus_file([frame(0)], "CAN_DataFrame", "BusChannel", "DataLength"))
    assert found == []
    assert recording.undecoded == {"CAN_DataFrame": "the frames have no ID"}


def test_more_buses_than_allowed_share_one_name() -> None:
    _, recording = frame_blocks(bus_file([frame(i, 1, i) for i in range(10)]), Limits(max_channels=4))
    assert recording.channels == ["0", "1", "2", "other"]


# --- damage in mixed records


def mixed(count: int) -> bytes:
    return b"".join(b"\x01" + frame(i, 0x100 + i) for i in range(count))


def mixed_file(content: bytes, rows: int = 0) -> bytes:
    group = frames_of("CAN_DataFrame", rows, record_id=1)
    other = cg(time_cn(), cn("v", byte=8, bits=8), rows=0, size=9, record_id=2, name="G")
    data = dt(content)
    return data_last(hd(dg(group, other, data=data, id_size=1)), data, unfinished=1)


@pytest.mark.parametrize("damage", [b"\xff", b"\x00" * 37, b"\xee" * 500])
@pytest.mark.parametrize("read_size", [50, 1 << 20])
def test_frames_behind_damage_are_found_again(damage: bytes, read_size: int) -> None:
    whole = mixed(40)
    at = 10 * (1 + FRAME.size)
    data = mixed_file(whole[:at] + damage + whole[at:])
    lines, recording = read(MdfParser(), data, Limits(read_size=read_size))
    assert [line.split(",")[2] for line in lines] == [f"{0x100 + i:x}" for i in range(40)]
    start = data.index(whole[:30]) + at
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(start, len(damage))]


def test_a_wrong_record_id_loses_that_record_only() -> None:
    content = bytearray(mixed(40))
    content[7 * (1 + FRAME.size)] = 0x77
    lines, recording = read(MdfParser(), mixed_file(bytes(content)))
    assert [line.split(",")[2] for line in lines] == [f"{0x100 + i:x}" for i in range(40) if i != 7]
    assert recording.lost[0].length == 1 + FRAME.size


def running_log(count: int, behind: bool) -> tuple[list[bytes], bytes]:
    """Frames whose payloads are records of their own, in front of the frame or behind it; the records, and what is in front of them."""
    values = cg(rows=0, size=0, record_id=3, flags=1)
    group = frames_of("CAN_DataFrame", 0, "ID", "IDE", "BusChannel", "DataBytes", record_id=1, data=values)
    records, at = [], 0
    for i in range(count):
        payload = struct.pack("<I", i) + bytes(i % 3)
        row = b"\x01" + FRAME.pack(i / 4, 0x200 + i, 1, 0, 0, struct.pack("<Q", at))
        value = b"\x03" + struct.pack("<I", len(payload)) + payload
        records += [row, value] if behind else [value, row]
        at += 4 + len(payload)
    data = dt(b"", length=24)
    return records, data_last(hd(dg(group, values, data=data, id_size=1)), data, unfinished=1 | 4 | 32)


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("gone", [range(60, 64), range(61, 64), range(60, 63), range(61, 62), range(60, 61), range(3)])
@pytest.mark.parametrize("filler", [b"\xff", b"\xff" * 100])
def test_behind_a_loss_no_frame_gets_the_payload_of_another(behind: bool, gone: range, filler: bytes) -> None:
    records, head = running_log(100, behind)
    content = b"".join(record if i not in gone else filler if i == gone[0] else b"" for i, record in enumerate(records))
    lines, recording = read(MdfParser(), head + content)
    for line in lines:
        number = int(line.split(",")[2], 16) - 0x200
        assert line.rsplit(",")[-1] == (struct.pack("<I", number) + bytes(number % 3)).hex()
    if gone[0]:
        assert len(lines) >= 100 - len(gone)
    assert recording.lost


@pytest.mark.parametrize("length", [9, 40, 500, 3000, 1 << 20, 1 << 31])
@pytest.mark.parametrize("behind", [True, False])
def test_a_length_that_lies_swallows_no_records(length: int, behind: bool) -> None:
    records, head = running_log(200, behind)
    at = 81 if behind else 80
    records[at] = b"\x03" + struct.pack("<I", length) + records[at][5:]
    lines, recording = read(MdfParser(), head + b"".join(records))
    assert 197 <= len(lines) <= 200
    assert recording.lost
    for line in lines:
        number = int(line.split(",")[2], 16) - 0x200
        if number not in (39, 40, 41):
            assert line.rsplit(",")[-1] == (struct.pack("<I", number) + bytes(number % 3)).hex()


def test_a_second_file_behind_the_first_is_told() -> None:
    first = unsorted_bus_file()
    lines, recording = read(MdfParser(), first + first)
    assert lines == UNSORTED
    assert "another MDF file begins here" in recording.lost[0].reason
    assert (recording.lost[0].offset, recording.lost[0].length) == (len(first), len(first))
