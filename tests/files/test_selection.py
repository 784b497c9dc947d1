"""Percentiles are those of the sorted values, however little memory there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from files.selection import PERCENTILES, from_keys, rank, select, select_in_memory, to_keys

KINDS = {
    "floats": np.random.default_rng(1).normal(size=4001) * 10.0 ** np.random.default_rng(2).integers(-300, 300, 4001),
    "few distinct values": np.random.default_rng(3).integers(0, 4, 5000).astype(np.float64),
    "one value": np.full(999, -3.5),
    "one sample": np.array([7.25]),
    "signed": np.random.default_rng(4).integers(-(2**63), 2**63 - 1, 3000),
    "unsigned": np.random.default_rng(5).integers(0, 2**64 - 1, 3000, dtype=np.uint64),
    "narrow": np.random.default_rng(6).integers(-5, 6, 3000).astype(np.int32),
    "both zeros": np.array([0.0, -0.0, 1.0, -1.0] * 50),
    "smallest and largest": np.array([5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 0.0]),
    "one far away": np.concatenate([np.linspace(0, 1, 5000), [1e300]]),
}


@pytest.mark.parametrize("kept", [1, 8, 500, 10**7])
@pytest.mark.parametrize("kind", KINDS)
def test_selection_in_passes_gives_the_sorted_values(kind: str, kept: int) -> None:
    values = KINDS[kind]
    ranks = [rank(len(values), percent) for percent in PERCENTILES.values()] + [0, len(values) - 1]
    expected = [np.sort(values)[place].item() for place in ranks]
    assert select(lambda: np.array_split(values, 5), ranks, values.min(), values.max(), kept) == expected
    assert select_in_memory(values, ranks) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.integers(0, 100), st.integers(1, 20))
def test_any_floats_are_selected_exactly(numbers: list[float], percent: int, kept: int) -> None:
    values = np.array(numbers)
    place = rank(len(values), percent)
    assert select(lambda: np.array_split(values, 3), [place], values.min(), values.max(), kept) == [sorted(numbers)[place]]


@given(st.integers(1, 10**9), st.integers(0, 100))
def test_the_rank_is_the_nearest_rank(count: int, percent: int) -> None:
    place = rank(count, percent)
    assert 0 <= place < count
    assert place == max(0, math.ceil(count * percent / 100 - 1e-9) - 1) or count > 10**6


def test_the_rank_of_ten_samples() -> None:
    assert [rank(10, percent) for percent in (5, 50, 95, 99, 100)] == [0, 4, 9, 9, 9]


def test_keys_keep_the_order_and_come_back() -> None:
    for values in KINDS.values():
        keys = to_keys(values)
        assert (np.argsort(keys, kind="stable") == np.argsort(values + values.dtype.type(0), kind="stable")).all()
        assert (from_keys(keys, values.dtype) == values).all()


def test_no_negative_zero_comes_out() -> None:
    assert [math.copysign(1, value) for value in select(lambda: [np.array([-0.0])], [0], -0.0, -0.0)] == [1.0]
    assert [math.copysign(1, value) for value in select_in_memory(np.array([-0.0]), [0])] == [1.0]


def test_values_that_change_between_passes_are_noticed() -> None:
    values = np.arange(100_000.0)
    passes = iter([[values], [values[:10]]])
    with pytest.raises(ValueError, match="changed between two passes"):
        select(lambda: next(passes), [50_000], 0.0, 99_999.0, kept=60)


def test_few_passes_are_enough() -> None:
    values = np.random.default_rng(7).normal(size=100_000)
    seen = []

    def passes():
        seen.append(1)
        return np.array_split(values, 10)

    select(passes, [rank(len(values), percent) for percent in PERCENTILES.values()], values.min(), values.max(), kept=20_000)
    assert len(seen) <= 2
