"""The batch page's view of the merged statistics: rows of tables, and what limits how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

from batches.models import Batch
from common import display
from diagnosis.models import Finding

SIGNALS_SHOWN = 1000
ROWS_SHOWN = 200
NS = 10**9
MARGIN_NS = 5 * NS
CLOCK_SENTENCES = {
    "1970": "The clock stood before the year 2000: it was probably never set. Order and distances hold, dates do not.",
    "relative": "The recording has no calendar time; times count from its start.",
    "backward": "The clock steps backward during the recording.",
    "forward_jump": "The clock jumps ahead by more than an hour during the recording.",
    "whole_seconds": "The clock knows whole seconds only: rates and gaps below a second cannot be told.",
    "repeated": "Most time stamps repeat the one before: rows were stamped in groups, so that their distances cannot be told.",
    "mixed": "The files were recorded with different clocks: they cannot be put in one order.",
}
CLOCK_SHORT = {
    "1970": "clock not set",
    "relative": "no calendar time",
    "backward": "clock steps back",
    "forward_jump": "clock jumps ahead",
    "whole_seconds": "clock of whole seconds",
    "repeated": "repeated time stamps",
    "mixed": "different clocks",
}


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal in the table; `key` is its address in the plot."""

    key: str
    stream: str
    signal: str
    unit: str
    count: int
    nulls: int
    values: list[str]
    gaps: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding, with the address of the plot that shows it."""

    finding: Finding
    at: str
    lasted: str
    plot: str
    file: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that limits what can be concluded; `kind` is a pill's."""

    kind: str
    label: str
    sentence: str

    @property
    def is_serious(self) -> bool:
        """It limits the conclusions, and is not only good to know."""
        return self.kind in {"error", "warning"}


def signal_key(stream: str, signal: str) -> str:
    """`stream/signal`, each percent-encoded: what the address of a plot carries."""
    return f"{quote(stream, safe='')}/{quote(signal, safe='')}"


def parse_key(key: str) -> tuple[str, str] | None:
    """Stream and signal of a key."""
    stream, slash, signal = key.partition("/")
    return (unquote(stream), unquote(signal)) if slash and stream and signal else None


def clock_words(flag: str) -> str:
    """A clock flag in two or three words."""
    return CLOCK_SHORT.get(flag) or display.visible(flag)


def is_absolute(statistics: dict[str, Any] | None) -> bool:
    """Do the times of this batch stand in a calendar?"""
    return bool(((statistics or {}).get("time") or {}).get("absolute"))


def true_time(statistics: dict[str, Any]) -> str:
    """When the recording began by the UTC that it holds, and how far the logger's clock was off; "" when it holds none."""
    time = statistics.get("time") or {}
    correction, first = time.get("correction"), time.get("first_ns")
    if not correction or first is None:
        return ""
    began = display.recorded(first + correction["offset_ns"])
    if not time.get("absolute"):
        return f"{began} by {display.visible(correction['source'])}"
    offset = correction["offset_ns"] / NS
    off = f"{display.duration(abs(offset))} {'behind' if offset > 0 else 'ahead'}" if abs(offset) >= 1 else "right to the second"
    return f"{began} by {display.visible(correction['source'])}: the clock was {off}"


def signal_rows(statistics: dict[str, Any], chosen: set[str]) -> list[SignalRow]:
    """At most SIGNALS_SHOWN rows, those chosen for the plot always among them."""
    rows = [_signal_row(entry, chosen) for entry in statistics.get("signals") or []]
    if len(rows) > SIGNALS_SHOWN:
        rows = [row for row in rows if row.chosen] + [row for row in rows if not row.chosen][:SIGNALS_SHOWN]
    return rows


def _signal_row(entry: dict[str, Any], chosen: set[str]) -> SignalRow:
    key = signal_key(entry["stream"], entry["signal"])
    choices = entry.get("choices") or {}
    values = [_value(entry.get(name), choices) for name in ("min", "p5", "p50", "p95", "p99", "max")]
    values.insert(1, display.number(None if choices else entry.get("mean")))
    return SignalRow(
        key,
        entry["stream"],
        entry["signal"],
        entry.get("unit") or "",
        entry["count"],
        entry.get("null_count") or 0,
        values,
        entry.get("gap_count") or 0,
        key in chosen,
    )


