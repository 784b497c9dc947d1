"""Message columns: text of files becomes valid UTF-8 without control characters, numbers read back, sources get numbers."""

from __future__ import annotations

import random

import pytest
from parsers._core.messages import numbers_of, texts_of

PIECES = [
    b"abc", b"hello world 123", b"\xc3\xa9", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xff", b"\x80", b"\xc2\x85", b"\t",
    b"\n", b"\r\n", b"\r", b"\0", b"\x7f", b"\x1b[1m", b"\xe2\x82", b"\xf0\x9f", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b" ",
]  # fmt: skip


def expected(data: bytes) -> str:
    """As Python decodes it, with control characters escaped and line ends alike."""
    text = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("utf-8", "replace")
    shown = "".join(c if c in "\t\n" or (c >= " " and not "\x7f" <= c < "\xa0") else f"\\x{ord(c):02x}" for c in text)
    return shown.rstrip(" \t\n")


def samples() -> list[bytes]:
    rng = random.Random(1)
    return [b"".join(rng.choice(PIECES) for _ in range(rng.randrange(12))) for _ in range(5000)]


def test_texts_become_what_python_decodes() -> None:
    texts = samples()
    block, cut, replaced = texts_of(texts)
    assert [block.text_of(i) for i in range(len(block))] == [expected(text) for text in texts]
    assert cut == 0
    assert replaced == sum(text.replace(b"\r\n", b"\n").decode("utf-8", "replace").count("\ufffd") for text in texts)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 9, 20])
def test_long_texts_are_cut_between_characters(most: int) -> None:
    texts = samples()
    block, cut, _ = texts_of(texts, most)
    block.text.tobytes().decode("utf-8")
    shown = [block.text_of(i) for i in range(len(block))]
    assert all(len(text.encode()) <= most and expected(data).startswith(text) for data, text in zip(texts, shown, strict=True))
    assert cut >= sum(text != expected(data) for data, text in zip(texts, shown, strict=True))


def test_latin_1_becomes_utf_8() -> None:
    block, _, replaced = texts_of([bytes(range(0xA0, 0x100)), b"\x80gr\xfc\xdfe"], latin1=True)
    assert [block.text_of(i) for i in range(2)] == [bytes(range(0xA0, 0x100)).decode("latin-1"), "\\x80grüße"]
    assert replaced == 0


def test_numbers_read_back() -> None:
    whole = [0, 7, -1, 10**9, -(2**63), 2**63 - 1]
    assert numbers_of(whole) == [str(value) for value in whole]
    rng = random.Random(2)
    floats = [rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300) for _ in range(2000)] + [0.1, 1 / 3, 5e-324, 1e308]
    for value, shown in zip(floats, numbers_of(floats), strict=True):
        assert float(shown.split("/")[0]) == value
