"""Fault codes: every vector of the corpus, transport protocols frame by frame, and the collector's preselection."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from parsers.faultcodes import j1939, obd2, uds
from parsers.faultcodes.codes import FaultCode, FaultCodes, j2012
from parsers.faultcodes.collect import FaultCollector
from parsers.faultcodes.isotp import Reassembler
from tests.parsers.blocks import CORPUS, Row, block, frame

VECTORS = CORPUS / "faultcodes" / "EXPECTED_faultcodes.json"
needs_corpus = pytest.mark.skipif(not VECTORS.is_file(), reason="the corpus is not there")


def vectors(protocol: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())[protocol][kind]
    assert found
    return found


def collect(rows: list[Row], block_size: int = 65_536) -> list[dict[str, Any]]:
    collector = FaultCollector(["can0", "can1"])
    for start in range(0, len(rows), block_size):
        collector.add(block(rows[start : start + block_size]))
    return collector.codes.to_json()


def brief(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(row["protocol"], row["code"], row["status"], row["source"], row["channel"]) for row in rows]


def isotp(identifier: str, message: bytes, channel: int = 0) -> list[Row]:
    """A message as ISO-TP frames of 8 bytes, one millisecond apart."""
    if len(message) <= 7:
        payloads = [bytes([len(message)]) + message]
    else:
        payloads = [(0x1000 | len(message)).to_bytes(2, "big") + message[:6]]
        rest = message[6:]
        payloads += [bytes([0x20 | (i + 1) & 15]) + rest[7 * i : 7 * i + 7] for i in range((len(rest) + 6) // 7)]
    return [frame(f"{identifier}#{payload.hex()}", i * 1_000_000, channel) for i, payload in enumerate(payloads)]


def bam(source: str, group: int, message: bytes, destination: str = "FF", control: int = 32) -> list[Row]:
    """A message over the J1939 transport protocol."""
    packets = (len(message) + 6) // 7
    start = bytes([control]) + len(message).to_bytes(2, "little") + bytes([packets, 0xFF]) + group.to_bytes(3, "little")
    rows = [frame(f"1CEC{destination}{source}#{start.hex()}")]
    for i in range(packets):
        packet = (bytes([i + 1]) + message[7 * i : 7 * i + 7]).ljust(8, bytes([0xFF]))
        rows.append(frame(f"1CEB{destination}{source}#{packet.hex()}"))
    return rows


@needs_corpus
def test_every_two_byte_code_is_written_as_the_reference_writes_it() -> None:
    for vector in vectors("obd2", "dtc_bytes"):
        assert j2012(int(vector["bytes"], 16)) == vector["code"].upper()


@needs_corpus
def test_stored_codes_of_every_ecu_are_found_in_raw_frames() -> None:
    for vector in vectors("obd2", "mode03_messages"):
        rows = [frame(text[:3] + "#" + text[3:] if text[0] == "7" else text[:8] + "#" + text[8:]) for text in vector["frames"]]
        expected = sorted(code for ecu in vector["per_ecu"] for code in ecu["codes"])
        found = collect(rows)
        assert sorted(row["code"] for row in found) == expected
        assert {row["status"] for row in found} <= {"stored"}
        assert {int(row["source"], 16) & 7 for row in found if row["source"].startswith("7")} <= {e["ecu_tx_id"] for e in vector["per_ecu"]}


@needs_corpus
def test_every_uds_record_and_its_status_bits_are_read() -> None:
    for vector in vectors("uds", "read_dtc"):
        found = uds.read_dtcs(bytes.fromhex(vector["payload"]))
        assert [
            {
                "id": f"{dtc.code:06x}",
                "status": dtc.status,
                "testFailed": bool(dtc.status & uds.TEST_FAILED),
                "confirmed": bool(dtc.status & uds.CONFIRMED),
                "pending": bool(dtc.status & uds.PENDING),
                "warningIndicator": bool(dtc.status & uds.WARNING_INDICATOR),
            }
            for dtc in found
        ] == vector["dtcs"]


@needs_corpus
def test_a_uds_refusal_is_no_fault_code() -> None:
    for vector in vectors("uds", "negative"):
        message = bytes.fromhex(vector["payload"])
        assert uds.negative_response(message) == (message[1], message[2])
        assert uds.parse(message) == []


@needs_corpus
def test_every_j1939_code_is_taken_apart_as_the_reference_does() -> None:
    for vector in vectors("j1939", "dtc"):
        dtc = j1939.read_dtc(bytes.fromhex(vector["bytes"]))
        assert (dtc.spn, dtc.fmi, dtc.occurrence_count, dtc.conversion_method) == (
            vector["spn"], vector["fmi"], vector["oc"], vector["conversion_method"],
        )  # fmt: skip


@needs_corpus
@pytest.mark.parametrize("block_size", [1, 3, 65_536])
def test_long_uds_answers_are_found_across_frames_and_blocks(block_size: int) -> None:
    for vector in vectors("uds", "read_dtc"):
        message = bytes.fromhex(vector["payload"])
        expected = {(fault.code, fault.status) for fault in uds.parse(message)}
        found = collect(isotp("7E9", message), block_size)
        assert {(row["code"], row["status"]) for row in found} == expected
        assert all(row["protocol"] == "uds" and row["first_ns"] == 0 for row in found)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("5902ff03010029", [("P0301-00", "active")]),
        ("590203010028".replace("5902", "5902ff"), [("P0301-00", "stored")]),
        ("5902ff03010004", [("P0301-00", "pending")]),
        ("5902ff03010020", [("P0301-00", "previously_active")]),
        ("590aff0301005003020000", []),
        ("5915ff03010000", [("P0301-00", "permanent")]),
        ("5904030100090112345678", [("P0301-00", "active")]),
        ("5906c10012080199", [("U0100-12", "stored")]),
        ("5908ff2000c1001208", [("U0100-12", "stored")]),
        ("591701ff03010009", [("P0301-00", "active")]),
        ("594233ffff0420c1001209", [("U0100-12", "active")]),
        ("595533ff04c1001209", [("U0100-12", "permanent")]),
        ("5901ff010003", []),
        ("5902ff000000ff", []),
        ("5902ff0301", []),
        ("59", []),
    ],
)
def test_each_uds_report_is_read_by_its_own_layout(message: str, expected: list[tuple[str, str]]) -> None:
    assert [(fault.code, fault.status) for fault in uds.parse(bytes.fromhex(message))] == expected


@pytest.mark.parametrize(("service", "status"), [("43", "stored"), ("47", "pending"), ("4A", "permanent")])
def test_obd_services_differ_in_status_and_padding_is_no_code(service: str, status: str) -> None:
    found = obd2.parse(bytes.fromhex(service + "0203010000C100"))
    assert [(fault.code, fault.status) for fault in found] == [("P0301", status)]


def test_dm1_in_one_frame_gives_code_count_and_lamps() -> None:
    rows = [frame("18FECA00#44FF6E0013000000"[:25], i * 1_000_000_000) for i in range(5)]
    (found,) = collect(rows)
    assert (found["code"], found["status"], found["source"], found["count"]) == ("SPN 110 FMI 19", "active", "00", 5)
    assert (found["first_ns"], found["last_ns"]) == (0, 4_000_000_000)
    assert found["lamps"] == {"mil": True, "red_stop": False, "amber_warning": True, "protect": False}


@pytest.mark.parametrize("payload", ["00FF00000000FFFF", "00FFFFFFFFFFFFFF"])
def test_dm1_without_a_fault_gives_none(payload: str) -> None:
    assert collect([frame(f"18FECA00#{payload}")]) == []


def test_an_occurrence_count_of_127_is_unknown_and_the_latest_known_count_is_kept() -> None:
    rows = [frame("18FECA03#00FF5B00037FFFFF", 1), frame("18FECA03#00FF5B000305FFFF", 2), frame("18FECA03#00FF5B000306FFFF", 3)]
    (found,) = collect(rows)
    assert (found["occurrence_count"], found["count"]) == (6, 3)
    (unknown,) = collect(rows[:1])
    assert unknown["occurrence_count"] is None


@pytest.mark.parametrize(("group", "status"), sorted(j1939.STATUS_OF_PGN.items()))
@pytest.mark.parametrize(("destination", "control"), [("FF", 32), ("F9", 16)])
def test_several_j1939_codes_come_over_broadcast_and_connection(group: int, status: str, destination: str, control: int) -> None:
    message = bytes.fromhex("40ff" + "6e000301" + "5b000405" + "ffe3f47f")
    rows = bam("21", group, message, destination, control)
    for size in (1, 100):
        found = collect(rows, size)
        assert brief(found) == [
            ("j1939", code, status, "21", "can0") for code in sorted(["SPN 110 FMI 3", "SPN 91 FMI 4", "SPN 517119 FMI 20"])
        ]


def test_two_interleaved_broadcasts_are_kept_apart_and_a_lost_packet_gives_nothing() -> None:
    one = bam("01", 0xFECA, bytes.fromhex("00ff6e0003016f000401"))
    two = bam("02", 0xFECA, bytes.fromhex("00ff700003017100040172000501"))
    mixed = [row for pair in zip(one, two, strict=True) for row in pair]
    assert len(collect(mixed)) == 5
    assert [row["source"] for row in collect([*mixed[:4], *mixed[5:]])] == ["02"] * 3


def test_a_transport_session_of_another_group_is_not_followed() -> None:
    assert collect(bam("01", 0xFEE3, bytes(39))) == []


def test_a_uds_looking_message_on_an_ordinary_id_is_ignored() -> None:
    assert collect(isotp("123", bytes.fromhex("5902ff03010029"))) == []
    assert collect(isotp("18DA10F1", bytes.fromhex("5902ff03010029"))) == []
    assert brief(collect(isotp("18DAF110", bytes.fromhex("5902ff03010029")))) == [("uds", "P0301-00", "active", "18daf110", "can0")]


def test_obd_answers_count_only_from_obd_ecus() -> None:
    assert collect(isotp("7BB", bytes.fromhex("43010301"))) == []
    assert brief(collect(isotp("7EA", bytes.fromhex("43010301"), channel=1))) == [("obd2", "P0301", "stored", "7ea", "can1")]


class TestIsoTp:
    def test_a_message_of_any_length_comes_back(self) -> None:
        rng = random.Random(1)
        for length in (1, 6, 7, 8, 13, 14, 100, 4095):
            message = rng.randbytes(length)
            reassembler = Reassembler()
            results = [reassembler.feed("a", row[4], row[0]) for row in isotp("7E8", message)]
            assert results[-1] == (0, message)
            assert not any(results[:-1])
            assert not reassembler.waiting

    def test_a_frame_out_of_sequence_ends_the_message(self) -> None:
        rows = isotp("7E8", bytes(range(40)))
        reassembler = Reassembler()
        assert [reassembler.feed("a", row[4], 0) for row in [rows[0], rows[1], rows[3], *rows[4:]]] == [None] * len(rows[1:])
        assert reassembler.broken == 1

    def test_a_new_message_ends_an_unfinished_one(self) -> None:
        first = isotp("7E8", bytes.fromhex("5902ff030100290302002903030029"))
        other = isotp("7E8", bytes.fromhex("620101" + "00" * 12))
        assert collect([first[0], *other, *first[1:]]) == []

    def test_can_fd_lengths_in_the_second_byte_and_beyond_12_bits_are_read(self) -> None:
        reassembler = Reassembler()
        message = bytes(range(50))
        assert reassembler.feed("a", b"\0\x32" + message + bytes(10), 5) == (5, message)
        long = bytes(i & 255 for i in range(5000))
        frames = [b"\x10\0" + (5000).to_bytes(4, "big") + long[:58]]
        frames += [bytes([0x20 | (i + 1) & 15]) + long[58 + 63 * i : 58 + 63 * i + 63] for i in range((5000 - 58 + 62) // 63)]
        assert [reassembler.feed("a", f, 7) for f in frames][-1] == (7, long)

    @pytest.mark.parametrize(
        "payload", [b"", b"\x00", b"\x08abc", b"\x0f", b"\x10", b"\x10\x00\xff\xff\xff\xff\0\0", b"\x21abc", b"\x30", b"\xf0"]
    )
    def test_a_malformed_frame_gives_nothing(self, payload: bytes) -> None:
        reassembler = Reassembler()
        assert reassembler.feed("a", payload, 0) is None
        assert not reassembler.waiting


def test_random_frames_never_break_the_collector() -> None:
    rng = random.Random(7)
    ids = ["7E8", "7EF", "600", "18DAF110", "18FECA00", "1CECFF00", "1CEBFF00", "18FD8001"]
    for _ in range(20):
        rows = [frame(f"{rng.choice(ids)}#{rng.randbytes(rng.choice([0, 1, 2, 3, 7, 8, 8, 8, 64])).hex()}", i) for i in range(500)]
        for row in collect(rows, rng.choice([1, 7, 500])):
            assert row["first_ns"] <= row["last_ns"]


def test_more_codes_than_the_limit_are_dropped_and_counted() -> None:
    codes = FaultCodes(limit=3)
    for i in range(5):
        codes.add(FaultCode("obd2", f"P000{i}", "stored"), "7e8", "can0", i, i)
    assert (len(codes.to_json()), codes.dropped) == (3, 2)


@needs_corpus
def test_the_real_dm1_log_gives_its_fault() -> None:
    lines = (CORPUS / "candump" / "pretty_j1939__test_dm1.log").read_text().split()
    rows = [frame(text, i) for i, text in enumerate(lines[2::3])]
    assert brief(collect(rows)) == [("j1939", "SPN 91 FMI 3", "active", "00", "can0")]


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ("5908ff8000c1001208", "check_immediately"),
        ("5909ff6000c1001208", "check_at_next_halt"),
        ("5908ff2000c1001208", "maintenance"),
        ("5908ff0000c1001208", None),
        ("594233ffff0480c1001209", "check_immediately"),
        ("5902ffc1001209", None),
    ],
)
def test_the_severity_that_a_control_unit_gives_is_kept(message: str, severity: str | None) -> None:
    (row,) = collect(isotp("7E9", bytes.fromhex(message)))
    assert row["severity"] == severity


def test_snapshots_and_extended_data_are_kept_beside_their_code() -> None:
    messages = [
        "5902ffc1001209",
        "5904c1001209" + "01" + "02" + "f40c1b80" + "f4056e",
        "5906c1001208" + "10" + "2a",
        "5904c1001209" + "02" + "01f40d00",
    ]
    (row,) = [
        row for row in collect([each for text in messages for each in isotp("7E9", bytes.fromhex(text))]) if row["status"] == "active"
    ]
    assert (row["count"], row["status_byte"]) == (3, 9)
    assert row["records"] == [
        {"kind": "snapshot", "number": 1, "data": "02f40c1b80f4056e"},
        {"kind": "snapshot", "number": 2, "data": "01f40d00"},
    ]


def test_of_a_record_the_last_content_counts_and_records_are_bounded() -> None:
    codes = FaultCodes()
    for number in range(300):
        record = uds.Record("extended", number % 200, bytes([number % 256]) * 1000)
        codes.add(FaultCode("uds", "U0100-12", "active", records=(record,)), "7e9", "can0", number, number)
    (row,) = codes.to_json()
    assert [record["number"] for record in row["records"]] == list(range(16))
    assert row["records"][0]["data"] == "c8" * 512


def test_a_report_without_records_behind_the_code_has_none() -> None:
    assert uds.read_dtcs(bytes.fromhex("5904c1001209"))[0].records == ()
    assert uds.read_dtcs(bytes.fromhex("5904c100120901"))[0].records == ()
