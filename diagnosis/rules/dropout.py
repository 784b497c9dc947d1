"""Messages that should come regularly and did not: single ones, whole buses, and those that stopped before the recording ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.runs import gap_limit_ns
from diagnosis.evidence import Evidence, Json
from diagnosis.findings import ERROR, INFO, LISTED, SECOND_NS, WARNING, FoundFinding, length, listed, percent, times

RULE = "dropout"
VERSION = "2"
TITLE = "messages that were missing for a while"

ENOUGH_ROWS = 20  # rows between two gaps, in the mean, from which it can be said that a message is cyclic
PRESENT = 0.5  # of the time recorded: what is there less is sent only in certain situations
REGULAR = (0.7, 1.3)  # rows times period as a share of the time recorded: what is sent on change or in bursts lies outside
FAST_GAP_NS = 2 * SECOND_NS  # messages whose gaps show from this length on tell whether a bus is silent
MOST = 0.9  # of the fast messages are missing: the bus is silent
FEW_FAST = 3
EXPLAINED = 0.5  # of a gap lies in a silence or a jump of the clock
GRAVE_SHARE = 0.02  # of the time missing, or
GRAVE_COUNT = 20  # gaps: not a loose end but a fault
EARLY_NS = 10 * SECOND_NS
EARLY_PERIODS = 20
EARLY_SHARE = 0.25  # more messages than that stopped: the bus was shut down

ACTION_BUS = "Check the wiring, plugs and supply of the control unit that sends it; look at what else happened at the times of the gaps."
ACTION_OTHER = "Check the sensor or the program that it comes from and the load of its computer; look at what else happened at the times."

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which (nearly) all messages were missing; `pause` lies between two files."""

    from_ns: int
    to_ns: int
    pause: bool

    @property
    def span(self) -> Span:
        """From the last row before to the first one after."""
        return self.from_ns, self.to_ns


def find(evidence: Evidence) -> Iterator[FoundFinding]:
    """The silences of the whole recording, then of single buses and recorders, then what single messages did beyond these."""
    cyclic = [stream for stream in evidence.streams if is_cyclic(stream)]
    jumps: list[Span] = [
        (jump["from_ns"], jump["to_ns"]) for jump in evidence.statistics["time"]["jumps"] if jump["to_ns"] > jump["from_ns"]
    ]
    everywhere = [silence for silence in silences(cyclic) if not explained(silence.span, jumps)]
    yield from _silence_findings(evidence, everywhere, [])
    known: list[Span] = jumps + [silence.span for silence in everywhere]
    for of_bus in buses(evidence, cyclic):
        here = [silence for silence in silences(of_bus) if not explained(silence.span, known)]
        yield from _silence_findings(evidence, here, of_bus)
        spans = known + [silence.span for silence in here]
        for stream in of_bus:
            yield from _gaps(evidence, stream, spans)
        yield from _ended_early(evidence, of_bus)


def buses(evidence: Evidence, streams: Sequence[Json]) -> list[list[Json]]:
    """Streams that come and go together: those of a bus; off CAN those of a source in files that have a stream in common.

    Two recorders that are switched off at different times are not compared with each other.
    """
    found: dict[str, list[Json]] = {}
    others: list[tuple[str, set[str], list[Json]]] = []
    for stream in streams:
        if stream["arbitration_id"] is not None:
            found.setdefault(stream["channel"], []).append(stream)
            continue
        files, members = set(evidence.files_of(stream["name"])), [stream]
        apart = []
        for source, known, together in others:
            if source == stream["channel"] and (known & files or known == files):
                files, members = files | known, together + members
            else:
                apart.append((source, known, together))
        others = [*apart, (stream["channel"], files, members)]
    return [found[channel] for channel in sorted(found)] + [members for _, _, members in others]


def is_cyclic(stream: Json) -> bool:
    """Whether the rows come at a steady pace: as many as the time recorded, less the gaps, has periods, and most of the time.

    What comes in short bursts, or only in certain situations, is sent on purpose that way.
    """
    period, count = stream["period_ns"], stream["count"]
    if not period or count < ENOUGH_ROWS * (stream["gap_count"] + 1):
        return False
    inside = [gap["to_ns"] - gap["from_ns"] for gap in stream["gaps"] if not gap["between_files"]]
    missing = sum(inside)
    if inside and stream["gap_count"] > len(stream["gaps"]):  # not all are listed: the others are taken to be as long
        missing = missing * stream["gap_count"] // len(stream["gaps"])
    present = stream["covered_ns"] - missing
    return present > PRESENT * stream["covered_ns"] and REGULAR[0] <= count * period / present <= REGULAR[1]


def silences(streams: Sequence[Json]) -> list[Silence]:
    """Times in which at least nine of ten fast messages had a gap at once; nothing can be said with less than three messages."""
    fast = [stream for stream in streams if gap_limit_ns(stream["period_ns"]) <= FAST_GAP_NS]
    if len(fast) < FEW_FAST:
        fast = list(streams)
    if len(fast) < FEW_FAST:
        return []
    steps: list[tuple[int, int, bool]] = []
    for stream in fast:
        for gap in stream["gaps"]:
            steps += [(gap["from_ns"], 1, gap["between_files"]), (gap["to_ns"], -1, gap["between_files"])]
    steps.sort(key=lambda step: step[:2])
    found: list[Silence] = []
    missing, begun, pause = 0, None, False
    for t_ns, step, between in steps:
        missing += step
        silent = missing >= MOST * len(fast)
        if silent and begun is None:
            begun, pause = t_ns, between
        elif not silent and begun is not None:
            if t_ns > begun:
                found.append(Silence(begun, t_ns, pause))
            begun = None
    return found