def _value(value: float | int | None, choices: dict[str, str]) -> str:
    """The name of an enumerated value, else the number."""
    if value is not None and choices and value == int(value):
        return choices.get(str(int(value)), display.number(value))
    return display.number(value)


def finding_rows(findings: list[Finding], statistics: dict[str, Any] | None) -> list[FindingRow]:
    """Findings with their time in words and a link to the plot around it."""
    absolute = is_absolute(statistics)
    known: dict[str, list[str]] = {}
    for entry in (statistics or {}).get("signals") or []:
        known.setdefault(entry["stream"], []).append(entry["signal"])
    rows = []
    for finding in findings:
        lasted = (
            display.duration((finding.to_ns - finding.from_ns) / NS) if finding.from_ns is not None and finding.to_ns is not None else ""
        )
        name = finding.file.name if finding.file else ""
        rows.append(
            FindingRow(
                finding,
                display.recorded(finding.from_ns, absolute) if finding.from_ns is not None else "",
                lasted,
                plot_link(finding, known),
                name,
            )
        )
    return rows


def plot_link(finding: Finding, known: dict[str, list[str]]) -> str:
    """The address of the plot around the finding; "" when no signal can show it."""
    signals = known.get(finding.stream, [])
    signal = finding.signal if finding.signal in signals else signals[0] if signals and not finding.signal else ""
    if not signal:
        return ""
    query: list[tuple[str, str]] = [("signal", signal_key(finding.stream, signal))]
    if finding.from_ns is not None:
        to_ns = finding.from_ns if finding.to_ns is None else finding.to_ns
        margin = max(MARGIN_NS, to_ns - finding.from_ns)
        query += [("from", str(finding.from_ns - margin)), ("to", str(to_ns + margin))]
    return f"?{urlencode(query)}#plot"


def first_plottable(findings: list[Finding], statistics: dict[str, Any] | None) -> list[str]:
    """What the plot begins with when the address names nothing: the signal of the worst finding that has one."""
    known = {(entry["stream"], entry["signal"]) for entry in (statistics or {}).get("signals") or []}
    return next(([signal_key(finding.stream, finding.signal)] for finding in findings if (finding.stream, finding.signal) in known), [])


def marks(findings: list[Finding]) -> list[dict[str, str]]:
    """Ranges that the plot shades: nanoseconds as text, because they exceed what JavaScript counts exactly."""
    return [
        {
            "from": str(finding.from_ns),
            "to": str(finding.from_ns if finding.to_ns is None else finding.to_ns),
            "severity": finding.severity,
            "signal": finding.signal,
            "sentence": display.visible(finding.sentence),
        }
        for finding in findings
        if finding.from_ns is not None
    ][:ROWS_SHOWN]


