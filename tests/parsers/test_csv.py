"""CSV: delimiters, decimal commas, encodings, headers and units, every way to write a time, and rows that do not fit."""

from __future__ import annotations

import datetime
import random
from typing import Any, ClassVar

import numpy as np
import pytest
from parsers.table._cells import number_kind, number_value, time_value

from parsers.base import Parser, Recording
from parsers.blocks import SampleBlock
from parsers.contract import ParserContract, read, read_lines
from parsers.detect import detect
from parsers.errors import Corrupt
from parsers.limits import Limits
from parsers.source import BytesSource
from parsers.table.reader import CsvParser
from tests.parsers.blocks import CORPUS

SAMPLE = (
    b"timestamp,speed [km/h],gear,mode,on\n"
    b"2021-08-27T18:11:46.722Z,12.5,1,AUTO,true\n"
    b'2021-08-27T18:11:46.822Z,13.25,2,"MANUAL, ""slow""",false\n'
    b"2021-08-27T18:11:46.922Z,-1.5e1,,AUTO,true\n"
    b"2021-08-27T20:11:47.022+02:00,nan,3,,\n"
)
ROWS = SAMPLE.splitlines(keepends=True)
START = 1_630_087_906_722_000_000


class TestCsv(ParserContract):
    parser: ClassVar[type[Parser]] = CsvParser
    sample: ClassVar[bytes] = SAMPLE
    whole_cuts: ClassVar[frozenset[int]] = frozenset(len(b"".join(ROWS[:n])) for n in (2, 3, 4))


def table(data: bytes | str, limits: Limits | None = None) -> tuple[list[tuple[int, dict[str, Any]]], Recording]:
    """(t_ns, values by name) of each row, texts as texts; and the recording."""
    recording = Recording()
    rows = []
    data = data.encode() if isinstance(data, str) else data
    for block in CsvParser().blocks(BytesSource(data), recording, limits or Limits()):
        if not isinstance(block, SampleBlock):
            continue
        signals = recording.streams[block.stream].signals
        for i, t_ns in enumerate(block.t_ns.tolist()):
            values = {}
            for signal, column, mask in zip(signals, block.columns, block.masks, strict=True):
                if mask is None or mask[i]:
                    value = column[i].item()
                    values[signal.name] = value if signal.choices is None else signal.choices[value]
            rows.append((t_ns, values))
    return rows, recording


def columns_of(data: bytes | str) -> list[dict[str, Any]]:
    return [values for _, values in table(data)[0]]


def times_of(cells: list[str], name: str = "time", unit: str = "") -> tuple[list[int], Recording]:
    """The times of a table of these cells."""
    head = f"{name};x\n" + (f"{unit};V\n" if unit else "")
    rows, recording = table(head + "".join(f"{cell};{i}.5\n" for i, cell in enumerate(cells)))
    return [t_ns for t_ns, _ in rows], recording


def reasons(recording: Recording) -> list[str]:
    return [problem.reason for problem in recording.problems]


