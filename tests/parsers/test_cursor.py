"""The checked cursor and the columns."""

from __future__ import annotations

import numpy as np
import pytest
from parsers._core.columns import FrameColumns, NameTable, NumberTable
from parsers._core.cursor import read_fields, seconds_to_ns

from parsers.errors import Corrupt, Truncated


def test_fields_are_read_little_endian_without_alignment() -> None:
    assert read_fields(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", 0, "BHIQ") == [
        0x01,
        0x0302,
        0x07060504,
        0x0F0E0D0C0B0A0908,
    ]


@pytest.mark.parametrize(
    ("width", "value"), [("B", 0xEF), ("H", 0xBEEF), ("I", 0xDEADBEEF), ("Q", 0xDEADBEEFDEADBEEF), ("B", 0xFF), ("Q", 2**64 - 1)]
)
def test_a_value_equal_to_the_error_sentinel_is_read(width: str, value: int) -> None:
    size = {"B": 1, "H": 2, "I": 4, "Q": 8}[width]
    assert read_fields(value.to_bytes(size, "little"), 0, width) == [value]


@pytest.mark.parametrize("width", ["B", "H", "I", "Q", "x"])
def test_a_field_that_does_not_fit_is_truncated_where_it_begins(width: str) -> None:
    size = {"B": 1, "H": 2, "I": 4, "Q": 8, "x": 1}[width]
    with pytest.raises(Truncated, match=f"needed {size} bytes, {size - 1} left at byte 1003") as caught:
        read_fields(bytes(3 + size - 1), 1000, "HB" + width)
    assert caught.value.offset == 1003


def test_an_empty_range_gives_nothing() -> None:
    assert read_fields(b"", 0, "") == []
    with pytest.raises(Truncated, match="needed 1 bytes, 0 left at byte 0"):
        read_fields(b"", 0, "B")


def test_corrupt_names_its_reason_and_place() -> None:
    with pytest.raises(Corrupt, match="unknown width at byte 52"):
        read_fields(b"abcd", 50, "HZ")


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        (b"0.0", 0),
        (b"1.000000001", 1_000_000_001),
        (b"1436509052.249713", 1_436_509_052_249_713_000),
        (b"12.5", 12_500_000_000),
        (b"9223372035.999999999", 9_223_372_035_999_999_999),
        (b"9223372036.0", None),
        (b"1e400.0", None),
        (b"99999999999999999999.0", None),
        (b"1.0000000001", None),
        (b"1.", None),
        (b".5", None),
        (b"1", None),
        (b"nan", None),
        (b"-1.0", None),
        (b"", None),
        (b"1.0x", None),
    ],
)
def test_decimal_seconds_become_exact_nanoseconds(text: bytes, t_ns: int | None) -> None:
    assert seconds_to_ns(text) == t_ns


def test_names_get_indices_in_order_of_first_sight() -> None:
    table = NameTable(10)
    assert [table.find(name) for name in (b"can0", b"can1", b"can0", b"vcan0", b"can1")] == [0, 1, 0, 2, 1]
    assert table.names() == ["can0", "can1", "vcan0"]


def test_a_full_name_table_keeps_finding_what_it_has() -> None:
    table = NameTable(100)
    names = [f"can{i}".encode() for i in range(100)]
    assert [table.find(name) for name in names] == list(range(100))
    assert table.find(b"one more") == -1
    assert [table.find(name) for name in names] == list(range(100))


def test_a_name_longer_than_64_bytes_is_refused() -> None:
    table = NameTable(10)
    assert table.find(b"x" * 64) == 0
    assert table.find(b"x" * 65) == -1


def test_numbers_get_indices_and_stop_at_the_limit() -> None:
    table = NumberTable(2)
    assert [table.find(number) for number in (4369, 0, 4369, 65535, 0)] == [0, 1, 0, -1, 1]
    assert table.names() == ["4369", "0"]


def test_tables_refuse_more_entries_than_an_index_can_name() -> None:
    for table in (NameTable, NumberTable):
        with pytest.raises(ValueError, match="16 bits"):
            table(65536)


def test_an_empty_block_is_padded_so_that_eight_bytes_can_be_read() -> None:
    columns = FrameColumns(4)
    block = columns.take()
    assert len(block) == 0
    assert block.data.tolist() == [0] * 8
    assert block.t_ns.dtype == np.int64


def test_columns_refuse_an_impossible_capacity() -> None:
    with pytest.raises(ValueError, match="1 to 1,048,576"):
        FrameColumns(0)
