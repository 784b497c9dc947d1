"""Pages of /proc/stat, each closed by the logger's `timestamp` line: utilisation of every CPU between two pages."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from parsers.base import HEADER, STRUCTURE, Match, Recording
from parsers.blocks import SampleBlock, SignalSpec, StreamSpec
from parsers.errors import Corrupt
from parsers.limits import DEFAULT, Limits
from parsers.procstat.lines import UTF8_MARK, Line, lines
from parsers.procstat.pages import RATES, SYSTEM_SIGNALS, UTILISATION, Page, rates, utilisation
from parsers.source import Source

_CPU = re.compile(rb"cpu\d{0,4}((?:[ \t]+\d{1,20}){4,16})[ \t]*")
_CPU_NAME = re.compile(rb"cpu\d{0,4}(?=[ \t])")
_TIMESTAMP = re.compile(rb"timestamp[ \t]+(\d{1,19})(?:\.(\d{1,9}))?")
_NUMBERED = re.compile(rb"(ctxt|processes|intr|softirq|procs_running|procs_blocked|btime)[ \t]+(\d{1,20})(?:[ \t][\d \t]*)?")
_EARLIEST_UTC_NS = 10**17  # 1973; a smaller timestamp counts from somewhere else
_MOST_NS = (1 << 63) - 1
_ROWS_HELD = 131_072  # of all streams, before all are handed over
_SNAPSHOT = ("us", "ni", "sy", "id", "wa", "hi", "si", "st", "gu", "gn")


class ProcstatParser:
    """Reads pages of /proc/stat: streams `cpu` (all together), `cpu0` and so on in percent, and `system` (proc(5), /proc/stat)."""

    format: ClassVar[str] = "procstat"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".stat")

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        """Structure when there is the line of all CPUs and most lines are of /proc/stat; a sign when only some are."""
        whole = head.removeprefix(UTF8_MARK).splitlines()
        if size > len(head) and len(whole) > 1:
            whole.pop()
        found = [line.strip() for line in whole if line.strip()]
        counters = sum(1 for line in found if _CPU.fullmatch(line))
        others = sum(1 for line in found if _NUMBERED.fullmatch(line) or _TIMESTAMP.fullmatch(line))
        if not counters or counters + others < 2:
            return None
        sure = 2 * (counters + others) >= len(found)
        return Match(STRUCTURE if sure else HEADER, f"{counters + others} of the first {len(found)} lines are of /proc/stat")

    def blocks(self, source: Source, recording: Recording, limits: Limits = DEFAULT) -> Iterator[SampleBlock]:
        """N pages give N - 1 rows of each CPU, each at the time of its later page: the shares of the ticks between the two, in percent.

        One page, and pages without a timestamp, give no rows: what they count is in the metadata. Raises Corrupt when there is no page.
        """
        recording.format = self.format
        yield from _Reading(recording, limits).blocks(source)


@dataclass
class _Rows:
    """Rows of one stream that wait for being handed over; NaN stands for no value."""

    stream: int
    width: int
    t_ns: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def take(self) -> SampleBlock:
        rows = np.frombuffer(self.values, np.float64).reshape(-1, self.width)
        columns = [np.ascontiguousarray(rows[:, i]) for i in range(self.width)]
        absent = [np.isnan(column) for column in columns]
        masks = [(~missing).astype(np.uint8) if missing.any() else None for missing in absent]
        for column, missing in zip(columns, absent, strict=True):
            column[missing] = 0.0
        block = SampleBlock(self.stream, np.frombuffer(self.t_ns, np.int64).copy(), columns, masks)
        self.t_ns, self.values = array("q"), array("d")
        return block


class _Reading:
    """One file being read: the page that is being filled, the one before, and rows that wait."""

    def __init__(self, recording: Recording, limits: Limits) -> None:
        self.recording = recording
        self.limits = limits
        self.page = Page(0)
        self.before: Page | None = None
        self.pages = 0
        self.timed_pages = 0
        self.rows: dict[str, _Rows] = {}
        self.held = 0
        self.stamp_digits = 0
        self.btime: int | None = None
        self.first_cpu_offset: int | None = None

    def blocks(self, source: Source) -> Iterator[SampleBlock]:
        ended = True
        for line in lines(source, self.recording, self.limits):
            ended = line.ended
            if line.text:
                pages = self.pages
                self._line(line)
                if self.pages != pages:
                    yield from self._full()
        if not ended:
            self.recording.add_problem(source.size, "last line has no line end: the file may be cut")
        self._end(source.size)
        for rows in self.rows.values():
            if rows.t_ns:
                yield rows.take()

    # --- lines

    def _line(self, line: Line) -> None:
        counters = _CPU.fullmatch(line.text)
        if counters is not None:
            self._counters(line, counters[1])
            return
        stamp = _TIMESTAMP.fullmatch(line.text)
        if stamp is not None:
            self._timestamp(line, stamp[1], stamp[2])
            return
        numbered = _NUMBERED.fullmatch(line.text)
        if numbered is not None:
            self._numbered(line, numbered[1].decode(), int(numbered[2]))
        elif _CPU_NAME.match(line.text) or b"\0" in line.text or line.text.startswith(b"timestamp"):
            self._lose(line, "no line of counters" if b"\0" not in line.text else "line has zero bytes: not text")
        else:
            self.recording.add_skipped("other line")

    def _lose(self, line: Line, reason: str) -> None:
        self.recording.add_lost(line.offset, line.size, reason)
        self.recording.add_problem(line.offset, reason)
        self.recording.add_skipped("unreadable line")

    def _counters(self, line: Line, numbers: bytes) -> None:
        name = line.text.split(None, 1)[0].decode()
        if name in self.page.cpus:
            self._close(line.offset, None)
        if not self.page.cpus:
            self.page.offset = line.offset
        self.first_cpu_offset = line.offset if self.first_cpu_offset is None else self.first_cpu_offset
        values = [int(number) for number in numbers.split()]
        if len(values) > len(_SNAPSHOT):
            self.recording.add_skipped("counter beyond guest_nice", len(values) - len(_SNAPSHOT))
        self.page.cpus[name] = values[: len(_SNAPSHOT)]

    def _numbered(self, line: Line, name: str, value: int) -> None:
        if name in self.page.numbers:
            self._close(line.offset, None)
        self.page.numbers[name] = value

    def _timestamp(self, line: Line, whole: bytes, part: bytes | None) -> None:
        """Nanoseconds; with a decimal point it is seconds."""
        digits = len(whole) + len(part or b"")
        if not line.ended and digits < self.stamp_digits:
            self._lose(line, "timestamp is cut")
            return
        t_ns = int(whole) if part is None else int(whole) * 10**9 + int(part.ljust(9, b"0"))
        if t_ns > _MOST_NS:
            self._lose(line, "timestamp is beyond the year 2262")
            return
        if not self.page.cpus:
            self.recording.add_problem(line.offset, "timestamp without a page before it")
            return
        self.stamp_digits = digits
        self._close(line.offset, t_ns)

    # --- pages

    def _close(self, offset: int, t_ns: int | None) -> None:
        page, self.page = self.page, Page(offset)
        if not page.cpus:
            return
        self.pages += 1
        page.t_ns = t_ns
        self._look_for_reboot(page)
        if self.pages == 1:
            self._describe(page)
        if t_ns is None:
            if self.timed_pages:
                self.recording.add_problem(page.offset, "page without a timestamp is left out: the next row covers its time too")
            return
        if self.timed_pages == 0:
            self.recording.absolute = t_ns >= _EARLIEST_UTC_NS
            if self.pages > 1:
                self.recording.add_problem(self.first_cpu_offset or 0, f"the first {self.pages - 1} pages have no timestamp: left out")
        self.timed_pages += 1
        before, self.before = self.before, page
        if before is not None:
            self._compare(before, page, t_ns)

    def _look_for_reboot(self, page: Page) -> None:
        btime = page.numbers.get("btime")
        if btime is None:
            return
        # The kernel computes it from two clocks: it may differ by a second without a reboot.
        if self.btime is not None and abs(btime - self.btime) > 60:
            self.recording.add_problem(page.offset, f"the system was started anew, at {btime} s instead of {self.btime} s")
            self.before = None
        self.btime = btime

    def _compare(self, before: Page, page: Page, t_ns: int) -> None:
        for name, counters in page.cpus.items():
            earlier = before.cpus.get(name)
            if earlier is None:
                continue
            if len(earlier) != len(counters):
                self.recording.add_problem(page.offset, f"{name} has {len(counters)} counters instead of {len(earlier)}: begun anew")
                continue
            row = utilisation(earlier, counters)
            if row is None:
                self.recording.add_problem(page.offset, f"counters of {name} fell: row left out")
                continue
            self._push(name, UTILISATION, "%", t_ns, row)
        for name in before.cpus.keys() - page.cpus.keys():
            self.recording.add_problem(page.offset, f"{name} is no longer there")
        if any(key in page.numbers for key in SYSTEM_SIGNALS):
            row, fallen = rates(before, page)
            for key in fallen:
                self.recording.add_problem(page.offset, f"counter {key} fell: no rate")
            self._push("system", SYSTEM_SIGNALS, "", t_ns, row)

    def _push(self, name: str, signals: tuple[str, ...], unit: str, t_ns: int, row: list[float]) -> None:
        rows = self.rows.get(name)
        if rows is None:
            specs = [SignalSpec(signal, "1/s" if signal in RATES else unit) for signal in signals]
            rows = self.rows[name] = _Rows(self.recording.add_stream(StreamSpec(name, specs)), len(signals))
        if rows.stream < 0:
            return
        rows.t_ns.append(t_ns)
        rows.values.extend(row)
        self.held += 1

    def _full(self) -> Iterator[SampleBlock]:
        """Streams with a whole block; all streams when together they hold too much."""
        most = self.limits.block_rows
        if self.held < min(most, _ROWS_HELD):
            return
        everything = self.held >= _ROWS_HELD
        for rows in self.rows.values():
            if len(rows.t_ns) >= most or (everything and rows.t_ns):
                self.held -= len(rows.t_ns)
                yield rows.take()

    # --- what is not utilisation

    def _describe(self, page: Page) -> None:
        """The counters of the first page, as they are."""
        for name, counters in page.cpus.items():
            self.recording.add_metadata(
                f"first {name}", ", ".join(f"{key} {value}" for key, value in zip(_SNAPSHOT, counters, strict=False))
            )
        for name, value in page.numbers.items():
            self.recording.add_metadata(name if name == "btime" else f"first {name}", str(value))

    def _end(self, size: int) -> None:
        recording = self.recording
        unclosed = bool(self.page.cpus)
        self._close(size, None)
        if not self.pages:
            raise Corrupt("no page of /proc/stat in the file", recording.problems[0].offset if recording.problems else 0)
        if unclosed and self.timed_pages:
            recording.add_problem(size, "the last page has no timestamp: the file may be cut")
        recording.add_metadata("pages", str(self.pages))
        if self.timed_pages == 0 and self.pages > 1:
            recording.add_undecoded("cpu", f"{self.pages} pages and no timestamp line: utilisation has no time")
            recording.add_problem(self.first_cpu_offset or 0, "pages have no timestamp line: their utilisation cannot be placed in time")
        elif self.timed_pages <= 1:
            recording.add_undecoded("cpu", "one page gives no utilisation: it takes the difference of two")
            recording.add_problem(self.first_cpu_offset or 0, "one page gives no utilisation: it takes the difference of two")