def test_rows_of_the_sample() -> None:
    rows, recording = table(SAMPLE)
    assert [t_ns - START for t_ns, _ in rows] == [0, 100_000_000, 200_000_000, 300_000_000]
    assert rows[1][1] == {"speed": 13.25, "gear": 2, "mode": 'MANUAL, "slow"', "on": "false"}
    assert rows[2][1] == {"speed": -15.0, "mode": "AUTO", "on": "true"}
    assert np.isnan(rows[3][1]["speed"])
    signals = recording.streams[0].signals
    assert [(s.name, s.unit, s.storage) for s in signals] == [
        ("speed", "km/h", "float64"),
        ("gear", "", "int64"),
        ("mode", "", "int32"),
        ("on", "", "uint8"),
    ]
    assert recording.streams[0].name == "table"
    assert recording.absolute
    assert recording.metadata == {
        "encoding": "utf-8",
        "delimiter": "comma",
        "decimal mark": ".",
        "time column": "timestamp: date",
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiters_and_line_ends(delimiter: str, newline: str) -> None:
    text = newline.join(delimiter.join(row) for row in (["time", "a", "b"], ["0.5", "1", "x y"], ["1.5", "2", "z"])) + newline
    assert table(text)[0] == [(500_000_000, {"a": 1, "b": "x y"}), (1_500_000_000, {"a": 2, "b": "z"})]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas(delimiter: str) -> None:
    rows, recording = table(f"Zeit;v\n0,25;-1,5\n0,5;2,25e1\n".replace(";", delimiter))  # noqa: F541
    assert rows == [(250_000_000, {"v": -1.5}), (500_000_000, {"v": 22.5})]
    assert recording.metadata["decimal mark"] == ","


def test_thousands_are_not_guessed() -> None:
    rows, recording = table("time;v\n" + "".join(f"{i};1,5\n" for i in range(40)) + "40;1.234,5\n")
    assert rows[-1] == (40 * 10**9, {})
    assert "1 cells of v are no numbers: left empty" in reasons(recording)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    text = "time,straße [°C]\n" + "".join(f"{i}.5,{'grün€' if i % 2 else 'weiß'}\n" for i in range(200))
    data = text.encode(encoding)
    if encoding == "utf-16-be":
        assert data[0] == 0
    rows, recording = table(data)
    assert len(rows) == 200
    assert rows[1] == (1_500_000_000, {"straße": "grün€"})
    assert recording.streams[0].signals[0].unit == "°C"


def test_a_head_of_ascii_does_not_hide_a_later_code_page() -> None:
    text = "time,name\n" + "".join(f"{i}.5,{'plain' if i < 60_000 else 'grün'}\n" for i in range(100_000))
    rows, recording = table(text.encode("cp1252"))
    assert recording.metadata["encoding"] == "cp1252"
    assert rows[-1][1] == {"name": "grün"}


def test_offsets_are_those_of_the_file_in_any_encoding() -> None:
    for encoding in ("utf-16", "cp1252", "utf-8-sig"):
        lines = [f"{i}.5,ä{i % 7}€\n" for i in range(100)]
        lines[50] = "broken row ä\n"
        data = ("time,name\n" + "".join(lines)).encode(encoding)
        _, recording = table(data)
        lost = recording.lost[0]
        piece = data[lost.offset : lost.offset + lost.length].decode(encoding.removesuffix("-sig").replace("16", "16-le"))
        assert piece == lines[50], encoding


def test_units_stand_in_the_header_or_below_it() -> None:
    below, recording = table("time;v;m\n[ms];[km/h];-\n10;1,5;on\n20;2,5;off\n")
    assert below == [(10_000_000, {"v": 1.5, "m": "on"}), (20_000_000, {"v": 2.5, "m": "off"})]
    assert [signal.unit for signal in recording.streams[0].signals] == ["km/h", "-"]
    beside, recording = table("time (ms),v(km/h),p [bar]\n10,1.5,2\n20,2.5,2\n")
    assert [t_ns for t_ns, _ in beside] == [10_000_000, 20_000_000]
    assert [(signal.name, signal.unit) for signal in recording.streams[0].signals] == [("v", "km/h"), ("p", "bar")]


def test_a_first_row_of_texts_is_no_row_of_units() -> None:
    assert len(columns_of("time,a,b\n2021-01-01 00:00:00Z,on,off\n2021-01-01 00:00:01Z,off,on\n")) == 2


def test_column_names_are_unique_and_never_empty() -> None:
    values = columns_of(" time , a ,a,,t_ns\n1.5,1,2,3,4\n2.5,1,2,3,4\n")
    assert values[0] == {"a": 1, "a_2": 2, "column_4": 3, "t_ns_2": 4}


def test_lines_before_the_header_are_kept() -> None:
    data = "Vehicle: 7\n# recorder 5\n\nRun 12, evening\ntime,a,b\n1.5,1,2\n# note\n2.5,1,2\n// note\n3.5,1,2\n"
    rows, recording = table(data)
    assert len(rows) == 3
    assert [recording.metadata[f"line before the header {i}"] for i in (1, 2)] == ["Vehicle: 7", "Run 12, evening"]
    assert recording.skipped == {"comment line": 2, "line before the header": 2}


@pytest.mark.parametrize("header", ["# time,a,b\n", "#time,a,b\n", "%time,a,b\n"])
def test_the_header_may_be_a_comment(header: str) -> None:
    assert columns_of(header + "1.5,1,2\n2.5,3,4\n") == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_a_header_that_comes_again_is_read_over() -> None:
    data = "time,a\n1.5,1\n2.5,2\n"
    rows, recording = table(data + data)
    assert len(rows) == 4
    assert recording.skipped == {"repeated header": 1}


def test_without_a_header_columns_have_numbers() -> None:
    rows, recording = table("0.5,1,x\n1.5,2,y\n2.5,3,y\n")
    assert rows[0] == (500_000_000, {"column_2": 1, "column_3": "x"})
    assert reasons(recording) == ["column 1 is taken for the time because it only grows"]


# --- time


@pytest.mark.parametrize(
    ("cell", "utc"),
    [
        ("2021-08-27T18:11:46Z", "2021-08-27T18:11:46"),
        ("2021-08-27 18:11:46", "2021-08-27T18:11:46"),
        ("2021-08-27 18:11:46.5 UTC", "2021-08-27T18:11:46.5"),
        ("2021-08-27 18:11:46,25", "2021-08-27T18:11:46.25"),
        ("2021/08/27 18:11", "2021-08-27T18:11"),
        ("2021-08-27T18:11:46+0530", "2021-08-27T12:41:46"),
        ("2021-08-27T18:11:46-08", "2021-08-28T02:11:46"),
        ("27.08.2021 18:11:46", "2021-08-27T18:11:46"),
        ("27/08/2021 18:11:46", "2021-08-27T18:11:46"),
        ("08/27/2021 6:11:46 PM", "2021-08-27T18:11:46"),
        ("8/27/2021 12:00 AM", "2021-08-27T00:00"),
        ("20210827T181146.75Z", "2021-08-27T18:11:46.75"),
        ("2000-02-29 00:00:00", "2000-02-29T00:00"),
        ("1969-12-31 23:59:59", "1969-12-31T23:59:59"),
    ],
)
def test_dates(cell: str, utc: str) -> None:
    times, recording = times_of([cell] * 3)
    moment = datetime.datetime.fromisoformat(utc).replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert times == [(since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000] * 3
    assert recording.absolute
    zoned = cell.endswith(("Z", "UTC", "+0530", "-08"))
    assert ("times have no zone: taken as UTC" in reasons(recording)) == (not zoned)


@pytest.mark.parametrize(
    "cell",
    ["2021-02-29", "2021-13-01", "2021-00-10", "1500-01-01", "2300-01-01", "2021-01-01T25:00", "2021-01-01T10:60", "2021-01-01T10:00+25"],
)
def test_impossible_dates_are_none(cell: str) -> None:
    assert time_value(cell.encode(), ord("."), 1, 0) is None


def test_dates_agree_with_the_calendar() -> None:
    rng = random.Random(5)
    for _ in range(2000):
        moment = datetime.datetime(1678, 1, 1) + datetime.timedelta(microseconds=rng.randrange(580 * 365 * 86_400 * 10**6))
        since = moment - datetime.datetime(1970, 1, 1)
        expected = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
        found = time_value(moment.isoformat().encode(), ord("."), 1, 0)
        assert found is not None
        assert found[0] == expected


def test_dates_that_read_two_ways_are_said_to() -> None:
    times, recording = times_of(["03/04/2021 00:00", "05/06/2021 00:00"])
    assert "the month is taken to stand first" in reasons(recording)[0]
    assert times[0] == 1_614_816_000 * 10**9


def test_a_date_and_a_time_column_belong_together() -> None:
    rows, recording = table("Date,Time,v\n2021-08-27,18:11:46.5,1\n2021-08-28,00:00:00,2\n")
    assert rows == [(1_630_087_906_500_000_000, {"v": 1}), (1_630_108_800_000_000_000, {"v": 2})]
    assert recording.metadata["time column"] == "Date and Time: date"


@pytest.mark.parametrize(
    ("cell", "unit"),
    [("1630087906", "s"), ("1630087906.5", "s"), ("1630087906500", "ms"), ("1630087906500000", "us"), ("1630087906500000000", "ns")],
)
def test_the_unit_of_epoch_times_is_told_by_their_size(cell: str, unit: str) -> None:
    times, recording = times_of([cell] * 3, "timestamp")
    assert times[0] // 10**9 == 1_630_087_906
    assert recording.absolute
    assert recording.metadata["time column"].endswith(f"in {unit}")
    assert recording.problems == []


@pytest.mark.parametrize(
    ("name", "unit", "t_ns"),
    [
        ("time_ms", "", 1_500_000),
        ("t [us]", "", 1500),
        ("Timestamp(ns)", "", 1),
        ("time", "ms", 1_500_000),
        ("Time_s", "", 1_500_000_000),
        ("milliseconds", "", 1_500_000),
    ],
)
def test_the_unit_of_relative_times_stands_in_name_or_unit(name: str, unit: str, t_ns: int) -> None:
    times, recording = times_of(["1.5", "2.5"], name, unit)
    assert times[0] == t_ns
    assert not recording.absolute


def test_whole_numbers_without_a_unit_are_seconds_and_it_is_said() -> None:
    times, recording = times_of(["1", "2", "3"])
    assert times == [10**9, 2 * 10**9, 3 * 10**9]
    assert reasons(recording) == ["the unit of the time is not told: seconds are assumed"]


def test_a_counter_of_nanoseconds_is_no_epoch_in_seconds() -> None:
    times, recording = times_of([str(i * 10**9) for i in range(1, 5)], "time_ns")
    assert times[0] == 10**9
    assert not recording.absolute


@pytest.mark.parametrize(
    ("cells", "t_ns"),
    [
        (["23:59:59.5", "0:00:00.5", "0:00:01"], [86_399_500_000_000, 86_400_500_000_000, 86_401_000_000_000]),
        (["22:20:14:992", "22:20:15:001"], [80_414_992_000_000, 80_415_001_000_000]),
        (["0:59", "1:00", "99:30"], [3_540_000_000_000, 3_600_000_000_000, 358_200_000_000_000]),
        (["12:00:01", "12:00:00", "12:00:02"], [43_201_000_000_000, 43_200_000_000_000, 43_202_000_000_000]),
    ],
)
def test_times_of_day_pass_midnight(cells: list[str], t_ns: list[int]) -> None:
    times, recording = times_of(cells)
    assert times == t_ns
    assert not recording.absolute


def test_nanoseconds_are_exact() -> None:
    times, _ = times_of(["1630087906.722078194", "1630087906.722078195"], "timestamp")
    assert times == [1_630_087_906_722_078_194, 1_630_087_906_722_078_195]


def test_the_name_that_says_most_is_the_time() -> None:
    rows, _ = table("time,timestamp,publish_ts,v\n1,1630087906,1630087906722078194,5\n2,1630087907,1630087906822078194,6\n")
    assert rows[0] == (1_630_087_906_722_078_194, {"time": 1, "timestamp": 1_630_087_906, "v": 5})


def test_a_named_time_that_is_none_is_passed_over() -> None:
    rows, _ = table("timestamp,time,v\nlate,1.5,1\nearly,2.5,2\nlate,3.5,3\n")
    assert rows[0] == (1_500_000_000, {"timestamp": "late", "v": 1})


@pytest.mark.parametrize("time", ["when", ""])
def test_a_column_without_a_known_name_may_be_the_time_by_its_content(time: str) -> None:
    rows, _ = table(f"a,{time},v\n" + "".join(f"x,{1_630_087_906_000 + i},{i}\n" for i in range(5)))
    assert rows[1][0] == 1_630_087_906_001_000_000


@pytest.mark.parametrize(
    "data",
    [
        "id,name,value\n1,a,2\n2,b,3\n3,c,4\n",
        "name,city\nAnn,Bonn\nBob,Rome\nCid,Oslo\n",
        "2024-01-01 12:00:00,123 INFO started\n2024-01-01 12:00:01,250 INFO stopped, waiting\n2024-01-01 12:00:02,7 INFO x\n",
        "5,1,2\n4,1,2\n3,1,2\n",
        "(1.5) can0 123#00,11\n(1.6) can0 123#00,11\n(1.7) can0 123#00,11\n",
        "for (i = 0, n = 5; i < n; i++)\n  a, b = b, a;\n",
        "time,value\n",
    ],
)
def test_other_texts_with_commas_are_not_taken(data: str) -> None:
    assert CsvParser.sniff(data.encode(), len(data)) is None
    with pytest.raises(Corrupt, match="no table with a time column"):
        read(CsvParser(), data.encode())


def test_a_header_wins_over_a_text_log_and_prose_without_numbers_is_one() -> None:
    rows = "".join(f"2024-01-01T00:00:0{i}Z,1.5,2.5\n" for i in range(9)).encode()
    assert detect(BytesSource(b"timestamp,a,b\n" + rows), "x.log").format == "csv"
    assert detect(BytesSource(rows), "x.csv").format == "csv"
    prose = "".join(f"2024-01-01T00:00:0{i}Z,INFO,{i} started\n" for i in range(9)).encode()
    assert detect(BytesSource(prose), "x.csv").format == "textlog"


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of real logs at {CORPUS}; set ARGUS_CORPUS to its folder")
def test_no_real_log_of_another_format_is_taken() -> None:
    paths = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(paths) > 100
    taken = [path.name for path in paths if CsvParser.sniff(path.open("rb").read(65_536), path.stat().st_size) is not None]
    assert taken == []


# --- cells


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("", 0, None),
        ("NULL", 0, None),
        ("n/a", 0, None),
        ("--", 0, None),
        ("12", 1, 12.0),
        ("+5", 1, 5.0),
        ("1.", 2, 1.0),
        (".5", 2, 0.5),
        ("1e3", 2, 1000.0),
        ("-Inf", 2, float("-inf")),
        ("1e999", 2, float("inf")),
        ("0x10", 3, None),
        ("1.2.3", 3, None),
        ("1e", 3, None),
        ("-.", 3, None),
        ("12a", 3, None),
        ("9" * 200, 3, None),
    ],
)
def test_numbers(cell: str, kind: int, value: float | None) -> None:
    assert number_kind(cell.encode(), ord("."))[0] == kind
    assert number_value(cell.encode(), ord(".")) == value


