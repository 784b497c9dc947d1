"""Stretches of equal labels do not depend on how the series is cut into blocks."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.runs import find_runs, gap_limit_ns

SECOND = 1_000_000_000


def oracle(t_ns: list[int], values: list[float], gap_ns: int) -> list[tuple[float, int, int, int, float, float]]:
    """One sample after the other: label (sign), first and last time, samples, lowest and highest value."""
    found: list[list] = []
    for before, now, value in zip([None, *t_ns], t_ns, values, strict=False):
        label = np.sign(value)
        if found and found[-1][0] == label and 0 <= now - before <= gap_ns:
            last = found[-1]
            found[-1] = [label, last[1], now, last[3] + 1, min(last[4], value), max(last[5], value)]
        else:
            found.append([label, now, now, 1, value, value])
    return [tuple(row) for row in found]


@given(
    st.lists(st.tuples(st.integers(-3, 12), st.sampled_from([-2.0, -1.0, 0.0, 1.0, 1.0, 2.5])), max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_stretches_equal_those_found_one_sample_at_a_time(steps: list[tuple[int, float]], cuts: list[int]) -> None:
    t_ns = list(itertools.accumulate(step for step, _ in steps))
    values = [value for _, value in steps]
    blocks = zip(np.split(np.array(t_ns, np.int64), sorted(cuts)), np.split(np.array(values), sorted(cuts)), strict=True)
    found = [row for runs in find_runs(blocks, 10, np.sign) for row in zip(*(column.tolist() for column in astuple(runs)), strict=True)]
    assert found == oracle(t_ns, values, 10)


def test_without_a_label_the_value_itself_is_it() -> None:
    runs = list(find_runs([(np.arange(4) * SECOND, np.array([1, 1, 2, 2]))], SECOND))
    assert [run.label.tolist() for run in runs] == [[1], [2]]
    assert [run.length_ns.tolist() for run in runs] == [[SECOND], [SECOND]]


def test_nothing_is_found_in_nothing() -> None:
    empty = (np.empty(0, np.int64), np.empty(0))
    assert list(find_runs([], 1)) == []
    assert list(find_runs([empty, empty], 1)) == []


def test_a_gap_is_ten_periods_but_at_least_a_second() -> None:
    assert gap_limit_ns(None) == SECOND
    assert gap_limit_ns(20_000_000) == SECOND
    assert gap_limit_ns(500_000_000) == 5 * SECOND
