"""UDS ReadDTCInformation (ISO 14229-1 service 0x19): the answers of an ECU that list fault codes with their status."""

from __future__ import annotations

from dataclasses import dataclass

from parsers.faultcodes.codes import FaultCode, Record, j2012

PROTOCOL = "uds"
POSITIVE = 0x59
NEGATIVE = 0x7F

TEST_FAILED = 0x01
FAILED_THIS_CYCLE = 0x02
PENDING = 0x04
CONFIRMED = 0x08
FAILED_SINCE_CLEAR = 0x20
WARNING_INDICATOR = 0x80
ANY_FAULT = TEST_FAILED | FAILED_THIS_CYCLE | PENDING | CONFIRMED | FAILED_SINCE_CLEAR | WARNING_INDICATOR
SEVERITIES = ((0x80, "check_immediately"), (0x40, "check_at_next_halt"), (0x20, "maintenance"))
PERMANENT_REPORTS = (0x15, 0x55)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a report lists its codes: bytes before the first record, bytes of a record, where in it code, status and severity are."""

    header: int
    record: int
    code: int = 0
    status: int = 3
    severity: int | None = None
    details: str = ""  # one code, then numbered records of this kind


# Report type -> layout, after the service and the report type byte.
# Records of 4 bytes are code (3) and status (1); a header byte is the status availability mask or the memory selection.
_LAYOUTS = {
    0x02: _Layout(1, 4),  # by status mask
    0x04: _Layout(0, 4, details="snapshot"),  # of one code
    0x06: _Layout(0, 4, details="extended"),  # data of one code
    0x08: _Layout(1, 6, code=2, status=5, severity=0),  # severity, functional unit, code, status
    0x09: _Layout(1, 6, code=2, status=5, severity=0),
    0x0A: _Layout(1, 4),  # supported
    0x0B: _Layout(1, 4),  # first failed
    0x0C: _Layout(1, 4),  # first confirmed
    0x0D: _Layout(1, 4),  # most recent failed
    0x0E: _Layout(1, 4),  # most recent confirmed
    0x0F: _Layout(1, 4),  # mirror memory by status mask
    0x13: _Layout(1, 4),  # emission-related by status mask
    0x15: _Layout(1, 4),  # permanent
    0x17: _Layout(2, 4),  # user memory by status mask: memory selection, mask
    0x18: _Layout(1, 4, details="snapshot"),  # user memory
    0x19: _Layout(1, 4, details="extended"),  # user memory
    0x42: _Layout(4, 5, code=1, status=4, severity=0),  # WWH-OBD: functional group, two masks, format; severity, code, status
    0x55: _Layout(3, 4),  # WWH-OBD permanent: functional group, mask, format
}


@dataclass(frozen=True, slots=True)
class Dtc:
    """One record: the three-byte code and the status byte as sent; the severity in words, and what was stored beside the code."""

    code: int
    status: int
    severity: str | None = None
    records: tuple[Record, ...] = ()

    @property
    def text(self) -> str:
        """Written as P0301-00: two bytes as in OBD-II and the failure type byte."""
        return f"{j2012(self.code >> 8)}-{self.code & 0xFF:02X}"


def read_dtcs(message: bytes) -> list[Dtc]:
    """Every record of one positive answer; empty for any other message and for reports without codes."""
    if len(message) < 3 or message[0] != POSITIVE:
        return []
    layout = _LAYOUTS.get(message[1])
    if layout is None:
        return []
    dtcs = []
    for at in range(2 + layout.header, len(message) - layout.record + 1, layout.record):
        code = int.from_bytes(message[at + layout.code : at + layout.code + 3], "big")
        severity = None if layout.severity is None else severity_name(message[at + layout.severity])
        records = _records(layout.details, message[at + layout.record :]) if layout.details else ()
        dtcs.append(Dtc(code, message[at + layout.status], severity, records))
        if layout.details:
            break
    return dtcs


def _records(kind: str, rest: bytes) -> tuple[Record, ...]:
    """The numbered record behind a code; where a second one begins in it only the maker knows, so they stay together."""
    return (Record(kind, rest[0], rest[1:]),) if len(rest) > 1 else ()


def severity_name(severity: int) -> str | None:
    """The gravest of the three severity bits (ISO 14229-1, DTCSeverityMask); None when the control unit gives none."""
    return next((name for bit, name in SEVERITIES if severity & bit), None)


def status_name(status: int, report: int = 0x02) -> str | None:
    """One word for a status byte, the gravest that holds; None for a code that has not failed since it was cleared."""
    if report in PERMANENT_REPORTS:
        return "permanent"
    if status & TEST_FAILED and status & CONFIRMED:
        return "active"
    if status & CONFIRMED:
        return "stored"
    if status & (PENDING | TEST_FAILED | FAILED_THIS_CYCLE):
        return "pending"
    return "previously_active" if status & ANY_FAULT else None


def parse(message: bytes) -> list[FaultCode]:
    """Faults of one answer. Codes that are merely supported, and the padding code 000000, are no faults."""
    faults = []
    for dtc in read_dtcs(message):
        status = status_name(dtc.status, message[1])
        if status is not None and dtc.code:
            lamps: dict[str, bool | None] = {"mil": bool(dtc.status & WARNING_INDICATOR)}
            faults.append(
                FaultCode(PROTOCOL, dtc.text, status, lamps=lamps, status_byte=dtc.status, severity=dtc.severity, records=dtc.records)
            )
    return faults


def negative_response(message: bytes) -> tuple[int, int] | None:
    """(service, response code) of a refusal, None for any other message."""
    if len(message) >= 3 and message[0] == NEGATIVE:
        return message[1], message[2]
    return None
