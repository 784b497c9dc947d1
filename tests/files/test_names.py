"""File names: more than a hundred hostile ones refused, everything people write accepted."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadFilename
from files.names import clean_name

CONTROL = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
HOSTILE = [
    "", " ", "\u3000", ".", "..", "../x", "../../x", "..\\x", "a/b", "/etc/passwd", "//x", "a/", "/", "\\", "C:\\x",
    "C:/x", "\\\\host\\share",
    "..%2f/x", "a\u2028b", "a\u2029b", "a\ud800b", "\udcff", "x" * 256, "\u00e4" * 128, "\U0001f697" * 64, "file:///etc/passwd",
    "%00/..", "....//x", "..;/x", "~/x", "$(id)/x", "a/\u202e", "http://x", "nul/", "con\\aux",
    *[f"log{char}.blf" for char in CONTROL],
    *[f"{char}log.blf" for char in CONTROL[:10]],
]  # fmt: skip
FRIENDLY = [
    "drive.blf", "Fahrt nach Köln.asc", "測定.mf4", "log (1).txt", "a..b", "...", ".hidden", "-rf", "x" * 255, "ä" * 127, "🚗" * 63,
    "%2e%2e%2f", "C:x", "a:b*c?d", "<script>alert(1)</script>".replace("/", ""), "=cmd|' !A0", "a\u202egpj.exe", "a\u200db",
    "nul", "  x  ", "'; --",
]  # fmt: skip


def test_there_are_more_than_a_hundred_hostile_names():
    assert len(set(HOSTILE)) > 100


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_refused(name):
    with pytest.raises(BadFilename):
        clean_name(name)


@pytest.mark.parametrize("name", FRIENDLY, ids=ascii)
def test_an_unusual_name_is_kept(name):
    assert clean_name(name) == name


def test_two_spellings_of_a_letter_are_one():
    assert clean_name(unicodedata.normalize("NFD", "Kälte.blf")) == "Kälte.blf"


def test_the_refusal_names_the_character():
    with pytest.raises(BadFilename, match=r"a control character \(U\+0007\)"):
        clean_name("bell\x07")


@given(st.text())
def test_every_name_is_refused_or_plain(name):
    try:
        kept = clean_name(name)
    except BadFilename:
        return
    assert 0 < len(kept.encode()) <= 255
    assert "/" not in kept
    assert "\\" not in kept
    assert clean_name(kept) == kept
