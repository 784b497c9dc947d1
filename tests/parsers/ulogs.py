"""Builds ULog files message by message."""

from __future__ import annotations

import struct

SYNC = b"\x2f\x73\x13\x20\x25\x0c\xbb\x12"


def header(start_us: int = 1_000_000, version: int = 1) -> bytes:
    return b"ULog\x01\x12\x35" + struct.pack("<BQ", version, start_us)


def message(kind: str, body: bytes) -> bytes:
    return struct.pack("<HB", len(body), ord(kind)) + body


def flags(compatible: int = 0, incompatible: int = 0, offsets: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    return message("B", struct.pack("<Q8s3Q", compatible, struct.pack("<Q", incompatible), *offsets))


def fmt(text: str) -> bytes:
    return message("F", text.encode())


def info(key: str, value: bytes) -> bytes:
    return message("I", bytes([len(key)]) + key.encode() + value)


def info_piece(key: str, value: bytes, continued: bool = False) -> bytes:
    return message("M", bytes([continued, len(key)]) + key.encode() + value)


def parameter(key: str, value: bytes) -> bytes:
    return message("P", bytes([len(key)]) + key.encode() + value)


def default(key: str, value: bytes, kinds: int) -> bytes:
    return message("Q", bytes([kinds, len(key)]) + key.encode() + value)


def subscribe(message_id: int, topic: str, instance: int = 0) -> bytes:
    return message("A", struct.pack("<BH", instance, message_id) + topic.encode())


def unsubscribe(message_id: int) -> bytes:
    return message("R", struct.pack("<H", message_id))


def data(message_id: int, fields: bytes) -> bytes:
    return message("D", struct.pack("<H", message_id) + fields)


def log(time_us: int, text: str, level: int = 6) -> bytes:
    return message("L", struct.pack("<BQ", 0x30 + level, time_us) + text.encode())


def tagged(time_us: int, tag: int, text: str, level: int = 6) -> bytes:
    return message("C", struct.pack("<BHQ", 0x30 + level, tag, time_us) + text.encode())


def sync() -> bytes:
    return message("S", SYNC)


def dropout(milliseconds: int) -> bytes:
    return message("O", struct.pack("<H", milliseconds))


def row(form: str, *values: float | bytes) -> bytes:
    return struct.pack("<" + form, *values)
