"""Vehicles that are let in before they call: a table of VINs, taken whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import transaction

from common.errors import InvalidField
from events.models import EventType
from events.record import record_act
from vehicles.enrolment import PREAPPROVED_BY, accept
from vehicles.models import EnrolmentToken, Fleet, Platform, Preapproval, Vehicle, VehicleState
from vehicles.vin import PATTERN

MAX_BYTES = 8 * 2**20
MAX_ROWS = 50_000
AT_ONCE = 500  # rows of one statement
NAMED_ERRORS = 20
COLUMNS = ("vin", "name", "fleet", "platform")
DELIMITERS = (",", ";", "\t")
NAME_LENGTH = 100
EXAMPLE = "vin,name,fleet,platform\nWARGUS000R0000017,Heron,Demo fleet,J7\nWARGUS00070000025,,,\n"


class BadVinTable(InvalidField):
    """`lines` says what is wrong, by line."""

    code = "bad_vin_table"
    title = "The file is no table of vehicles"

    def __init__(self, detail: str = "", lines: Iterable[str] = ()) -> None:
        self.lines = list(lines)
        super().__init__(detail or f"Nothing was taken. {' '.join(self.lines[:3])}")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    line: int
    vin: str
    name: str
    fleet: Fleet | None
    platform: Platform | None


@dataclass(slots=True)
class Approved:
    """How many VINs are expected now, were expected before, waited and are in now, and were in before."""

    added: int = 0
    changed: int = 0
    accepted: int = 0
    active: int = 0


def preapprove(lines: Iterable[bytes], *, actor: str) -> Approved:
    """Take a CSV table with the column vin and, if there are, name, fleet and platform; a lone list of VINs will do.

    A vehicle that waits already is accepted, one that is active is left alone. Raises BadVinTable with every wrong line (up to 20).
    """
    rows = {row.vin: row for row in _rows(lines)}
    if not rows:
        raise BadVinTable("The table has no vehicle.")
    done = Approved()
    with transaction.atomic():
        # A vehicle that enrols at this moment is there before us, or finds its approval.
        list(EnrolmentToken.objects.select_for_update().order_by("pk").values_list("pk"))
        known: dict[str, Vehicle] = {}
        for chunk in _chunks(list(rows)):
            known |= {vehicle.vin: vehicle for vehicle in Vehicle.objects.filter(vin__in=chunk)}
        _refuse_turned_away(rows, known)
        for vin, vehicle in known.items():
            if vehicle.state == VehicleState.PENDING:
                _accept(vehicle, rows[vin], actor)
                done.accepted += 1
            else:
                done.active += 1
        expected = [row for row in rows.values() if row.vin not in known]
        for chunk in _chunks([row.vin for row in expected]):
            done.changed += Preapproval.objects.filter(vin__in=chunk).delete()[0]
        Preapproval.objects.bulk_create(
            [Preapproval(vin=row.vin, name=row.name, fleet=row.fleet, platform=row.platform, approved_by=actor) for row in expected],
            batch_size=AT_ONCE,
        )
        done.added = len(expected) - done.changed
        counts = {"added": done.added, "changed": done.changed, "accepted": done.accepted, "active": done.active}
        record_act(EventType.VEHICLES_PREAPPROVED, counts, actor=actor)
    return done


def _chunks(vins: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(vins), AT_ONCE):
        yield vins[start : start + AT_ONCE]


def _refuse_turned_away(rows: dict[str, Row], known: dict[str, Vehicle]) -> None:
    """What somebody rejected or retired is not undone by a line in a table."""
    wrong = [
        f"Line {rows[vin].line}: {vin} was {vehicle.state}: decide on its page, or leave it out."
        for vin, vehicle in known.items()
        if vehicle.state in {VehicleState.REJECTED, VehicleState.RETIRED}
    ]
    if wrong:
        raise BadVinTable(lines=wrong[:NAMED_ERRORS])


def _accept(vehicle: Vehicle, row: Row, actor: str) -> None:
    known = {"name": row.name, "fleet": row.fleet, "platform": row.platform}
    if given := {field: value for field, value in known.items() if value}:
        Vehicle.objects.filter(pk=vehicle.pk).update(**given)
    accept(vehicle.pk, actor=f"{PREAPPROVED_BY}{actor}")


# -- the table ---------------------------------------------------------------------------------------------------------


def _rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Every row, checked. Raises BadVinTable when the table has been read, if any is wrong."""
    fleets = {fleet.name: fleet for fleet in Fleet.objects.all()}
    platforms = {platform.name: platform for platform in Platform.objects.all()}
    names = {"fleet": set(fleets), "platform": set(platforms)}
    wrong: list[str] = []
    seen: dict[str, int] = {}
    for line, cells in _cells(lines):
        problem = _problem(cells, names, seen)
        if problem:
            wrong.append(f"Line {line}: {problem}")
            if len(wrong) == NAMED_ERRORS:
                wrong.append("There may be more: reading ended here.")
                break
            continue
        seen[cells["vin"]] = line
        yield Row(line, cells["vin"], cells["name"], fleets.get(cells["fleet"]), platforms.get(cells["platform"]))
    if wrong:
        raise BadVinTable(lines=wrong)


