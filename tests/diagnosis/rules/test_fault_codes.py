"""Fault codes are told with their meaning, graver with the lamps that were on, milder while pending or past."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from diagnosis.codes import FAILURE_MODES, SEVERE, TEXTS, is_standard, of_j1939, of_j2012
from diagnosis.evidence import CodeFact
from diagnosis.findings import CRITICAL, ERROR, INFO, WARNING, FoundFinding
from diagnosis.rules.fault_codes import find
from tests.diagnosis.cases import SECOND, START, Case

LAMPS = {"mil": False, "red_stop": False, "amber_warning": False, "protect": None}


def row(code: str = "P0301", status: str = "stored", **fields: Any) -> dict[str, Any]:
    base = {"protocol": "obd2", "code": code, "status": status, "source": "7e8", "channel": "1", "count": 3, "first_ns": START}
    return {**base, "last_ns": START + 90 * SECOND, "occurrence_count": None, "lamps": None, "file": "f", **fields}


def found(*rows: dict[str, Any]) -> list[FoundFinding]:
    case = Case()
    case.fault_codes = list(rows)
    return list(find(case.evidence()))


def test_a_code_is_told_with_its_text_unit_and_time() -> None:
    (finding,) = found(row())
    assert finding.sentence == (
        "OBD-II code P0301 (misfires in cylinder 1), stored, from control unit 7E8 on bus 1: reported 3 times, "
        "first at 2023-11-14 22:13:20 UTC, for 1 min 30 s."
    )
    assert (finding.code, finding.severity, finding.count, finding.file_id) == ("P0301", ERROR, 3, "f")
    assert finding.action


def test_states_of_one_code_are_one_finding() -> None:
    (finding,) = found(row(status="pending"), row(status="permanent", first_ns=START + 5, last_ns=START + 100 * SECOND, file="g"))
    assert ", permanent and pending, " in finding.sentence
    assert (finding.count, finding.file_id, finding.from_ns, finding.to_ns) == (6, "g", START, START + 100 * SECOND)
    assert [state["status"] for state in finding.details["states"]] == ["permanent", "pending"]


def test_codes_of_two_units_are_two_findings() -> None:
    assert len(found(row(), row(source="7e9"), row(channel="2"))) == 3


@pytest.mark.parametrize(
    ("code", "status", "severity"),
    [
        ("P0217", "stored", CRITICAL),
        ("P0301", "permanent", ERROR),
        ("P0301", "pending", WARNING),
        ("P0420", "stored", WARNING),
        ("P0420", "pending", INFO),
        ("P0217", "previously_active", INFO),
        ("P1234", "stored", WARNING),
    ],
)
def test_how_grave_a_code_is(code: str, status: str, severity: str) -> None:
    assert [finding.severity for finding in found(row(code, status))] == [severity]


@pytest.mark.parametrize(
    ("lamp", "fmi", "severity"),
    [("red_stop", 4, CRITICAL), ("mil", 4, ERROR), ("amber_warning", 4, WARNING), (None, 4, WARNING), (None, 0, ERROR), (None, 1, ERROR)],
)
def test_lamps_and_failure_modes_of_j1939(lamp: str | None, fmi: int, severity: str) -> None:
    lamps = {**LAMPS, **({lamp: True} if lamp else {})}
    (finding,) = found(row(f"SPN 110 FMI {fmi}", "active", protocol="j1939", source="00", lamps=lamps, occurrence_count=4))
    assert finding.severity == severity
    assert f"(parameter 110: {FAILURE_MODES[fmi]}), active, from address 00" in finding.sentence
    assert "counts 4 occurrences" in finding.sentence


def test_lamps_are_named() -> None:
    lamps = {**LAMPS, "mil": True, "red_stop": True}
    (finding,) = found(row("SPN 110 FMI 0", "active", protocol="j1939", source="00", lamps=lamps))
    assert finding.sentence.endswith("On with it: red stop lamp and malfunction lamp.")


def test_lamps_of_codes_that_are_past_do_not_count() -> None:
    (finding,) = found(row("SPN 110 FMI 4", "previously_active", protocol="j1939", lamps={**LAMPS, "red_stop": True}))
    assert finding.severity == INFO


def test_a_warning_indicator_makes_a_uds_code_an_error() -> None:
    (finding,) = found(row("P0420-00", "active", protocol="uds", lamps={"mil": True}))
    assert finding.severity == ERROR


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("P0301-00", "misfires in cylinder 1"),
        ("P0301-13", "misfires in cylinder 1, open circuit"),
        ("P0399", "powertrain code: ignition or misfire"),
        ("P0A99", "powertrain code: hybrid or electric drive"),
        ("P1301", "powertrain code of the maker"),
        ("P3000", "powertrain code of the maker"),
        ("P3400", "powertrain code: auxiliary emission control"),
        ("C0035", "wheel speed sensor, front left"),
        ("C1035", "chassis code of the maker"),
        ("B0999", "body code"),
        ("U0121", "no messages from the brake control unit (ABS)"),
        ("U3000", "network code"),
        ("U1000", "network code of the maker"),
        ("X", "unknown code"),
        ("", "unknown code"),
    ],
)
def test_meanings(code: str, text: str) -> None:
    assert of_j2012(code).text == text


def test_every_text_belongs_to_a_standard_code() -> None:
    for code in {*TEXTS, *SEVERE}:
        assert len(code) == 5
        assert is_standard(code)
        assert of_j2012(code).action
    assert {f"P03{n:02d}" for n in range(1, 13)} <= TEXTS.keys()
    assert TEXTS["P0212"] == "injector of cylinder 12: circuit"
    assert TEXTS["P0351"] == "ignition coil A: circuit"
    assert SEVERE.keys() <= TEXTS.keys()


def test_an_unknown_failure_mode_is_said_to_be_reserved() -> None:
    assert of_j1939(1, 25).text == "parameter 1: reserved failure mode"
    assert [finding.severity for finding in found(row("garbled", protocol="j1939", status="active"))] == [WARNING]


def test_a_recording_without_a_date_counts_from_its_start() -> None:
    case = Case()
    case.time["absolute"] = False
    case.fault_codes = [row(first_ns=5 * SECOND, last_ns=5 * SECOND)]
    (finding,) = find(case.evidence())
    assert finding.sentence.endswith("first at 5 s after the start.")


@pytest.mark.parametrize(
    ("told", "severity"), [("check_immediately", CRITICAL), ("check_at_next_halt", ERROR), ("maintenance", WARNING), (None, WARNING)]
)
def test_the_severity_that_a_control_unit_gives_raises_that_of_the_code(told: str | None, severity: str) -> None:
    (finding,) = found(
        row("C1234-12", "active", protocol="uds", severity=told, status_byte=9, records=[{"kind": "snapshot", "number": 1, "data": "00"}])
    )
    assert finding.severity == severity
    assert finding.details["records"] == [{"kind": "snapshot", "number": 1, "data": "00"}]
    assert finding.details["states"][0]["status_byte"] == 9


KNOWN = {
    fact.code: fact
    for fact in (
        CodeFact("P1234", "tank heater relay"),
        CodeFact("P1234-13", "tank heater relay unplugged", "error", "Plug it in."),
        CodeFact("SPN 110", "coolant temperature"),
        CodeFact("SPN 94 FMI 18", "fuel filter blocked", "critical", "Change the filter."),
        CodeFact("P0301", "own words"),
    )
}


@pytest.mark.parametrize(
    ("protocol", "code", "text", "severity", "action"),
    [
        ("obd2", "P1234", "tank heater relay", WARNING, "Read the freeze frame"),
        ("uds", "P1234-12", "tank heater relay, short to battery", WARNING, "Read the freeze frame"),
        ("uds", "P1234-13", "tank heater relay unplugged", ERROR, "Plug it in."),
        ("obd2", "P0301", "own words", ERROR, "Read the freeze frame"),
        ("obd2", "P1235", "powertrain code of the maker", WARNING, "Look the code up"),
        ("j1939", "SPN 110 FMI 0", "coolant temperature: above normal, most severe", ERROR, "Check the component"),
        ("j1939", "SPN 94 FMI 18", "fuel filter blocked", CRITICAL, "Change the filter."),
        ("j1939", "SPN 94 FMI 1", "parameter 94: below normal, most severe", ERROR, "Look the parameter"),
    ],
)
def test_what_the_operator_knows_of_a_code_is_told(protocol: str, code: str, text: str, severity: str, action: str) -> None:
    case = Case()
    case.fault_codes = [row(code, "active", protocol=protocol)]
    (finding,) = find(replace(case.evidence(), code_facts=KNOWN))
    assert f"({text})" in finding.sentence
    assert finding.severity == severity
    assert finding.action.startswith(action)
