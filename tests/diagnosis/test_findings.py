"""Numbers, times and lengths of time are told as people write them."""

from __future__ import annotations

import pytest

from diagnosis.findings import length, listed, milder, moment, number, percent, plural, shortened, times, worse

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0.04 s"),
        (5.84, "5.8 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (7322, "2 h 2 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_a_length_has_the_two_units_that_matter(seconds: float, text: str) -> None:
    assert length(round(seconds * SECOND)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(122.25, "122.25 °C"), (-0.0, "0 °C"), (1e20, "1.000e+20 °C"), (7, "7 °C"), (1 / 3, "0.333333 °C")]
)
def test_a_number_has_six_digits_and_its_unit(value: float, text: str) -> None:
    assert number(value, "degC") == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.00001, "less than 0.01 %"), (0.039, "3.9 %"), (0.5, "50 %"), (0.998, "99 %"), (1, "100 %")]
)
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_time_is_utc_or_counts_from_the_start() -> None:
    assert moment(1_700_000_000 * SECOND, absolute=True) == "2023-11-14 22:13:20 UTC"
    assert moment(155 * SECOND, absolute=False) == "2 min 35 s after the start"
    assert moment(-2 * SECOND, absolute=False) == "2 s before the start"
    assert moment(2**63 - 1, absolute=True) == "2262-04-11 23:47:16 UTC"


def test_words() -> None:
    assert [times(n) for n in (1, 2, 3)] == ["once", "twice", "3 times"]
    assert [plural(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [listed(list("abcdefg"[:n]), 3) for n in (0, 1, 2, 3, 5)] == ["", "a", "a and b", "a, b and c", "a, b, c and 2 more"]
    assert [shortened("abcdef", 4), shortened("abcd", 4)] == ["abc…", "abcd"]
    assert [worse("info", "error"), milder("error"), milder("info")] == ["error", "warning", "info"]
