"""Files that could not be read, or not in full: what the other findings cannot know."""

from __future__ import annotations

from collections.abc import Iterator

from diagnosis.evidence import Evidence, FileFact, Json
from diagnosis.findings import ERROR, INFO, WARNING, FoundFinding, listed, percent, plural, shortened

RULE = "damaged"
VERSION = "2"
TITLE = "files that could not be read in full"

LONGEST_REASON = 250
LONGEST_NAME = 80

ACTIONS = {
    "unknown_format": "Check what the vehicle uploads: this is no log that Argus reads. Leave such files out of the batch.",
    "empty_file": "Check the storage of the logger: the file has no content.",
    "truncated": "Upload the file again if the vehicle still has it whole; check the logger's supply when it is switched off.",
    "corrupt": "Upload the file again if the vehicle still has it whole; check the storage of the logger.",
    "unsupported": "The file is of a kind that this version does not read; record in another one, or ask for support of it.",
    "limit_exceeded": "The file is not plausible (a record or a container far too large); check where it comes from.",
    "object_missing": "The stored object is gone: check the object storage, then have the vehicle upload again.",
}
AGAIN = "Run the file again; if it fails again, keep it: it shows a fault of the parser."


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """One finding for each file that failed, is damaged, or has unreadable records."""
    for failed in evidence.failed():
        yield _failed(failed)
    for file in evidence.statistics["files"]:
        if file["partial"] or file["lost_count"]:
            yield _partial(file)
        elif file["problem_count"]:
            yield _problems(file)


def _failed(file: FileFact) -> FoundFinding:
    where = "" if file.error_offset is None else f" (at byte {file.error_offset})"
    name, reason = shortened(file.name, LONGEST_NAME), shortened(file.error, LONGEST_REASON).rstrip(".")
    return FoundFinding(
        ERROR,
        f"{name} could not be read and is in none of the results: {reason or file.error_code}{where}.",
        ACTIONS.get(file.error_code, AGAIN),
        code=file.error_code,
        file_id=file.id,
        details={"error_code": file.error_code, "offset": file.error_offset},
    )


def _partial(file: Json) -> FoundFinding:
    name = shortened(file["name"], LONGEST_NAME)
    first = file["lost"][0] if file["lost"] else None
    cause = f" First at byte {first['offset']}: {shortened(first['reason'], LONGEST_REASON)}." if first else ""
    parts = []
    if file["lost_bytes"]:
        parts.append(f"{file['lost_bytes']} of {file['size']} bytes ({percent(file['lost_bytes'] / file['size'])}) could not be read")
    if file["missing_bytes"]:
        parts.append(f"{file['missing_bytes']} bytes are missing at its end")
    amount = " and ".join(parts) or "parts of it could not be read"
    return FoundFinding(
        WARNING,
        f"{name} is damaged: {amount}; {_contents(file)} read.{cause}",
        "What was read is in the results. Upload the file again if the vehicle has it whole; check the logger's supply and storage.",
        file_id=file["id"],
        from_ns=file["first_ns"],
        to_ns=file["last_ns"],
        count=max(1, file["lost_count"]),
        details={name: file[name] for name in ("lost", "lost_bytes", "missing_bytes", "size", "problem_count")},
    )


def _contents(file: Json) -> str:
    """What was read of the file nevertheless."""
    kinds = (("frames", "frame"), ("samples", "sample"), ("messages", "log message"))
    read = [plural(file[kind], word) for kind, word in kinds if file.get(kind)] or ["0 frames"]
    return f"{listed(read)} {'was' if read == ['1 frame'] else 'were'}"


def _problems(file: Json) -> FoundFinding:
    problems = file["problems"]
    cause = f" First at byte {problems[0]['offset']}: {shortened(problems[0]['reason'], LONGEST_REASON)}." if problems else ""
    return FoundFinding(
        INFO,
        f"{shortened(file['name'], LONGEST_NAME)} was read with {plural(file['problem_count'], 'doubt')}.{cause}",
        "Nothing to do if there are few; else check the software of the logger.",
        file_id=file["id"],
        from_ns=file["first_ns"],
        to_ns=file["last_ns"],
        count=file["problem_count"],
        details={"problems": problems},
    )
