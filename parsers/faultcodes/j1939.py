"""J1939 diagnostic messages (SAE J1939-73) in single frames or over the transport protocol (J1939-21: BAM and RTS/CTS)."""

from __future__ import annotations

from dataclasses import dataclass, field

from parsers.faultcodes.codes import FaultCode

PROTOCOL = "j1939"
TP_CM = 0xEC00  # connection management
TP_DT = 0xEB00  # data transfer
RTS = 16
BAM = 32
ABORT = 255
MAX_OPEN = 1024
MAX_MESSAGE = 1785  # 255 packets of 7 bytes

# Parameter group -> what its codes are. All have the layout of DM1.
STATUS_OF_PGN = {
    0xFECA: "active",  # DM1
    0xFECB: "previously_active",  # DM2
    0xFECF: "pending",  # DM6
    0xFD80: "permanent",  # DM28
}
LAMPS = ("mil", "red_stop", "amber_warning", "protect")  # from the highest two bits of the first byte on
NOT_AVAILABLE_COUNT = 127


def pgn(arbitration_id: int) -> int:
    """Parameter group of a 29-bit id; without the destination address where there is one."""
    group = arbitration_id >> 8 & 0x3FFFF
    return group if group >> 8 & 0xFF >= 240 else group & 0x3FF00


@dataclass(frozen=True, slots=True)
class Dtc:
    """The four bytes of one trouble code, conversion method version 4."""

    spn: int
    fmi: int
    occurrence_count: int
    conversion_method: int


def read_dtc(four: bytes) -> Dtc:
    """SPN low byte, SPN middle byte, SPN high 3 bits and FMI 5 bits, conversion method 1 bit and count 7 bits."""
    return Dtc(four[0] | four[1] << 8 | (four[2] >> 5) << 16, four[2] & 31, four[3] & 127, four[3] >> 7)


def read_lamps(first_byte: int) -> dict[str, bool | None]:
    """Lamp states of a DM1: 01 on, 00 off, anything else not reported."""
    states: tuple[bool | None, ...] = (False, True, None, None)
    return {name: states[first_byte >> shift & 3] for name, shift in zip(LAMPS, (6, 4, 2, 0), strict=True)}


def parse(group: int, message: bytes) -> list[FaultCode]:
    """Faults of one diagnostic message: two bytes of lamps, then four bytes per code; empty for other groups."""
    status = STATUS_OF_PGN.get(group)
    if status is None or len(message) < 6:
        return []
    lamps = read_lamps(message[0])
    faults = []
    for at in range(2, len(message) - 3, 4):
        dtc = read_dtc(message[at : at + 4])
        if dtc.spn == 0 or message[at : at + 4] == b"\xff\xff\xff\xff":  # no fault; padding
            continue
        count = None if dtc.occurrence_count == NOT_AVAILABLE_COUNT else dtc.occurrence_count
        faults.append(FaultCode(PROTOCOL, f"SPN {dtc.spn} FMI {dtc.fmi}", status, count, lamps))
    return faults


@dataclass(slots=True)
class _Open:
    group: int
    length: int
    packets: int
    received: dict[int, bytes]
    t_ns: int


@dataclass
class Transport:
    """Puts multi-packet diagnostic messages together; one session per bus, source and destination."""

    broken: int = 0
    _open: dict[tuple[int, int, int], _Open] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        """Whether any message is still incomplete."""
        return bool(self._open)

    def feed(self, channel: int, arbitration_id: int, payload: bytes, t_ns: int) -> tuple[int, int, bytes] | None:
        """(time of the announcement, group, message) when this frame completes one. Other groups than DMs are not followed."""
        if len(payload) < 8:
            return None
        session = (channel, arbitration_id & 0xFF, arbitration_id >> 8 & 0xFF)
        if pgn(arbitration_id) == TP_CM:
            self._control(session, payload, t_ns)
            return None
        return self._data(session, payload)

    def _control(self, session: tuple[int, int, int], payload: bytes, t_ns: int) -> None:
        if payload[0] in (RTS, BAM, ABORT) and self._open.pop(session, None) is not None:
            self.broken += 1
        group = int.from_bytes(payload[5:8], "little")
        length, packets = int.from_bytes(payload[1:3], "little"), payload[3]
        wanted = payload[0] in (RTS, BAM) and group in STATUS_OF_PGN
        if wanted and 8 < length <= MAX_MESSAGE and packets == (length + 6) // 7 and len(self._open) < MAX_OPEN:
            self._open[session] = _Open(group, length, packets, {}, t_ns)

    def _data(self, session: tuple[int, int, int], payload: bytes) -> tuple[int, int, bytes] | None:
        message = self._open.get(session)
        if message is None or not 1 <= payload[0] <= message.packets:
            return None
        message.received[payload[0]] = payload[1:8]
        if len(message.received) < message.packets:
            return None
        del self._open[session]
        data = b"".join(message.received[number] for number in range(1, message.packets + 1))
        return message.t_ns, message.group, data[: message.length]
