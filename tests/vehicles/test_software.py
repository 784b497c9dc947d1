"""Versions are compared as people mean them."""

from itertools import pairwise

import pytest

from vehicles.software import version_key, within

ORDER = [
    "alpha",
    "",
    "0.9",
    "1.0-alpha",
    "1.0-rc1",
    "1.0-rc2",
    "1.0-rc10",
    "v1.0",
    "1.0.1",
    "1.9",
    "1.10",
    "1.10.0.1",
    "2",
    "2024.11.3",
    "20241104",
]


@pytest.mark.parametrize(("earlier", "later"), list(pairwise(ORDER)))
def test_versions_are_in_order(earlier: str, later: str) -> None:
    assert version_key(earlier) < version_key(later)


@pytest.mark.parametrize(
    ("one", "other"),
    [("v1.2", "1.2"), ("3", "3.0.0"), ("2.0-rc1", "2-rc1"), ("1_2", "1.2"), (" 1.2\n", "1.2"), ("1.2-RC1", "1.2rc1"), ("01.2", "1.2")],
)
def test_spelling_does_not_matter(one: str, other: str) -> None:
    assert version_key(one) == version_key(other)


@pytest.mark.parametrize(
    ("version", "first", "before", "inside"),
    [
        ("2.0", "2.0", "3.0", True),
        ("3.0", "2.0", "3.0", False),
        ("1.99", "2.0", "", False),
        ("9", "", "3", False),
        ("3", "", "3.0", False),
        ("2.3", "2.3.0", "", True),
        ("9", "", "", True),
    ],
)
def test_an_interval_begins_with_its_first_version_and_ends_before_its_last(version: str, first: str, before: str, inside: bool) -> None:
    assert within(version, first, before) is inside


def test_a_version_of_any_length_is_compared() -> None:
    assert version_key("1." * 100_000) < version_key("2")
