"""Clocks that were not set, or set while recording: times are kept as they were written, and said to be doubtful."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis.evidence import Evidence, Json
from diagnosis.findings import INFO, LISTED, WARNING, FoundFinding, length, listed, moment, plural, times

RULE = "clock"
VERSION = "2"
TITLE = "a clock that was wrong or was changed while recording"

OFF_NS = 2 * 10**9  # what a logger's clock may be off without being told
FAR_OFF_NS = 60 * 10**9

SET_CLOCK = "Have the logger set its clock (GNSS, NTP, buffered clock) before it records. Times of this batch are kept as written."


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """One finding for each kind of doubt."""
    time = evidence.statistics["time"]
    files = evidence.statistics["files"]
    at_1970 = [file for file in files if "1970" in file["flags"] and file["first_ns"] is not None]
    dateless = [file for file in files if not file["absolute"] and file["first_ns"] is not None]
    if at_1970:
        yield _undated(
            at_1970,
            f"The clock of the logger was not set: {_names(at_1970)} {_begin(at_1970)} at "
            f"{moment(min(file['first_ns'] for file in at_1970), absolute=True)}.{_true(at_1970)}",
        )
    if dateless:
        yield _undated(
            dateless,
            f"{_names(dateless)} {'has' if len(dateless) == 1 else 'have'} no date: times count from the start of the recording (from 0, "
            f"as on 1970-01-01); the clock of the logger was not set, or it writes relative times.{_true(dateless)}",
        )
    if "mixed" in time["flags"]:
        yield FoundFinding(
            WARNING,
            "The files of this batch were recorded with different clocks, some without a date: they cannot be put in one order.",
            SET_CLOCK,
            from_ns=time["first_ns"],
            to_ns=time["last_ns"],
        )
    yield from _jumps(evidence)
    yield from _wrong(files)


def _wrong(files: list[Json]) -> Iterator[FoundFinding]:
    """Files whose clock had a date, but another one than satellites or the vehicle tell in the same recording."""
    wrong = [file for file in files if file["absolute"] and "1970" not in file["flags"] and abs(_offset(file)) >= OFF_NS]
    if not wrong:
        return
    worst = max(wrong, key=lambda file: abs(_offset(file)))
    offset, source = _offset(worst), worst["correction"]["source"]
    side = "behind" if offset > 0 else "ahead"
    yield FoundFinding(
        WARNING if abs(offset) >= FAR_OFF_NS else INFO,
        f"The clock of the logger was {length(abs(offset))} {side}, says {source} in {_names([worst])}: that file "
        f"begins at {moment(worst['first_ns'] + offset, absolute=True)}.",
        SET_CLOCK,
        file_id=worst["id"],
        from_ns=worst["first_ns"],
        to_ns=worst["last_ns"],
        count=len(wrong),
        details={"files": [{"name": file["name"], "correction": file["correction"]} for file in wrong[:LISTED]]},
    )


def _offset(file: Json) -> int:
    correction = file.get("correction")
    return int(correction["offset_ns"]) if correction and file["first_ns"] is not None else 0


def _true(files: list[Json]) -> str:
    """The true begin of an undated file, where it is known."""
    known = [file for file in files if file.get("correction")]
    if not known:
        return ""
    file = known[0]
    begin = moment(file["first_ns"] + _offset(file), absolute=True)
    return f" By {file['correction']['source']} {_names([file])} begins at {begin}."


def _undated(files: list[Json], sentence: str) -> FoundFinding:
    first = min(file["first_ns"] for file in files)
    return FoundFinding(
        WARNING,
        sentence,
        SET_CLOCK,
        file_id=files[-1]["id"],
        from_ns=first,
        to_ns=max(file["last_ns"] for file in files),
        count=len(files),
        details={"files": [file["name"] for file in files[:LISTED]]},
    )


def _jumps(evidence: Evidence) -> Iterator[FoundFinding]:
    time = evidence.statistics["time"]
    unlisted = time["jump_count"] - len(time["jumps"])
    for forward in (True, False):
        jumps = [jump for jump in time["jumps"] if (jump["to_ns"] > jump["from_ns"]) is forward]
        if not jumps:
            continue
        largest = max(jumps, key=lambda jump: abs(jump["to_ns"] - jump["from_ns"]))
        size = length(abs(largest["to_ns"] - largest["from_ns"]))
        count = len(jumps)
        by = f"by {size}" if count == 1 else f"by up to {size}"
        more = f" ({plural(unlisted, 'more jump')} of the clock not listed)" if unlisted else ""
        yield FoundFinding(
            WARNING,
            f"The clock of the logger jumped {'forward' if forward else 'back'} {by} ({times(count)}){more}, "
            f"at {moment(largest['from_ns'], absolute=time['absolute'])}. "
            + ("Nothing is missing there, but times before and after do not fit." if forward else "Times after it stand twice."),
            SET_CLOCK,
            file_id=largest["file"],
            from_ns=min(min(jump["from_ns"], jump["to_ns"]) for jump in jumps),
            to_ns=max(max(jump["from_ns"], jump["to_ns"]) for jump in jumps),
            count=count,
            details={"jumps": jumps[:LISTED]},
        )


def _names(files: list[Json]) -> str:
    return listed([file["name"] for file in files], 3)


def _begin(files: list[Json]) -> str:
    return "begins" if len(files) == 1 else "begin"
