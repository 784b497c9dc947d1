"""What a car says about its faults beside the signal database: OBD-II answers (ISO 15765-2, ISO 15031-5) and J1939 DM1 (SAE J1939-73)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from demo.faults import Faults

OBD_REQUEST = 0x7DF
OBD_FLOW_CONTROL = 0x7E0
OBD_ANSWER = 0x7E8
DM1 = 0x18FECA00
TRANSPORT_CONTROL = 0x1CECFF00
TRANSPORT_DATA = 0x1CEBFF00

OBD_MODES = {"stored": 0x03, "pending": 0x07, "permanent": 0x0A}
OBD_EVERY_S = 30.0
OBD_FILL = 0x55

DM1_EVERY_S = 1.0
_SYSTEMS = "PCBU"
# Bits of the first lamp byte, two for each lamp: protect, amber, red, malfunction indicator.
_LAMPS = {"amber": 0x04, "red": 0x10, "mil": 0x40}


@dataclass(frozen=True, slots=True)
class Message:
    """One diagnostic frame: seconds after the start, arbitration id, payload, and whether the logger itself sent it."""

    at_s: float
    arbitration_id: int
    data: bytes
    extended: bool = False
    sent: bool = False


def code_bytes(name: str) -> bytes:
    """Returns the two bytes of a trouble code such as P0301 or U0121; ValueError when it is none."""
    if len(name) != 5 or name[0] not in _SYSTEMS or name[1] not in "0123":
        raise ValueError(f"{name!r} is not a trouble code")
    return (_SYSTEMS.index(name[0]) << 14 | int(name[1]) << 12 | int(name[2:], 16)).to_bytes(2, "big")


def dm1_payload(troubles: list[tuple[int, int, int, str]]) -> bytes:
    """Returns a DM1 message for (SPN, FMI, occurrences, lamp): two lamp bytes, then four bytes for each code (conversion method 0)."""
    lamps = 0
    for _, _, _, lamp in troubles:
        lamps |= _LAMPS[lamp]
    payload = bytes([lamps, 0xFF])
    for spn, fmi, occurrences, _ in troubles:
        payload += bytes([spn & 0xFF, spn >> 8 & 0xFF, (spn >> 16 & 0x07) << 5 | fmi, occurrences & 0x7F])
    return payload if troubles else payload + bytes(4)


def messages(faults: Faults, duration_s: float) -> list[Message]:
    """Returns the diagnostic frames of a whole drive, ordered by time: a scan every 30 s, DM1 every second."""
    found = [*_scans(faults, duration_s), *_dm1(faults, duration_s)]
    return sorted(found, key=lambda message: message.at_s)


def _scans(faults: Faults, duration_s: float) -> Iterator[Message]:
    at = 5.0
    while at < duration_s - 2.0:
        for slot, (status, mode) in enumerate(OBD_MODES.items()):
            names = [code.name for code in faults.codes if code.status == status and code.from_s <= at]
            yield from _obd_exchange(at + slot * 0.2, mode, names)
        at += OBD_EVERY_S


def _obd_exchange(at_s: float, mode: int, names: list[str]) -> Iterator[Message]:
    """The scan tool asks, the engine computer answers in one frame (up to two codes) or in several (ISO-TP with flow control)."""
    yield Message(at_s, OBD_REQUEST, bytes([0x01, mode]).ljust(8, bytes([OBD_FILL])), sent=True)
    answer = bytes([0x40 | mode, len(names)]) + b"".join(code_bytes(name) for name in names)
    now = at_s + 0.012
    if len(answer) <= 7:
        yield Message(now, OBD_ANSWER, (bytes([len(answer)]) + answer).ljust(8, bytes([OBD_FILL])))
        return
    yield Message(now, OBD_ANSWER, (0x1000 | len(answer)).to_bytes(2, "big") + answer[:6])
    yield Message(now + 0.004, OBD_FLOW_CONTROL, b"\x30\x00\x0a".ljust(8, bytes([OBD_FILL])), sent=True)
    for number, start in enumerate(range(6, len(answer), 7), start=1):
        part = bytes([0x20 | number & 0x0F]) + answer[start : start + 7]
        yield Message(now + 0.004 + number * 0.01, OBD_ANSWER, part.ljust(8, bytes([OBD_FILL])))


def _dm1(faults: Faults, duration_s: float) -> Iterator[Message]:
    """Up to one code fits the message itself; more go by the broadcast announce transport (TP.CM_BAM, then TP.DT every 60 ms)."""
    at = 0.5
    while at < duration_s - 1.0:
        payload = dm1_payload([(t.spn, t.fmi, t.occurrences, t.lamp) for t in faults.troubles if t.from_s <= at])
        if len(payload) <= 8:
            yield Message(at, DM1, payload.ljust(8, b"\xff"), extended=True)
        else:
            packets = -(-len(payload) // 7)
            announce = bytes([0x20]) + len(payload).to_bytes(2, "little") + bytes([packets, 0xFF]) + (0xFECA).to_bytes(3, "little")
            yield Message(at, TRANSPORT_CONTROL, announce, extended=True)
            for number in range(packets):
                part = bytes([number + 1]) + payload[number * 7 : number * 7 + 7]
                yield Message(at + 0.06 * (number + 1), TRANSPORT_DATA, part.ljust(8, b"\xff"), extended=True)
        at += DM1_EVERY_S