def test_decimals_are_the_nearest_doubles() -> None:
    rng = random.Random(7)
    for _ in range(5000):
        number = rng.choice([repr(rng.random() * 10.0 ** rng.randint(-300, 300)), f"{rng.uniform(-1e6, 1e6):.{rng.randint(0, 30)}f}"])
        assert number_value(number.encode(), ord(".")) == float(number)


def test_whole_numbers_keep_all_digits() -> None:
    assert columns_of("time,v\n1.5,9223372036854775807\n2.5,-9223372036854775808\n") == [{"v": 2**63 - 1}, {"v": -(2**63)}]
    assert columns_of("time,v\n1.5,9223372036854775808\n") == [{"v": 2.0**63}]


def test_a_column_is_as_wide_as_its_sample_needs() -> None:
    _, recording = table(
        "time,i,f,t,b,e,m\n" + "".join(f"{i}.5,{i},{i}{'.5' if i == 30 else ''},x{i},{i % 2 == 0},,5\n" for i in range(40))
    )
    assert [s.storage for s in recording.streams[0].signals] == ["int64", "float64", "int32", "uint8", "float64", "int64"]


def test_what_a_column_holds_is_looked_for_further_on() -> None:
    text = "time,v\n" + "".join(f"{i}.5,0\n" for i in range(100_000)) + "".join(f"{i}.5,0.25\n" for i in range(100_000, 300_000))
    rows, recording = table(text)
    assert rows[-1][1] == {"v": 0.25}
    assert recording.problems == []