def _problem(cells: dict[str, str], names: dict[str, set[str]], seen: dict[str, int]) -> str:
    vin = cells["vin"]
    if not PATTERN.fullmatch(vin):
        return f"{vin[:30]!r} is no VIN: 17 digits and capital letters without I, O and Q."
    if vin in seen:
        return f"{vin} stands in line {seen[vin]} already."
    if len(cells["name"]) > NAME_LENGTH or "\0" in cells["name"]:
        return f"the name has more than {NAME_LENGTH} characters, or a NUL."
    for column, known in names.items():
        if cells[column] and cells[column] not in known:
            return f"there is no {column} {cells[column][:50]!r}."
    return ""


def _cells(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line and its cells by column; lines without anything are passed over."""
    text = _text(lines)
    first = next(text, "")
    delimiter = max(DELIMITERS, key=first.count)
    columns = _columns(next(csv.reader([first], delimiter=delimiter), []))
    if columns is None:
        columns = list(COLUMNS)
        text, skipped = _again(first, text), 0
    else:
        skipped = 1
    reader = csv.reader(text, delimiter=delimiter)
    try:
        for values in reader:
            line = reader.line_num + skipped
            if line > MAX_ROWS:
                raise BadVinTable(f"The table has more than {MAX_ROWS} lines.")
            if any(value.strip() for value in values):
                given = dict(zip(columns, (" ".join(value.split()) for value in values), strict=False))
                yield line, {**dict.fromkeys(COLUMNS, ""), **given, "vin": given.get("vin", "").replace(" ", "").upper()}
    except csv.Error as error:
        raise BadVinTable(f"Line {reader.line_num + skipped}: {error}.") from error


def _columns(first: list[str]) -> list[str] | None:
    """The columns that the first line names; None when it is a vehicle already. Raises BadVinTable for anything else."""
    names = [" ".join(cell.split()).lower() for cell in first]
    if names and PATTERN.fullmatch(names[0].replace(" ", "").upper()):
        return None
    if "vin" not in names or len(set(names)) != len(names):
        raise BadVinTable("The first line must name the columns: vin and, if you have them, name, fleet and platform.")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise BadVinTable(f"There is no column {unknown[0][:30]!r}: the columns are vin, name, fleet and platform.")
    return names


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _text(lines: Iterable[bytes]) -> Iterator[str]:
    """As UTF-8; a line that is none is what spreadsheets write on Windows."""
    for number, line in enumerate(lines):
        plain = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        try:
            yield plain.decode()
        except UnicodeDecodeError:
            yield plain.decode("cp1252", errors="replace")
