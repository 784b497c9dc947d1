"""Numbers, times and names as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import display


@pytest.mark.parametrize(
    ("octets", "expected"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 kB"), (5_600_000, "5.6 MB"), (10**13, "10.0 TB"), (10**19, "10000.0 PB"), (None, "–")],
)
def test_sizes_have_decimal_units(octets, expected):
    assert display.size(octets) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0 ms"),
        (0.85, "850 ms"),
        (2.5, "2.5 s"),
        (42.2, "42 s"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (93_784, "1 d 2 h"),
        (None, "–"),
    ],
)
def test_durations_have_two_units(seconds, expected):
    assert display.duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (122.25, "122.25"),
        (0.00416667, "0.00416667"),
        (1e-9, "1.0000e-09"),
        (1e12, "1.0000e+12"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_values_have_six_digits(value, expected):
    assert display.number(value) == expected


@given(st.one_of(st.integers(), st.floats(allow_nan=True, allow_infinity=True)))
def test_any_number_can_be_written(value):
    assert display.number(value)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1), st.booleans())
def test_any_time_of_a_recording_can_be_written(t_ns, absolute):
    assert display.recorded(t_ns, absolute)


def test_times_of_a_recording_are_exact_to_the_millisecond():
    assert display.recorded(1_700_000_000_123_456_789) == "2023-11-14 22:13:20.123"
    assert display.recorded(1_500_000_000, absolute=False) == "+1.500 s"


def test_a_span_says_the_date_once():
    first, last = datetime(2025, 11, 20, 10, 2, tzinfo=UTC), datetime(2025, 11, 20, 10, 31, tzinfo=UTC)
    assert display.span(first, last) == "2025-11-20 10:02 – 10:31"
    assert display.span(first, last.replace(day=21)) == "2025-11-20 10:02 – 2025-11-21 10:31"
    assert display.span(None, None) == "–"


@pytest.mark.parametrize(("share", "expected"), [(0, "0 %"), (1, "100 %"), (0.00001, "< 0.1 %"), (0.99999, "> 99.9 %"), (0.4321, "43.2 %")])
def test_a_share_is_never_rounded_to_nothing_or_all(share, expected):
    assert display.percent(share) == expected


@given(st.text())
def test_no_invisible_character_is_left(text):
    shown = display.visible(text)
    assert not display.INVISIBLE.search(shown)
    if not display.INVISIBLE.search(text):
        assert shown == text


@given(st.text())
def test_a_safe_name_is_one_visible_path_part(text):
    name = display.safe_name(text)
    assert name not in {"", ".", ".."}
    assert "/" not in name
    assert "\\" not in name
    assert not display.INVISIBLE.search(name)