def test_a_cell_that_does_not_fit_is_empty_and_counted() -> None:
    lines = [f"{i}.5,{i},{i}.5,true\n" for i in range(100)]
    lines[50] = "50.5,ERR,?,maybe\n"
    lines[60] = "60.5,1.5,n/a,\n"
    rows, recording = table("time,i,f,b\n" + "".join(lines))
    assert rows[50][1] == {}
    assert rows[60][1] == {"i": 1.5}
    first = len("time,i,f,b\n" + "".join(lines[:50]))
    assert [(problem.offset, problem.reason) for problem in recording.problems] == [
        (first, "1 cells of i are no numbers: left empty"),
        (first, "1 cells of f are no numbers: left empty"),
        (first, "1 cells of b are neither true nor false: left empty"),
    ]
    assert recording.lost == []


def test_texts_beyond_the_limit_are_empty_and_counted() -> None:
    rows, recording = table("time,v\n" + "".join(f"{i}.5,text {i}\n" for i in range(5000)))
    assert rows[4095][1] == {"v": "text 4095"}
    assert rows[4096][1] == {}
    assert reasons(recording) == ["904 cells of v are more different texts than are kept: left empty"]
    assert recording.problem_count == 904


def test_quotes_hide_delimiters_line_ends_and_quotes() -> None:
    values = columns_of('time,a,b\n1.5,"x, y",1\n2.5,"two\nlines",2\n3.5,"say ""hi""",3\n4.5, "blanks" ,4\n5.5,5" 3,5\n')
    assert [row["a"] for row in values] == ["x, y", "two\nlines", 'say "hi"', "blanks", '5" 3']
    assert [row["b"] for row in values] == [1, 2, 3, 4, 5]


