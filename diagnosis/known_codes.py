"""What the operator knows of fault codes: read from a table, and looked up for the codes of a batch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Q

from common.errors import InvalidField
from diagnosis.evidence import CodeFact
from diagnosis.models import FindingSeverity, KnownCode
from events.models import EventType
from events.record import record_act

MAX_BYTES = 8 * 2**20
MAX_ROWS = 100_000
AT_ONCE = 500  # rows of one statement
COLUMNS = ("code", "text", "severity", "action")
DELIMITERS = (",", ";", "\t")
CODE = re.compile(r"[PCBU][0-3][0-9A-F]{3}(?:-[0-9A-F]{2})?|SPN \d{1,6}(?: FMI \d{1,2})?")
SPN = re.compile(r"\d{1,6}")


class BadCodeTable(InvalidField):
    code = "bad_code_table"
    title = "The file is no table of fault codes"


@dataclass(frozen=True, slots=True)
class Imported:
    """How many codes were new, and how many had been known and now say what the table says."""

    added: int
    changed: int


def tidy(code: str) -> str:
    """A code as it is compared: capitals, `SPN 110` also for a bare number. Raises BadCodeTable for what is no fault code."""
    text = " ".join(code.upper().split())
    if SPN.fullmatch(text):
        text = f"SPN {text}"
    text = re.sub(r"^SPN (\d+)(?: FMI (\d+))?$", lambda m: f"SPN {int(m[1])}" + (f" FMI {int(m[2])}" if m[2] else ""), text)
    if not CODE.fullmatch(text):
        raise BadCodeTable(f"{code[:50]!r} is no fault code: write P1234, U0100-87, SPN 110 or SPN 110 FMI 0.")
    return text


def import_codes(content: bytes, platform_id: int | None, *, actor: str) -> Imported:
    """Take a CSV table with the columns code, text and, if there are, severity and action. All of it, or nothing.

    A code that is known already is overwritten. Raises BadCodeTable with the line that is wrong.
    """
    if len(content) > MAX_BYTES:
        raise BadCodeTable(f"The file has {len(content)} bytes; at most {MAX_BYTES} are allowed.")
    rows = {row.code: row for row in _rows(content)}
    if not rows:
        raise BadCodeTable("The table has no row.")
    of_platform = Q(platform__isnull=True) if platform_id is None else Q(platform_id=platform_id)
    try:
        with transaction.atomic():
            known = set(KnownCode.objects.filter(of_platform).values_list("code", flat=True)) & rows.keys()
            for start in range(0, len(rows), AT_ONCE):
                KnownCode.objects.filter(of_platform, code__in=list(rows)[start : start + AT_ONCE]).delete()
            KnownCode.objects.bulk_create([KnownCode(platform_id=platform_id, **_fields(row)) for row in rows.values()], batch_size=AT_ONCE)
            done = Imported(len(rows) - len(known), len(known))
            record_act(EventType.CODES_IMPORTED, {"added": done.added, "changed": done.changed, "platform": platform_id}, actor=actor)
    except IntegrityError as error:
        raise BadCodeTable("Another table was imported at the same moment. Import this one again.") from error
    return done


def facts_of(codes: Iterable[str], platform_id: int | None) -> dict[str, CodeFact]:
    """What is known of these codes, and of what they consist of (a UDS code without its failure type, the parameter of a J1939 code).

    What is written down for the platform wins over what is for all.
    """
    wanted = {part for code in codes for part in (code, code.partition("-")[0], code.partition(" FMI")[0])}
    found: dict[str, CodeFact] = {}
    ordered = sorted(wanted)
    for start in range(0, len(ordered), AT_ONCE):
        rows = KnownCode.objects.filter(Q(platform__isnull=True) | Q(platform_id=platform_id), code__in=ordered[start : start + AT_ONCE])
        for row in sorted(rows, key=lambda row: row.platform_id is not None):
            found[row.code] = CodeFact(row.code, row.text, row.severity, row.action)
    return found


def _fields(row: CodeFact) -> dict[str, str]:
    return {"code": row.code, "text": row.text, "severity": row.severity, "action": row.action}


def _rows(content: bytes) -> Iterator[CodeFact]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=header.count))
    try:
        names = {name.strip().lower(): name for name in reader.fieldnames or []}
    except csv.Error as error:
        raise BadCodeTable(f"Line 1: {error}.") from error
    if "code" not in names or "text" not in names:
        raise BadCodeTable("The first line must name the columns: code, text and, if you have them, severity and action.")
    try:
        for row in reader:
            if reader.line_num > MAX_ROWS:
                raise BadCodeTable(f"The table has more than {MAX_ROWS} lines.")
            values = {column: " ".join((row.get(names[column]) or "").split()) if column in names else "" for column in COLUMNS}
            if any(values.values()):
                yield _row(values, reader.line_num)
    except csv.Error as error:
        raise BadCodeTable(f"Line {reader.line_num}: {error}.") from error


def _row(values: dict[str, str], line: int) -> CodeFact:
    try:
        code = tidy(values["code"])
    except BadCodeTable as error:
        raise BadCodeTable(f"Line {line}: {error.detail}") from error
    severity = values["severity"].lower()
    if not values["text"]:
        raise BadCodeTable(f"Line {line}: {code} has no text.")
    if severity and severity not in FindingSeverity.values:
        raise BadCodeTable(f"Line {line}: severity {severity[:50]!r} is none of {', '.join(FindingSeverity.values)}.")
    if "\0" in "".join(values.values()):
        raise BadCodeTable(f"Line {line}: a NUL character.")
    return CodeFact(code, values["text"][:200], severity, values["action"][:500])
