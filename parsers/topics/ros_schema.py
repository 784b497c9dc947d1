"""Message definitions of ROS 1 and ROS 2 (.msg text with its dependencies), read into one tree of typed fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from parsers.errors import Corrupt, Unsupported

MAX_TEXT = 1 << 20
MAX_TYPES = 2000
MAX_FIELDS = 20_000

PRIMITIVES = {
    "bool": "uint8",
    "byte": "int8",
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "float32": "float64",
    "float64": "float64",
    "time": "int64",
    "duration": "int64",
    "string": "int32",
}
"""The primitive types of a field, and the storage of the signal that one becomes."""

UNREADABLE = {
    "wstring": "writers disagree on the layout of wide strings",
    "long double": "long double has no layout of its own",
    "map": "maps are not read",
    "union": "unions are not read",
    "bitmask": "bit masks are not read",
    "optional": "optional members are not read",
}
"""Types whose bytes cannot be told apart from those of the next field, and why."""

_ALIASES_1 = {"char": "uint8"}  # wiki.ros.org/msg
_ALIASES_2 = {"byte": "uint8", "char": "uint8"}  # design.ros2.org, interface definition: octet and char are 8 bits without a sign
_HEADERS = {
    False: "uint32 seq\ntime stamp\nstring frame_id",
    True: "builtin_interfaces/Time stamp\nstring frame_id",
}
_TIMES = {"builtin_interfaces/Time": "time", "builtin_interfaces/Duration": "duration"}

# service_msgs/msg/ServiceEventInfo, and what rosidl makes of a service with it
_EVENT_INFO = "uint8 event_type\nbuiltin_interfaces/Time stamp\nchar[16] client_gid\nint64 sequence_number"
_EVENT = "_Event"
_SERVICE_BREAK = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)

_SEPARATOR = re.compile(r"^={10,}[ \t]*\r?$", re.MULTILINE)
_TITLE = re.compile(r"\s*(MSG|IDL):[ \t]*(\S+)[ \t]*\r?(?:\n|$)")
_TYPE = re.compile(r"([A-Za-z][\w/]*)(<=\d{1,10})?(\[(<=)?(\d{0,10})\])?")
_NAME = re.compile(r"[A-Za-z]\w*")
_CONSTANT = re.compile(r"[A-Za-z]\w*\s*=")


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `type` is a key of PRIMITIVES or UNREADABLE, or the name of another type.

    `count` is None for a single value, 0 for a sequence and the number of elements for an array. `choices` names the values of an
    enumeration, which lies in the message as uint32. A field without a name stands alone in its type: a sequence of sequences.
    """

    name: str
    type: str
    count: int | None = None
    choices: dict[int, str] | None = None


@dataclass(slots=True)
class Definition:
    """A message type and every type it is made of, by name (`package/Type`)."""

    root: str
    types: dict[str, tuple[Field, ...]] = field(default_factory=dict)


def parse_msg(text: str, root: str, ros2: bool = False) -> Definition:
    """The definition that a bag or MCAP file stores: the fields of `root`, and behind lines of `=` those of `MSG: package/Type`.

    Source: wiki.ros.org/msg and rosbag format 2.0 (`message_definition`); MCAP schema encodings ros1msg and ros2msg. Raises Corrupt
    for a line that is no field, Unsupported when the text is longer than any real one.
    """
    if len(text) > MAX_TEXT:
        raise Unsupported(f"the definition of {root} has more than {MAX_TEXT} characters")
    definition = Definition(short_name(root))
    sections = _SEPARATOR.split(text)
    if ros2 and definition.root.endswith(_EVENT) and _SERVICE_BREAK.search(sections[0]):
        sections = _service_event(definition.root.removesuffix(_EVENT), sections)
    if len(sections) > MAX_TYPES:
        raise Unsupported(f"the definition of {root} has more than {MAX_TYPES} types")
    total = 0
    for index, section in enumerate(sections):
        name, body = definition.root, section
        title = _TITLE.match(section)
        if title is not None:
            name, body = short_name(title[2]), section[title.end() :]
        elif index:
            raise Corrupt(f"the definition of {root} has a part without a name")
        if index and name in definition.types:
            continue
        fields = tuple(_msg_fields(body, name, ros2))
        definition.types[definition.root if index == 0 else name] = fields
        total += len(fields)
        if total > MAX_FIELDS:
            raise Unsupported(f"the definition of {root} has more than {MAX_FIELDS} fields")
    return _resolved(definition, ros2)