def test_quoted_numbers_and_times_are_numbers_and_times() -> None:
    assert table('"time","v"\n"1.5","2"\n"2.5","3"\n')[0] == [(1_500_000_000, {"v": 2}), (2_500_000_000, {"v": 3})]


# --- rows that do not fit


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("5.5,1\n", "row has not as many cells as the header"),
        ("5.5,1,2,3\n", "row has not as many cells as the header"),
        ("5.5;1;2\n", "row has not as many cells as the header"),
        ("late,1,2\n", "row has no time"),
        (",1,2\n", "row has no time"),
        ("5.5,\0,2\n", "line has zero bytes: not text"),
        ("5.5," + "9" * 70_000 + ",2\n", "line is longer than allowed"),
        ("5.5," + '"' + "9" * 70_000 + '",2\n', "line is longer than allowed"),
    ],
)
@pytest.mark.parametrize("limits", [Limits(), Limits(block_rows=3), Limits(read_size=100)], ids=["", "small blocks", "small reads"])
def test_a_row_that_does_not_fit_is_lost_alone(bad: str, reason: str, limits: Limits) -> None:
    before = "time,a,b\n" + "".join(f"{i}.5,1,2\n" for i in range(30))
    rows, recording = table(before + bad + "".join(f"{i}.5,1,2\n" for i in range(30, 60)), limits)
    assert len(rows) == 60
    assert [(lost.offset, lost.length, lost.reason) for lost in recording.lost] == [(len(before), len(bad), reason)]
    assert recording.skipped == {"unreadable row": 1}
    assert recording.problem_count == 1