def doubts(batch: Batch, cut: int, statistics: dict[str, Any] | None) -> list[Doubt]:
    """What has to be known before any number is believed, the worst first; `cut` files were read only in part. Empty for clean data."""
    found = []
    if batch.failed_files:
        found.append(
            Doubt(
                "error",
                "files missing",
                f"{batch.failed_files} of {batch.total_files} files could not be read: nothing below contains them.",
            )
        )
    if cut:
        were = "file was" if cut == 1 else "files were"
        found.append(Doubt("warning", "damaged files", f"{cut} {were} read only in part; the lost byte ranges are listed below."))
    found += [Doubt("warning", clock_words(flag), CLOCK_SENTENCES.get(flag, "The clock cannot be trusted.")) for flag in batch.clock_flags]
    if statistics is None:
        return found
    if copies := statistics.get("copy_count") or 0:
        were = "file has" if copies == 1 else "files have"
        found.append(Doubt("info", "copies", f"{display.count(copies)} {were} the same bytes as another one of the batch and count once."))
    coverage, frames = statistics.get("coverage") or {}, statistics.get("frames") or {}
    unknown, known = coverage.get("frames_unknown") or 0, coverage.get("frames_known") or 0
    if unknown:
        share = display.percent(unknown / (unknown + known))
        ids = display.count(coverage.get("ids_unknown"))
        kind = "info" if known else "warning"
        found.append(Doubt(kind, "not decoded", f"{share} of the frames ({ids} arbitration ids) are in no signal database."))
    if error := frames.get("error") or 0:
        found.append(Doubt("info", "error frames", f"{display.count(error)} error frames were recorded on the bus."))
    if gaps := sum(stream.get("gap_count") or 0 for stream in statistics.get("streams") or []):
        found.append(
            Doubt(
                "info",
                "gaps",
                f"{display.count(gaps)} {'gap' if gaps == 1 else 'gaps'} in the messages: see the signal table and the findings.",
            )
        )
    return sorted(found, key=lambda doubt: ("error", "warning", "info").index(doubt.kind))


def lost_ranges(statistics: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Byte ranges that could not be read, and records that were read over, per file."""
    rows = []
    for file in (statistics or {}).get("files") or []:
        skipped = ", ".join(
            f"{display.count(number)} {display.visible(kind)}" for kind, number in sorted((file.get("skipped") or {}).items())
        )
        if file.get("lost") or skipped:
            rows.append(
                {
                    "name": file["name"],
                    "lost": (file.get("lost") or [])[:10],
                    "more": max(0, len(file.get("lost") or []) - 10),
                    "skipped": skipped,
                }
            )
    return rows[:ROWS_SHOWN]


def undecoded(statistics: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Channels and topics that gave no signals, and why, per file."""
    return [
        {"name": file["name"], "entries": list(file["undecoded"].items()), "more": file["undecoded_count"] - len(file["undecoded"])}
        for file in (statistics or {}).get("files") or []
        if file.get("undecoded")
    ][:ROWS_SHOWN]


def attachments(statistics: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Files that lie in the recordings."""
    return [{**entry, "file": file["name"]} for file in (statistics or {}).get("files") or [] for entry in file.get("attachments") or []][
        :ROWS_SHOWN
    ]


def contents(facts: dict[str, Any]) -> str:
    """What was read of a file, in words: frames, samples, log messages."""
    frames = facts.get("frames")
    counts = (
        (frames.get("total") if isinstance(frames, dict) else frames, "frame"),
        (facts.get("samples"), "sample"),
        (facts.get("messages"), "message"),
    )
    return ", ".join(f"{display.count(number)} {word}{'' if number == 1 else 's'}" for number, word in counts if number)


def code_rows(statistics: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Fault codes as the recording has them."""
    absolute = is_absolute(statistics)
    return [
        {
            **code,
            "first": display.recorded(code.get("first_ns"), absolute),
            "last": display.recorded(code.get("last_ns"), absolute),
            "lit": ", ".join(name for name, state in (code.get("lamps") or {}).items() if state and state != "off"),
        }
        for code in ((statistics or {}).get("fault_codes") or [])[:ROWS_SHOWN]
    ]


def verdict(batch: Batch, findings: list[Finding], problems: list[Doubt]) -> dict[str, str]:
    """One sentence about the vehicle and one about how sure it is."""
    base = f"Based on {display.count(batch.processed_files)} of {display.count(batch.total_files)} files."
    limits = ", ".join(doubt.label for doubt in problems if doubt.is_serious)
    sure = f"{base} The data have limits: {limits}." if limits else f"{base} The data are complete and consistent."
    if batch.worst_severity in {"critical", "error"}:
        title = "Needs attention"
    elif batch.worst_severity == "warning":
        title = "Worth a look"
    else:
        title = "Nothing conspicuous was found"
    return {
        "kind": batch.worst_severity or "ok",
        "title": title,
        "sentence": findings[0].sentence if findings and batch.worst_severity not in {"", "ok", "info"} else "",
        "sure": sure,
    }