def explained(span: Span, known: Sequence[Span]) -> bool:
    """Whether at least half of the span lies in one of the known ones."""
    return any(min(span[1], end) - max(span[0], start) >= EXPLAINED * (span[1] - span[0]) for start, end in known)


def _silence_findings(evidence: Evidence, found: Sequence[Silence], of_bus: Sequence[Json]) -> Iterator[FoundFinding]:
    """`of_bus` is empty when everything was silent."""
    channel = of_bus[0]["channel"] if of_bus else ""
    if not of_bus:
        where = "on any bus" if any(_on_bus(stream) for stream in evidence.streams) else "at all"
    else:
        where = f"on bus {channel}" if _on_bus(of_bus[0]) else f"of {listed(sorted(stream['name'] for stream in of_bus), 3)}"
    for pause in (False, True):
        spans = [silence.span for silence in found if silence.pause is pause]
        if not spans:
            continue
        total, longest = _total(spans), max(spans, key=lambda span: span[1] - span[0])
        if pause:
            sentence = f"The recording pauses {times(len(spans))} between its files, for {length(total)} altogether."
            action = "Nothing to do if the logger was switched off; else look for files that were not uploaded."
        else:
            sentence = f"Nothing was recorded {where} for {length(total)} ({times(len(spans))}): all messages stopped at the same time."
            action = "Check the supply and the plug of the logger and whether the bus was asleep; single control units are not to blame."
            if of_bus and not _on_bus(of_bus[0]):
                action = "Check the supply of the logger and the load of its computer; single sensors are not to blame."
        yield FoundFinding(
            INFO if pause else WARNING,
            sentence,
            action,
            file_id=evidence.file_at(longest[0]),
            from_ns=min(start for start, _ in spans),
            to_ns=max(end for _, end in spans),
            count=len(spans),
            details={"channel": channel, "gaps": _listed(spans)},
        )


def _gaps(evidence: Evidence, stream: Json, known: Sequence[Span]) -> Iterator[FoundFinding]:
    spans: list[Span] = [(gap["from_ns"], gap["to_ns"]) for gap in stream["gaps"]]
    spans = [span for span in spans if not explained(span, known)]
    if not spans:
        return
    count = len(spans)
    if stream["gap_count"] > len(stream["gaps"]):
        count += stream["gap_count"] - len(stream["gaps"])
    total, longest = _total(spans), max(spans, key=lambda span: span[1] - span[0])
    share = total / stream["covered_ns"]
    more = "at least " if count > len(spans) else ""
    yield FoundFinding(
        ERROR if share >= GRAVE_SHARE or count >= GRAVE_COUNT else WARNING,
        f"{stream['name']} was missing {times(count)}, for {more}{length(total)} altogether ({percent(share)} of its time, "
        f"{length(longest[1] - longest[0])} at the longest), while other messages came. It comes every {length(stream['period_ns'])}.",
        ACTION_BUS if _on_bus(stream) else ACTION_OTHER,
        file_id=evidence.file_at(longest[0], stream["name"]),
        stream=stream["name"],
        from_ns=min(start for start, _ in spans),
        to_ns=max(end for _, end in spans),
        count=count,
        details={
            "channel": stream["channel"],
            "arbitration_id": stream["arbitration_id"],
            "total_s": round(total / SECOND_NS, 3),
            "longest_s": round((longest[1] - longest[0]) / SECOND_NS, 3),
            "gaps": _listed(spans),
        },
    )


def _ended_early(evidence: Evidence, of_bus: Sequence[Json]) -> Iterator[FoundFinding]:
    """Messages that stopped for good while most others of their bus went on."""
    if len(of_bus) < FEW_FAST:
        return
    end = max(stream["last_ns"] for stream in of_bus)
    stopped = [stream for stream in of_bus if end - stream["last_ns"] > max(EARLY_NS, EARLY_PERIODS * stream["period_ns"])]
    if not stopped or len(stopped) > max(1, EARLY_SHARE * len(of_bus)):
        return
    for stream in stopped:
        yield FoundFinding(
            WARNING,
            f"{stream['name']} stopped {length(end - stream['last_ns'])} before the end of the recording, "
            f"while {listed(sorted(other['name'] for other in of_bus if other not in stopped), 3)} went on.",
            "Check whether its control unit lost its supply or reset; look for fault codes of the units that need this message."
            if _on_bus(stream)
            else "Check whether its sensor or program stopped; look at the log of its computer.",
            file_id=evidence.file_at(stream["last_ns"], stream["name"]),
            stream=stream["name"],
            from_ns=stream["last_ns"],
            to_ns=end,
            details={"channel": stream["channel"], "arbitration_id": stream["arbitration_id"]},
        )


def _on_bus(stream: Json) -> bool:
    return stream["arbitration_id"] is not None


def _total(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)


def _listed(spans: Sequence[Span]) -> list[Json]:
    """The longest ones, by time."""
    longest = sorted(spans, key=lambda span: (span[0] - span[1], span[0]))[:LISTED]
    return [{"from_ns": start, "to_ns": end} for start, end in sorted(longest)]
