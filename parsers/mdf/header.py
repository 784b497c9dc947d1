"""What an MDF file says of itself: version, start time, comments, attachments, events."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

from parsers.blocks import LEVELS, NO_TIME, MessageBlock, MessageList
from parsers.errors import Corrupt, ParseError, Truncated, Unsupported
from parsers.limits import MIB
from parsers.mdf.blocks import Block, elements
from parsers.mdf.state import ANY_UPDATE, FILE_HEADS, Path, State
from parsers.mdf.times import FARTHEST

# id_file, id_vers, id_prog, 4 reserved, id_ver, 30 reserved, id_unfin_flags, id_custom_unfin_flags
_ID = struct.Struct("<8s8s8s4xH30xHH")
# hd_start_time_ns, hd_tz_offset_min, hd_dst_offset_min, hd_time_flags
_HD = struct.Struct("<QhhB")
# at_flags, at_creator_index, 4 reserved, at_md5_checksum, at_original_size
_AT = struct.Struct("<HH4x16sQ")
# ev_type, ev_sync_type, ev_range_type, ev_cause, ev_flags, 3 reserved, ev_scope_count, ev_attachment_count, ev_creator_index,
# ev_sync_base_value, ev_sync_factor
_EV = struct.Struct("<BBBBB3xIHHqd")

HEADER_OFFSET = 64
_LOCAL_TIME = 1
_TIME = 1
_EVENTS = (
    "recording",
    "recording interrupt",
    "acquisition interrupt",
    "start of recording",
    "end of recording",
    "trigger",
    "marker",
)
_RANGES = ("", " begins", " ends")
_CAUSES = {1: "error", 2: "tool", 3: "script", 4: "user"}
_ERROR = 1
_MOST_LISTED = 1 << 16
_MOST_EVENTS = 1 << 20
_TEXT_BYTES = 2 * MIB


def read_id(state: State) -> None:
    """The first 64 bytes. Raises Truncated, Corrupt without the signature, Unsupported for versions before 4."""
    data = bytes(state.source.read_at(0, _ID.size))
    if not data.startswith(FILE_HEADS):
        if any(head.startswith(data[:8]) for head in FILE_HEADS):
            raise Truncated(f"MDF identification needs {_ID.size} bytes, {len(data)} are there", 0)
        raise Corrupt("no MDF signature", 0)
    if len(data) < _ID.size:
        raise Truncated(f"MDF identification needs {_ID.size} bytes, {len(data)} are there", 0)
    head, text, program, version, flags, custom = _ID.unpack(data)
    shown = text.split(b"\0")[0].decode("ascii", "replace").strip()
    if text[:1] in (b"2", b"3") or 200 <= version < 400:
        raise Unsupported(f"MDF version {shown or version / 100}: only versions from 4.00 on are read, convert the file to MDF 4", 8)
    if not 400 <= version < 500:
        if not shown.startswith("4."):
            raise Unsupported(f"MDF version {shown or version}: only versions from 4.00 to 4.99 are read", 28)
        state.recording.add_problem(28, f"version number {version} does not fit the version {shown}")
    state.recording.add_metadata("MDF version", shown)
    program_name = program.split(b"\0")[0].decode("latin-1").strip()
    if program_name:
        state.recording.add_metadata("program", program_name)
    if head == FILE_HEADS[1]:
        state.unfinished = flags or ANY_UPDATE
        state.recording.add_metadata("finished", "no: the recorder did not close the file")
        if custom:
            state.recording.add_problem(62, f"unfinished in a way of the recorder's own (flags {custom:#x})")


def read_header(state: State) -> Block:
    """The HD block; sets the start of the recording. Raises ParseError."""
    header = state.file.block(HEADER_OFFSET, b"##HD")
    start_ns, _zone, _summer, flags = header.unpack(_HD)
    recording = state.recording
    if not 0 < start_ns < FARTHEST:
        recording.add_problem(header.data_offset, "no start time: times are relative")
    else:
        recording.start_ns = start_ns
        recording.absolute = True
        if flags & _LOCAL_TIME:
            # The zone is not told: some hours off is of more use than no date at all, and no worse than what BLF and ASC say.
            recording.add_metadata("start time", "local time of an unknown zone, taken for UTC")
    return header


def read_comments(state: State, header: Block) -> None:
    """Comments and properties of the file, and what programs did to it, as metadata; attachments."""
    _add_comment(state, header.link(5), "comment")
    for number, block in enumerate(_list(state, header.link(1), b"##FH", _MOST_LISTED), 1):
        _add_comment(state, block.link(1), f"history {number}")
        if number >= state.limits.max_listed:
            break
    for block in _list(state, header.link(3), b"##AT", _MOST_LISTED):
        if len(block.data) >= _AT.size:
            size = _AT.unpack_from(block.data)[-1]
            name = state.file.text(block.link(1)) or f"attachment at {block.offset}"
            state.recording.add_attachment(name, state.file.text(block.link(2)), size)


def _add_comment(state: State, link: int, key: str) -> None:
    markup = state.file.markup(link)
    if not markup:
        return
    found = elements(markup)
    if found is None:
        state.recording.add_metadata(key, state.file.text(link))
        return
    for name, attributes, text in found:
        if not text:
            continue
        if name == "e":
            state.recording.add_metadata(attributes.get("name", "property"), text)
        elif name == "TX":
            state.recording.add_metadata(key, text)
        elif name.startswith(("tool_", "user_", "time_source")):
            state.recording.add_metadata(f"{key} {name.replace('_', ' ')}", text)


def read_events(state: State, header: Block) -> Iterator[MessageBlock]:
    """The events as log messages, in the order of the file."""
    messages = MessageList()
    for block in _list(state, header.link(4), b"##EV", _MOST_EVENTS):
        if len(block.data) < _EV.size:
            state.lose_block(Corrupt("event block is too short", block.data_offset))
            continue
        _add_event(state, block, messages)
        if len(messages) >= state.limits.block_rows or messages.size >= _TEXT_BYTES:
            yield messages.take()
    if len(messages):
        yield messages.take()


def _add_event(state: State, block: Block, messages: MessageList) -> None:
    kind, sync, span, cause, _flags, _scopes, _attached, _creator, base, factor = _EV.unpack_from(block.data)
    what = _EVENTS[kind] if kind < len(_EVENTS) else f"event type {kind}"
    what += _RANGES[span] if span < len(_RANGES) else ""
    name, comment = state.file.text(block.link(3)), state.file.text(block.link(4))
    text = " - ".join(part for part in (name, comment) if part) or what
    if cause in _CAUSES:
        text += f" (cause: {_CAUSES[cause]})"
    level = "error" if cause == _ERROR else "warning" if kind in (1, 2) else "info"
    source = state.recording.source_index(what)
    t_ns = _event_time(base, factor) if sync == _TIME else NO_TIME
    messages.add(t_ns, LEVELS.index(level), source, text[: state.limits.max_text_length])


def _event_time(base: int, factor: float) -> int:
    """Nanoseconds since the start; NO_TIME when the event has none."""
    if not abs(factor) < FARTHEST:
        return NO_TIME
    t_ns = round(Fraction(repr(factor)) * base * 10**9)
    return t_ns if abs(t_ns) < FARTHEST else NO_TIME


def _list(state: State, link: int, kind: bytes, most: int) -> Iterator[Block]:
    """The blocks of a linked list; a broken link ends it and is a problem, but no loss of data."""
    path = Path(f"{kind[2:].decode()} blocks", most)
    try:
        while link:
            path.enter(link)
            block = state.file.block(link, kind)
            yield block
            link = block.link(0)
    except ParseError as error:
        state.recording.add_problem(error.offset or 0, error.reason)