def test_neighbouring_bad_rows_are_one_range_and_all_count() -> None:
    before = "time,a,b\n" + "".join(f"{i}.5,1,2\n" for i in range(30))
    _, recording = table(before + "x\n" * 5 + "31.5,1,2\n" + "y,1,2\n" * 3)
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(before), 10), (len(before) + 19, 18)]
    assert recording.problem_count == 8
    assert recording.skipped == {"unreadable row": 8}


def test_a_line_of_ten_megabytes_counts_once() -> None:
    before = "time,a\n" + "".join(f"{i}.5,1\n" for i in range(30))
    rows, recording = table(before + "x" * 10_000_000 + "\n31.5,2\n")
    assert len(rows) == 31
    assert [(lost.offset, lost.length) for lost in recording.lost] == [(len(before), 10_000_001)]
    assert recording.problem_count == 1


def test_a_quote_that_is_never_closed_costs_its_line() -> None:
    before = "time,a,b\n" + "".join(f"{i}.5,x,2\n" for i in range(30))
    after = "".join(f"{i}.5,x,2\n" for i in range(31, 20_000))
    rows, recording = table(before + '30.5,"x,2\n' + after)
    assert len(rows) == 30 + 20_000 - 31
    assert [(lost.offset, lost.length, lost.reason) for lost in recording.lost] == [(len(before), 10, "a quote is never closed")]


