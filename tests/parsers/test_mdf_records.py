"""Payloads of records of fixed size: each right behind the one before, whatever is taken, kept and grown in between."""

from __future__ import annotations

import random

import numpy as np
import pytest
from parsers.mdf._records import BITS, COPY, PACKED, STARTS, RecordColumns
from parsers.mdf._times import reals_to_ns

Fields = list[tuple[int, int, int, int, int, int]]


def layout(room: int, longest: int) -> Fields:
    """A number, the payload, where it begins: byte 0, then 6 bits of length in byte 1, then `room` bytes."""
    return [(COPY, 0, 1, 0, 8, 1), (PACKED, 2, room, 0, 0, -(-min(room, longest) // 8) * 8), (STARTS, 1, 1, 1, 6, 4)]


@pytest.mark.parametrize("room", [1, 7, 8, 12, 20, 64])
def test_payloads_are_those_of_their_records(room: int) -> None:
    rng = random.Random(room)
    lengths = [rng.randrange(64) for _ in range(700)]
    payloads = [rng.randbytes(room) for _ in lengths]
    records = b"".join(
        bytes((i & 255, length << 1 | 0x81)) + payload for i, (length, payload) in enumerate(zip(lengths, payloads, strict=True))
    )
    columns = RecordColumns(layout(room, 64), room + 2, 8)
    row = taken = 0
    while taken < len(lengths):
        count = min(rng.randrange(90), len(lengths) - row)
        columns.grow(columns.count + count)
        columns.append(records, row * (room + 2), count)
        row += count
        numbers, data, starts = columns.take(rng.randrange(columns.count + 1) if row < len(lengths) else columns.count, 8)
        places = starts.view(np.uint32).tolist()
        assert len(data) == (max((places[-1] + max(8, -(-min(lengths[taken + len(numbers) - 1], room) // 8) * 8)), 0) if places else 0) + 8
        for i, place in enumerate(places, taken):
            assert numbers[i - taken] == i & 255
            assert data[place : place + min(lengths[i], room)].tobytes() == payloads[i][: lengths[i]]
        taken += len(numbers)


def test_a_payload_without_a_length_is_kept_up_to_the_longest() -> None:
    columns = RecordColumns([(PACKED, 0, 100, 0, 0, 64), (STARTS, 0, 0, 0, 0, 4)], 100, 2)
    columns.append(bytes(range(100)) * 2, 0, 2)
    data, starts = columns.take(2, 2)
    assert starts.view(np.uint32).tolist() == [0, 64]
    assert data[:128].tobytes() == bytes(range(64)) * 2


@pytest.mark.parametrize(
    "fields",
    [
        [(PACKED, 0, 8, 0, 0, 8)],
        [(STARTS, 0, 1, 0, 8, 4)],
        [(PACKED, 0, 8, 0, 0, 8), (BITS, 0, 1, 0, 8, 1), (STARTS, 0, 1, 0, 8, 4)],
        [*layout(8, 64)[1:], *layout(8, 64)[1:]],
        [(PACKED, 0, 8, 0, 0, 16), (STARTS, 0, 1, 0, 8, 4)],
        [(PACKED, 0, 8, 0, 0, 4), (STARTS, 0, 1, 0, 8, 4)],
        [(PACKED, 0, 8, 0, 0, 8), (STARTS, 0, 1, 0, 9, 4)],
        [(PACKED, 8, 8, 0, 0, 8), (STARTS, 0, 1, 0, 8, 4)],
        [(PACKED, 0, 8, 0, 0, 8), (STARTS, 10, 1, 0, 8, 4)],
    ],
)
def test_payloads_that_could_leave_their_record_or_their_room_are_refused(fields: Fields) -> None:
    with pytest.raises(ValueError, match="field"):
        RecordColumns(fields, 10, 4)


def test_reals_are_rounded_once_and_those_that_are_no_times_are_told() -> None:
    reals = np.array([0.25, 1e-9, -2.5e-9, 2.3e9, -2.4e9, np.nan, np.inf, 1.0000000005])
    t_ns, valid = reals_to_ns(reals, 1e9, 0.0)
    assert t_ns.tolist() == [250_000_000, 1, -2, 0, 0, 0, 0, round(1.0000000005 * 1e9)]
    assert valid.tolist() == [1, 1, 1, 0, 0, 0, 0, 1]
    assert reals_to_ns(reals[:2], 1e9, 0.5)[1] is None
