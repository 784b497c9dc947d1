"""The log messages of a batch are found by text, level, source and time, page by page, each exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

from files import messages
from files.messages import Query, Row, search
from files.result_files import FileResult
from parsers.base import Recording
from parsers.blocks import LEVELS, NO_TIME, MessageList
from parsers.can.database import Database
from parsers.can.decode import Decoder
from parsers.errors import Corrupt
from parsers.results.layout import MESSAGES
from parsers.results.writer import ResultWriter
from tests.files.recordings import SECOND, START, result

Line = tuple[int, str, str, str]
"""Seconds after START, level, source, text."""


def logged(folder: Path, lines: list[Line], order: int = 0, block: int = 1000) -> FileResult:
    folder.mkdir()
    recording = Recording(start_ns=START, absolute=True)
    writer = ResultWriter(folder, Decoder(Database.merge([]), []), recording)
    for start in range(0, len(lines), block):
        gathered = MessageList()
        for at, level, source, text in lines[start : start + block]:
            gathered.add(NO_TIME if at < 0 else at * SECOND, LEVELS.index(level), recording.source_index(source), text)
        writer.take_messages(gathered.take())
    for _ in writer.finish():
        pass
    writer.close()
    found = result(folder, folder.name, order)
    found.message_count = len(lines)
    return found


def every(results: list[FileResult], query: Query, limit: int) -> list[Row]:
    rows, after = [], ""
    while True:
        found = search(results, query, after, limit)
        rows += found.rows
        after = found.following
        if not after:
            return rows


@pytest.fixture
def two(tmp_path: Path) -> list[FileResult]:
    first = [(i, "error" if i % 7 == 0 else "info", "engine" if i % 2 else "brake", f"Line {i}") for i in range(2500)]
    second = [(-1, "", "door", "no time"), (10, "fatal", "door", "Door open"), (20, "warning", "door", "100% open_")]
    return [logged(tmp_path / "first", first), logged(tmp_path / "second", second, order=1)]


@pytest.mark.parametrize("limit", [1000, 999, 5000])
def test_pages_together_are_everything_once(two: list[FileResult], limit: int) -> None:
    rows = every(two, Query(), limit)
    assert [row.text for row in rows] == [*(f"Line {i}" for i in range(2500)), "no time", "Door open", "100% open_"]
    assert (rows[1].t_ns, rows[2500].t_ns) == (START + SECOND, None)
    assert (rows[0].file_name, rows[-1].file_name) == ("first", "second")


def test_pages_of_a_search_together_are_all_that_fits(two: list[FileResult]) -> None:
    rows = every(two, Query(level="error", source="BRAKE"), 7)
    assert [row.text for row in rows] == [f"Line {i}" for i in range(0, 2500, 14)]


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        (Query(text="OPEN"), ["Door open", "100% open_"]),
        (Query(text="0% open_"), ["100% open_"]),
        (Query(text="Line 249", level="error"), ["Line 2492", "Line 2499"]),
        (Query(level="fatal"), ["Door open"]),
        (Query(source="door", level="warning"), ["Door open", "100% open_"]),
        (Query(from_ns=START + 2499 * SECOND), ["Line 2499"]),
        (Query(to_ns=START), ["Line 0"]),
        (Query(from_ns=START + 10 * SECOND, to_ns=START + 10 * SECOND), ["Line 10", "Door open"]),
        (Query(text="nothing like it"), []),
    ],
)
def test_what_fits_is_found(two: list[FileResult], query: Query, texts: list[str]) -> None:
    assert [row.text for row in every(two, query, 100)] == texts


def test_a_search_stops_after_so_many_rows_and_goes_on(two: list[FileResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_SEARCHED", 1000)
    found = search(two, Query(text="Door"))
    assert (found.rows, found.following) == ([], "0:1000")
    assert [row.text for row in every(two, Query(text="Door"), 10)] == ["Door open"]


def test_a_search_opens_a_bounded_number_of_files_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_OPENED", 3)
    many = [logged(tmp_path / f"f{i}", [(i, "info", "x", f"Line {i}")], order=i) for i in range(8)]
    found = search(many, Query(text="Line 7"))
    assert (found.rows, found.following, found.searched) == ([], "3:0", 3)
    assert [row.text for row in every(many, Query(text="Line 7"), 10)] == ["Line 7"]


def test_files_without_messages_are_not_opened(tmp_path: Path) -> None:
    assert search([result(tmp_path, "frames only")], Query()).rows == []


@pytest.mark.parametrize("after", ["x", "1:", ":", "1:-2", "9" * 50])
def test_a_malformed_cursor_is_refused(two: list[FileResult], after: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        search(two, Query(), after)


def test_an_unknown_level_is_refused(two: list[FileResult]) -> None:
    with pytest.raises(ValueError, match="no such level"):
        search(two, Query(level="loud"))


def test_a_damaged_result_is_told(two: list[FileResult], tmp_path: Path) -> None:
    (tmp_path / "first" / MESSAGES).write_bytes(b"PAR1 no")
    with pytest.raises(Corrupt, match="first"):
        search(two, Query())