def test_empty_cells_at_the_end_do_not_matter() -> None:
    assert columns_of("time,a,\n1.5,1,\n2.5,2,\n") == [{"a": 1}, {"a": 2}]
    rows, recording = table("time,a\n1.5,1\n2.5,2,,\n3.5,3\n4.5,4\n")
    assert len(rows) == 4
    assert recording.lost == []


def test_the_last_line_without_an_end_is_read_and_said_to_be() -> None:
    rows, recording = table("time,a\n1.5,1\n2.5,2\n3.5,3")
    assert rows[-1] == (3_500_000_000, {"a": 3})
    assert reasons(recording) == ["last line has no line end: the file may be cut"]


def test_a_table_without_a_row_that_can_be_read_is_refused() -> None:
    with pytest.raises(Corrupt):
        read(CsvParser(), b"time,a\nx,1\ny,2\nz,3\n")


def test_more_columns_than_signals_are_listed() -> None:
    _, recording = table("time,a,b,c\n1.5,1,2,3\n2.5,1,2,3\n", Limits(max_signals=2))
    assert [signal.name for signal in recording.streams[0].signals] == ["a", "b"]
    assert recording.undecoded == {"c": "more than 2 signals"}


def test_blocks_keep_to_their_bounds() -> None:
    data = ("time," + ",".join(f"s{i}" for i in range(50)) + "\n" + "".join(f"{i}.5{',1.5' * 50}\n" for i in range(3000))).encode()
    limits = Limits(block_bytes=50_000)
    blocks = list(CsvParser().blocks(BytesSource(data), Recording(), limits))
    assert sum(len(block) for block in blocks) == 3000
    assert all(isinstance(block, SampleBlock) and block.nbytes <= limits.block_bytes for block in blocks)


# --- log messages

LOG = (
    b"timestamp,level,message,module,cpu\n"
    b'2024-01-01T00:00:00Z,INFO,"hello, ""you""",core,1.5\n'
    b"2024-01-01T00:00:01Z,ERROR,bad \x1b thing,net,2.5\n"
    b"never,ERROR,lost,net,2.5\n"
    b"2024-01-01T00:00:02Z,Critical,the end,,\n"
    b"2024-01-01T00:00:03Z,odd,the end,core,\n"
)


@pytest.mark.parametrize("limits", [Limits(), Limits(block_rows=2)], ids=["whole blocks", "blocks of 2 rows"])
def test_level_and_message_columns_are_log_messages(limits: Limits) -> None:
    found, recording = read_lines(CsvParser(), LOG, limits)
    assert found["messages"] == [
        "message,1704067200000000000,info,core,'hello, \"you\"'",
        "message,1704067201000000000,error,net,'bad \\\\x1b thing'",
        "message,1704067202000000000,fatal,table,'the end'",
        "message,1704067203000000000,,core,'the end'",
    ]
    assert found["0"][0] == "table[0],1704067200000000000,cpu=1.5"
    assert [signal.name for signal in recording.streams[0].signals] == ["cpu"]
    assert recording.lost[0].reason == "row has no time"


def test_a_table_of_messages_alone_has_no_stream() -> None:
    found, recording = read_lines(CsvParser(), b"time,severity,msg\n1.5,warn,a\n2.5,debug,b\n3.5,trace,a\n")
    assert found == {
        "messages": ["message,1500000000,warning,table,'a'", "message,2500000000,debug,table,'b'", "message,3500000000,trace,table,'a'"]
    }
    assert recording.streams == []


def test_messages_in_a_code_page_become_utf8() -> None:
    found, _ = read_lines(CsvParser(), "time,level,message\n1.5,INFO,größer €\n2.5,INFO,x\n".encode("cp1252"))
    assert found["messages"][0] == "message,1500000000,info,table,'größer €'"