def _service_event(service: str, sections: list[str]) -> list[str]:
    """The definition of a service (request, `---`, response) as that of the event that tells of a call. Source: rosidl, REP 2012."""
    request, response = _SERVICE_BREAK.split(sections[0], maxsplit=1)
    event = f"service_msgs/ServiceEventInfo info\n{service}_Request[<=1] request\n{service}_Response[<=1] response"
    parts = {"service_msgs/ServiceEventInfo": _EVENT_INFO, f"{service}_Request": request, f"{service}_Response": response}
    return [event, *(f"MSG: {name}\n{body}" for name, body in parts.items()), *sections[1:]]


def short_name(name: str) -> str:
    """`package/msg/Type`, `package::msg::Type` and `package/Type` as `package/Type`."""
    parts = [part for part in re.split(r"/|::", name.strip()) if part]
    if len(parts) == 3 and parts[1] in ("msg", "srv", "action"):
        del parts[1]
    return "/".join(parts)


def _msg_fields(text: str, owner: str, ros2: bool) -> list[Field]:
    fields: list[Field] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _TYPE.match(line)
        rest = line[found.end() :] if found else ""
        if found is None or not rest[:1].isspace():
            raise Corrupt(f"{owner}: no field: {line[:100]!r}")
        rest = rest.strip()
        if _CONSTANT.match(rest):
            continue
        name = _NAME.match(rest)
        if name is None:
            raise Corrupt(f"{owner}: a field without a name: {line[:100]!r}")
        behind = rest[name.end() :].lstrip()
        if behind and not behind.startswith("#") and (not ros2 or not rest[name.end()].isspace()):  # ROS 2 has a default value here
            raise Corrupt(f"{owner}: no field: {line[:100]!r}")
        fields.append(_msg_field(found, name[0], ros2))
    return fields


def _msg_field(found: re.Match[str], name: str, ros2: bool) -> Field:
    kind = (_ALIASES_2 if ros2 else _ALIASES_1).get(found[1], found[1])
    if ros2 and kind in ("time", "duration"):
        kind = f"builtin_interfaces/{kind.capitalize()}"
    count: int | None = None
    if found[3] is not None:
        count = 0 if found[4] or not found[5] else int(found[5])
        if not found[4] and found[5] and count == 0:
            count = -1  # an array of no elements: no byte of the message
    return Field(name, kind, count)


def _resolved(definition: Definition, ros2: bool) -> Definition:
    """The same with the full names of all types. Raises Corrupt for a type that is nowhere defined."""
    by_last: dict[str, str] = {}
    for name in definition.types:
        by_last.setdefault(name.rpartition("/")[2], name)
    header = tuple(_msg_fields(_HEADERS[ros2], "std_msgs/Header", ros2))
    for owner in list(definition.types):
        package = owner.rpartition("/")[0]
        fields = []
        for one in definition.types[owner]:
            if one.count == -1:
                continue
            kind = _full_name(one.type, package, definition, by_last)
            if kind not in PRIMITIVES and kind not in UNREADABLE and kind not in definition.types:
                if kind != "std_msgs/Header":
                    raise Corrupt(f"{owner}.{one.name}: the type {one.type} is not defined")
                definition.types[kind] = tuple(Field(f.name, _TIMES.get(f.type, f.type)) for f in header)
            fields.append(Field(one.name, kind, one.count, one.choices))
        definition.types[owner] = tuple(fields)
    return definition


def _full_name(kind: str, package: str, definition: Definition, by_last: dict[str, str]) -> str:
    if kind in PRIMITIVES or kind in UNREADABLE:
        return kind
    name = short_name(kind)
    if name in _TIMES:
        return _TIMES[name]
    if "/" in name:
        return name
    if name == "Header" and "std_msgs/Header" in definition.types:
        return "std_msgs/Header"
    if f"{package}/{name}" in definition.types:
        return f"{package}/{name}"
    if name == "Header":
        return "std_msgs/Header"
    return by_last.get(name, name)
