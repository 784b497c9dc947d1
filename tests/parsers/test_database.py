"""DBC compilation: what strict loaders take, what only a tolerant one does, the compiled form, and merging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parsers.can.database import Database, Signal
from parsers.can.dbc_repair import repair
from parsers.errors import Corrupt, LimitExceeded, Unsupported
from tests.parsers.blocks import CORPUS

EXPECTED = CORPUS / "dbc" / "EXPECTED_dbc.json"
FILES: list[dict[str, Any]] = json.loads(EXPECTED.read_text()) if EXPECTED.is_file() else []
needs_corpus = pytest.mark.skipif(not FILES, reason="the corpus is not there")


def corpus(name: str) -> Database:
    path = CORPUS / "dbc" / name
    return Database.load(path.read_bytes(), name)


def load(text: str, channels: tuple[str, ...] | None = None, name: str = "test.dbc") -> Database:
    return Database.load(('VERSION ""\nBS_:\nBU_: X\n' + text).encode(), name, channels)


MESSAGE = 'BO_ 256 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n'


@needs_corpus
@pytest.mark.parametrize("entry", [e for e in FILES if "messages" in e], ids=lambda e: Path(e["file"]).name)
def test_every_database_that_cantools_takes_is_read_whole(entry: dict[str, Any]) -> None:
    database = corpus(Path(entry["file"]).name)
    signals = [signal for message in database.messages for signal in message.signals]
    dropped = [warning for warning in database.warnings if "left out" in warning]
    assert len(database.messages) == entry["messages"]
    assert len(signals) + len(dropped) == entry["signals"]
    assert database.sha256 == entry["sha256"]
    if not dropped:
        assert sum(signal.big_endian for signal in signals) == entry["motorola_signals"]
        assert sum(signal.is_float for signal in signals) == entry["floats"]
    assert sum(message.extended for message in database.messages) == entry["extended"]


@needs_corpus
@pytest.mark.parametrize(
    ("name", "messages", "signals", "warning"),
    [
        ("opendbc__toyota_2017_ref_pt.dbc", 111, 1040, "line 387: message BDB1F01_14: id 0x40140639 has more than 29 bits, left out"),
        ("opendbc__fca_giorgio.dbc", 37, 155, "line 228: message CAM_UNKNOWN_6: id 0x1e36001e has more than 11 bits, read as a 29-bit id"),
        ("opendbc__mazda_2017.dbc", 102, 515, "line 273: 2017_5 is no DBC identifier, read nevertheless"),
        ("opendbc__psa_aee2010_r3.dbc", 107, 430, "line 165: 0_COUNTER is no DBC identifier, read nevertheless"),
        (
            "opendbc__tesla_can.dbc",
            44,
            572,
            "line 783: value table of signal UI_mapSpeedLimit, which message UI_driverAssistRoadSign does not have, left out",
        ),
    ],
)
def test_the_databases_that_cantools_refuses_are_read_with_a_warning_per_line(name: str, messages: int, signals: int, warning: str) -> None:
    database = corpus(name)
    assert (len(database.messages), sum(len(m.signals) for m in database.messages)) == (messages, signals)
    assert database.warnings[0].startswith("not a strict DBC: ")
    assert warning in database.warnings


@needs_corpus
def test_a_name_that_had_to_be_changed_comes_back_as_written() -> None:
    names = {signal.name for message in corpus("opendbc__psa_aee2010_r3.dbc").messages for signal in message.signals}
    assert {"0_COUNTER", "0_CHECKSUM"} <= names
    assert "2017_5" in {message.name for message in corpus("opendbc__mazda_2017.dbc").messages}


@needs_corpus
@pytest.mark.parametrize(
    "entry", [e for e in FILES if e["cantools_load"] == "strict" and e["messages"]], ids=lambda e: Path(e["file"]).name
)
def test_a_strict_database_reads_the_same_when_it_is_repaired(entry: dict[str, Any]) -> None:
    direct = corpus(Path(entry["file"]).name)
    text = (CORPUS / entry["file"]).read_bytes().decode(entry["encoding"])
    again = Database.load(repair(text).text().encode(), direct.name)
    assert {(m.arbitration_id, m.extended): (m.name, m.length, m.j1939) for m in again.messages} == {
        (m.arbitration_id, m.extended): (m.name, m.length, m.j1939) for m in direct.messages
    }
    for mine, theirs in zip(again.messages, direct.messages, strict=True):
        assert mine.signals == theirs.signals, mine.name


@needs_corpus
@pytest.mark.parametrize("entry", FILES, ids=lambda e: Path(e["file"]).name)
def test_the_compiled_form_gives_an_equal_database(entry: dict[str, Any]) -> None:
    database = corpus(Path(entry["file"]).name)
    assert Database.from_json(database.to_json()) == database


@pytest.mark.parametrize(
    ("text", "messages", "warning"),
    [
        (MESSAGE + 'BO_ nonsense\n SG_ B : 0|8@1+ (1,0) [0|0] "" X\n', {"M": ["A"]}, "line 6: message not understood"),
        (MESSAGE + ' SG_ B : 8@1+ (1,0) [0|0] "" X\n', {"M": ["A"]}, "line 6: signal not understood"),
        (MESSAGE + ' SG_ B : 8|80@1+ (1,0) [0|0] "" X\n', {"M": ["A"]}, "signal B of M left out: 80 bits wide"),
        (MESSAGE + ' SG_ B : 8|8@1+ (x,0) [0|0] "" X\n', {"M": ["A"]}, "line 6: signal not understood"),
        (MESSAGE + 'VAL_ 256 A oops ;\nVAL_ 999 A 0 "x" ;\n', {"M": ["A"]}, "line 7: value table of unknown message 999"),
        (MESSAGE + "SIG_VALTYPE_ 256 Missing : 1;\n", {"M": ["A"]}, "line 6: value type of signal Missing"),
        (MESSAGE + 'BO_ 256 Twin: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] "" X\nVAL_ 1 A 0 "x" ;\n', {"M": ["A"]}, "line 6: message Twin: id 256"),
    ],
)
def test_one_bad_line_costs_that_line_only(text: str, messages: dict[str, list[str]], warning: str) -> None:
    database = load(text)
    assert {m.name: [s.name for s in m.signals] for m in database.messages} == messages
    assert any(found.startswith(warning) for found in database.warnings), database.warnings


def test_value_tables_with_quotes_semicolons_and_newlines_survive_a_repair() -> None:
    text = MESSAGE + 'VAL_ 256 A 0 "a;b" 1 "two\nlines" 2 "say \\"x\\"" 3.5 "half" ;\nVAL_ 999 A 0 "x" ;\n'
    database = load(text)
    choices = database.messages[0].signals[0].choices
    assert choices is not None
    assert list(choices) == [0, 1, 2]
    assert choices[0] == "a;b"
    assert any("entries with a fraction" in warning for warning in database.warnings)


def test_text_that_is_not_utf_8_is_cp1252() -> None:
    text = 'VERSION ""\nBS_:\nBU_: X\nBO_ 256 M: 8 X\n SG_ T : 0|8@1+ (1,-40) [0|0] "°C" X\n'
    for encoded in (text.encode("cp1252"), text.encode(), b"\xef\xbb\xbf" + text.encode()):
        assert Database.load(encoded, "x").messages[0].signals[0].unit == "°C"


@pytest.mark.parametrize("data", [b"%PDF-1.7", b"\x00" * 100, b"BO_ x\n SG_ y\n", b"\xff\xfe\x00"])
def test_what_is_no_database_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="no message can be read"):
        Database.load(data, "x")


def test_a_database_that_is_too_large_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(LimitExceeded):
        Database.load(bytes(32 * 1024 * 1024 + 1), "x")


def test_a_signal_named_as_the_time_column_gets_another_name() -> None:
    database = load('BO_ 256 M: 8 X\n SG_ t_ns : 0|8@1+ (1,0) [0|0] "" X\n')
    assert [signal.name for signal in database.messages[0].signals] == ["t_ns_2"]
    assert database.warnings == ["signal t_ns of M is called t_ns_2"]


def signal(**changes: Any) -> dict[str, Any]:
    return {"name": "A", "bit": 0, "length": 8, "order": "little", "type": "unsigned", "scale": 1, "offset": 0} | changes


@pytest.mark.parametrize(
    "change",
    [
        {"length": 0}, {"length": 65}, {"length": "8"}, {"bit": -1}, {"bit": 505}, {"scale": None}, {"scale": 1e999}, {"name": 5},
        {"type": "float", "length": 24}, {"mux": [0, [[0, 1]]]}, {"mux": [1, [[0, 1]]]}, {"mux": [-1, []]}, {"choices": {"x": "y"}},
        {"bit": True},
    ],
)  # fmt: skip
def test_a_damaged_compiled_database_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(load(MESSAGE).to_json())
    document["messages"][0]["signals"] = [signal(**change)]
    with pytest.raises(Corrupt, match="compiled database is damaged"):
        Database.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format":1}', b"\xff", b"[" * 100_000])
def test_what_is_no_compiled_database_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        Database.from_json(data)


def test_another_compiled_format_is_named() -> None:
    with pytest.raises(Unsupported, match="format 99"):
        Database.from_json(b'{"format":99}')


def test_the_first_database_wins_and_the_shadowed_message_is_named() -> None:
    other = 'BO_ 256 Other: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] "" X\n'
    merged = Database.merge([load(MESSAGE, name="one"), load(other, name="two")])
    found = merged.find(256, False, "can0")
    assert found is not None
    assert found.name == "M"
    assert merged.warnings == ["message Other: id 0x100 is also M, which is used"]
    assert [name for name, _ in merged.sources] == ["one", "two"]


def test_a_restricted_database_is_used_on_its_bus_only() -> None:
    database = Database.merge([load(MESSAGE, ("can1",))])
    assert database.find(256, False, "can0") is None
    assert database.find(256, False, "can1") is not None
    assert database.find(256, True, "can1") is None


@pytest.mark.parametrize(
    ("length", "signed", "scale", "offset", "storage"),
    [
        (7, False, 1, 0, "int8"), (8, False, 1, 0, "uint8"), (8, True, 1, 0, "int8"), (8, True, 1, 1, "int16"), (8, True, 1, 128, "uint8"),
        (8, False, 2.0, -40.0, "int16"), (8, False, 257, 0, "uint16"), (8, False, 258, 0, "int32"), (15, False, 1, 0, "int16"),
        (16, False, 1, 0, "uint16"), (16, False, 1, -1, "int32"), (16, True, 2, 0, "int32"), (31, False, 1, 0, "int32"),
        (32, False, 1, 0, "uint32"), (32, False, 1, -1, "int64"), (32, True, 1, 0, "int32"), (32, True, -1, 0, "int64"),
        (64, False, 1, 0, "uint64"), (64, True, 1, 0, "int64"), (64, True, 2, 0, "float64"), (8, False, 0.5, 0, "float64"),
        (64, False, 1, -1, "float64"),
    ],
)  # fmt: skip
def test_the_column_type_holds_every_value(length: int, signed: bool, scale: float, offset: float, storage: str) -> None:
    found = Signal("A", 0, length, False, signed, False, scale, offset, None, None, "", None, None)
    assert found.storage == storage
