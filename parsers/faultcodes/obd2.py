"""OBD-II (SAE J1979) answers that carry fault codes: services 03, 07 and 0A."""

from __future__ import annotations

from parsers.faultcodes.codes import FaultCode, j2012

STATUS_OF_SERVICE = {0x43: "stored", 0x47: "pending", 0x4A: "permanent"}
PROTOCOL = "obd2"


def parse(message: bytes) -> list[FaultCode]:
    """Codes of one answer on CAN: service + 0x40, number of codes, two bytes each. Empty for any other message."""
    if len(message) < 2 or message[0] not in STATUS_OF_SERVICE:
        return []
    status = STATUS_OF_SERVICE[message[0]]
    count = min(message[1], (len(message) - 2) // 2)
    values = [int.from_bytes(message[2 + 2 * i : 4 + 2 * i], "big") for i in range(count)]
    return [FaultCode(PROTOCOL, j2012(value), status) for value in values if value]  # 0000 is padding
