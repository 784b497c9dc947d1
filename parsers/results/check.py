"""Checks a summary that an untrusted child has written: every key, type and bound, nothing unknown let through."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from parsers.blocks import LEVELS
from parsers.errors import ParseError
from parsers.results.layout import KEY, MAX_FAULT_CODES, MAX_GAPS, SCHEMA

Check = Callable[[Any, str], None]

LONG = 4096
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MANY = 100_000


class BadSummary(ParseError):
    """The summary is not what a decoder writes."""

    code = "bad_summary"


def check_summary(document: Any) -> None:
    """Raises BadSummary naming the first place that is wrong."""
    _SUMMARY(document, "summary")
    keys = [stream["key"] for stream in document["streams"]]
    if len(set(keys)) != len(keys):
        raise BadSummary("summary.streams: a key stands twice")


def _fail(where: str, what: str) -> None:
    raise BadSummary(f"{where}: {what}")


def _text(longest: int, pattern: re.Pattern[str] | None = None) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > longest:
            _fail(where, f"not a text of at most {longest} characters")
        if UNSTORABLE.search(value):
            _fail(where, "a text with NUL or half of a surrogate pair, which no database takes")
        if pattern is not None and not pattern.fullmatch(value):
            _fail(where, "not of the form that is written there")

    return check


def _integer(low: int = -(1 << 63), high: int = (1 << 63) - 1) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _fail(where, f"not a whole number from {low} to {high}")

    return check


def _number(value: Any, where: str) -> None:
    if type(value) is int and abs(value) < 1 << 128:
        return
    if type(value) is not float or not math.isfinite(value):
        _fail(where, "not a finite number")


def _boolean(value: Any, where: str) -> None:
    if type(value) is not bool:
        _fail(where, "not true or false")


def _maybe(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def _list(item: Check, longest: int) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) > longest:
            _fail(where, f"not a list of at most {longest}")
        for index, entry in enumerate(value):
            item(entry, f"{where}[{index}]")

    return check


def _mapping(item: Check, longest: int) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict) or len(value) > longest:
            _fail(where, f"not a mapping of at most {longest}")
        for key, entry in value.items():
            _text(LONG)(key, where)
            item(entry, where)

    return check


def _object(**fields: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict) or value.keys() != fields.keys():
            found = value.keys() if isinstance(value, dict) else set()
            _fail(where, f"missing or unknown keys: {', '.join(sorted(fields.keys() ^ found))[:200]}")
        for key, inner in fields.items():
            inner(value[key], f"{where}.{key}")

    return check


_COUNT = _integer(0)
_TIME = _integer()
_NAME = _text(LONG)
_SHORT = _text(100)
_LEVEL = _text(7, re.compile("|".join(LEVELS)))
_ID = _text(8, re.compile(r"[0-9a-f]{1,8}"))

_SIGNAL = _object(
    name=_NAME,
    unit=_NAME,
    kind=_text(5, re.compile(r"int|float|enum")),
    choices=_maybe(_mapping(_NAME, MANY)),
    minimum=_maybe(_number),
    maximum=_maybe(_number),
    count=_COUNT,
    null_count=_COUNT,
    min=_maybe(_number),
    max=_maybe(_number),
    sum=_maybe(_number),
    mean=_maybe(_number),
    first=_maybe(_number),
    last=_maybe(_number),
    t_min_ns=_maybe(_TIME),
    t_max_ns=_maybe(_TIME),
    longest_constant_ns=_maybe(_integer()),
)

_STREAM = _object(
    key=_text(100, KEY),
    name=_NAME,
    message=_NAME,
    channel=_NAME,
    arbitration_id=_maybe(_ID),
    extended=_boolean,
    count=_COUNT,
    first_ns=_maybe(_TIME),
    last_ns=_maybe(_TIME),
    period_ns=_maybe(_COUNT),
    gap_count=_COUNT,
    gaps=_list(_object(from_ns=_TIME, to_ns=_TIME), MAX_GAPS),
    signals=_list(_SIGNAL, 4096),
)

_SUMMARY = _object(
    schema=_integer(SCHEMA, SCHEMA),
    format=_SHORT,
    parser_version=_SHORT,
    detection=_object(format=_SHORT, reason=_NAME),
    size=_COUNT,
    databases=_list(_object(name=_NAME, sha256=_text(64)), 100),
    time=_object(
        absolute=_boolean,
        start_ns=_maybe(_TIME),
        first_ns=_maybe(_TIME),
        last_ns=_maybe(_TIME),
        flags=_list(_text(13, re.compile(r"1970|relative|backward|forward_jump|whole_seconds|repeated")), 6),
        jumps=_list(_object(offset_frame=_COUNT, from_ns=_TIME, to_ns=_TIME), 100),
        jump_count=_COUNT,
        correction=_maybe(_object(source=_NAME, offset_ns=_TIME, samples=_COUNT, spread_ns=_COUNT)),
    ),
    frames=_object(total=_COUNT, error=_COUNT, remote=_COUNT, fd=_COUNT, tx=_COUNT, per_channel=_mapping(_COUNT, 65_536)),
    arbitration_ids=_list(
        _object(
            channel=_NAME,
            id=_ID,
            extended=_boolean,
            count=_COUNT,
            message=_maybe(_NAME),
            length_min=_integer(0, 255),
            length_max=_integer(0, 255),
            first_ns=_TIME,
            last_ns=_TIME,
        ),
        65_536,
    ),
    arbitration_ids_truncated=_boolean,
    coverage=_object(frames_known=_COUNT, frames_unknown=_COUNT, ids_known=_COUNT, ids_unknown=_COUNT),
    samples=_COUNT,
    streams=_list(_STREAM, MANY),
    streams_truncated=_boolean,
    fault_codes=_list(
        _object(
            protocol=_text(5, re.compile(r"obd2|uds|j1939")),
            code=_SHORT,
            status=_SHORT,
            source=_text(8, re.compile(r"[0-9a-f]{1,8}")),
            channel=_NAME,
            count=_COUNT,
            first_ns=_TIME,
            last_ns=_TIME,
            occurrence_count=_maybe(_COUNT),
            lamps=_maybe(_mapping(_maybe(_boolean), 8)),
            status_byte=_maybe(_integer(0, 255)),
            severity=_maybe(_text(20, re.compile("check_immediately|check_at_next_halt|maintenance"))),
            records=_list(
                _object(kind=_text(8, re.compile("snapshot|extended")), number=_integer(0, 255), data=_text(1024, re.compile("[0-9a-f]*"))),
                16,
            ),
        ),
        MAX_FAULT_CODES,
    ),
    skipped=_mapping(_COUNT, 1000),
    messages=_list(_object(t_ns=_maybe(_TIME), level=_LEVEL, source=_NAME, text=_NAME), MANY),
    message_count=_COUNT,
    message_levels=_mapping(_COUNT, 16),
    metadata=_mapping(_NAME, 1000),
    attachments=_list(_object(name=_NAME, media_type=_SHORT, size=_maybe(_COUNT)), 1000),
    undecoded=_mapping(_NAME, 1000),
    partial=_boolean,
    lost=_list(_object(offset=_COUNT, length=_COUNT, reason=_NAME), MANY),
    problems=_list(_object(offset=_COUNT, reason=_NAME), MANY),
    problem_count=_COUNT,
)
