"""Every input that once broke a parser is read as the rules for any bytes want it."""

from __future__ import annotations

import pytest

from fuzz.check import examine, examine_further
from parsers.registry import parsers
from tests.parsers.regressions import CASES


@pytest.mark.parametrize(("name", "title"), CASES)
def test_what_broke_a_parser_once_does_not_break_it_again(name: str, title: str) -> None:
    parser = parsers()[name]
    examine(parser, CASES[name, title])
    examine_further(parser, CASES[name, title])
