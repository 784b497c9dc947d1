"""Decoder of JSON messages: signals from the JSON schema, where there is one, and from the first messages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from parsers.blocks import SignalSpec
from parsers.limits import Limits
from parsers.topics._json import (
    COLUMN_BOOL,
    COLUMN_FLOAT,
    COLUMN_INT,
    COLUMN_NANOSECONDS,
    COLUMN_SECONDS,
    COLUMN_TEXT,
    SEEN,
    JsonTree,
)
from parsers.topics.decoder import Column, Decoded, MessageBatch, Schema, TextSpans, TopicDecoder, free_name, text_signal

_MAX_SCHEMA_DEPTH = 16
_MAX_PATH = 1000  # characters
_NODES_PER_SIGNAL = 4
_STORAGE = {COLUMN_FLOAT: "float64", COLUMN_INT: "int64", COLUMN_BOOL: "uint8", COLUMN_SECONDS: "int64"}
_TIMES = ({"sec", "nsec"}, {"sec", "nanosec"}, {"secs", "nsecs"})
_SCALARS = {"integer": SEEN["number"], "number": SEEN["number"] | SEEN["fraction"], "boolean": SEEN["bool"], "string": 0}

Node = tuple[int, str | int, int, int, int]  # parent, key or number of the element, what was seen, most elements, values without a column


def json_decoder(schema: Schema, limits: Limits) -> TopicDecoder:
    """A decoder for messages of the encoding `json`, with a schema in `jsonschema` or without."""
    return JsonDecoder(schema, limits)


class JsonDecoder:
    """Reads JSON messages (RFC 8259; NaN and Infinity as Python writes them).

    A field is named `pose.position.x`, an element `name[0]`; every array has `name.length`. Numbers are float64, so that 1 may be followed
    by 1.5; they are int64 when the schema calls them integer, or when the first messages hold only whole numbers that float64 would round.
    true and false are 1 and 0 (uint8), texts enumerations; an object of nothing but `sec` and `nsec` is int64 nanoseconds. null and a
    missing key give no value. What the first messages and the schema do not know gives no signal and is listed.
    """

    def __init__(self, schema: Schema, limits: Limits) -> None:
        self.signals: list[SignalSpec] = []
        self.failed = 0
        self.failed_reason = ""
        self.needs_sample = True
        self.weight = 0  # what there is turns up in the first messages
        self._limits = limits
        self._tree = JsonTree(_NODES_PER_SIGNAL * limits.max_signals, limits.max_array)
        self._kinds: list[int] = []
        self._left_out: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._silent: set[int] = set()  # nodes whose values are left out for a reason that is told once
        self._items: dict[int, Any] = {}  # array -> schema of its elements
        self._whole: set[int] = set()  # nodes that the schema calls integer
        self._texts: set[int] = set()
        self._blobs: set[int] = set()
        self._root: Any = {}
        if schema.encoding == "jsonschema" and schema.data.strip():
            self._read_schema(schema.data)

    # --- the schema

    def _read_schema(self, data: bytes) -> None:
        try:
            self._root = json.loads(data)
            self._take_schema(0, self._root, ())
        except (ValueError, RecursionError) as error:
            self._left_out["(schema)"] = f"it cannot be read, the signals are those of the first messages: {error}"

    def _take_schema(self, node: int, schema: Any, path: tuple[str, ...]) -> None:
        """Adds what a schema says of a node and of those below it. `path` are the references that led here."""
        if node < 0 or not isinstance(schema, dict) or len(path) > _MAX_SCHEMA_DEPTH:
            return
        path = (*path, "")
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in path:
            self._take_schema(node, self._resolve(reference), (*path[:-1], reference))
        for part in _parts(schema):
            self._take_schema(node, part, path)
        kinds = schema.get("type")
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if isinstance(kind, str) and kind in _SCALARS:
                self._tree.see(node, _SCALARS[kind])
                if kind == "integer":
                    self._whole.add(node)
                elif kind == "string":
                    self._texts.add(node)
        if schema.get("contentEncoding") is not None:
            self._blobs.add(node)
        properties = schema.get("properties")
        if isinstance(properties, dict):
            for key, value in properties.items():
                self._take_schema(self._tree.child(node, key.encode("utf-8", "replace")), value, path)
        if isinstance(schema.get("items"), dict):
            self._tree.see(node, SEEN["array"])
            self._items[node] = schema["items"]

    def _resolve(self, reference: str) -> Any:
        """The part of the schema that `#/definitions/x` names."""
        found = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            if not isinstance(found, dict):
                return None
            found = found.get(step.replace("~1", "/").replace("~0", "~"))
        return found if reference.startswith("#") else None

    # --- the first messages

    def learn(self, sample: MessageBatch) -> None:
        """Adds the fields of the first messages, and gives every field its column."""
        self._tree.learn(sample.data, sample.offset, sample.length)
        nodes: list[Node] = self._tree.describe()
        for index, (parent, key, _, _, _) in enumerate(nodes):
            if isinstance(key, int) and parent in self._items:
                self._take_schema(index, self._items[parent], ())
        nodes = self._tree.describe()
        children: dict[int, list[int]] = {}
        for index, node in enumerate(nodes):
            children.setdefault(node[0], []).append(index)
        self._give_columns(nodes, children)
        self.needs_sample = False

    def _give_columns(self, nodes: list[Node], children: dict[int, list[int]]) -> None:
        taken: set[str] = set()
        waiting = [(0, "")]
        while waiting:
            index, name = waiting.pop()
            seen, most = nodes[index][2], nodes[index][3]
            below = children.get(index, [])
            own = name or "value"
            self._names[index] = own
            if len(own) > _MAX_PATH:
                self._left_out[own[:100]] = f"its name is longer than {_MAX_PATH} characters"
                self._silent.add(index)
                continue
            if self._give_time(own, nodes, below, taken):
                continue
            self._give_scalar(index, own, seen, taken)
            few = most <= self._limits.max_array
            if seen & SEEN["array"]:
                self._give_length(index, own, most if few else -1, taken)
                if not few:
                    self._left_out[own] = f"arrays of more than {self._limits.max_array} elements: only their length is kept"
            if seen & SEEN["deep"]:
                self._left_out[own] = "nested too deeply"
                self._silent.add(index)
            for child in reversed(below):
                key = nodes[child][1]
                if isinstance(key, str):
                    waiting.append((child, f"{name}.{key}" if name else key))
                elif few:
                    waiting.append((child, f"{own}[{key}]"))

    def _add(self, name: str, kind: int, taken: set[str], unit: str = "") -> int:
        """The number of a new column; -1 when there are too many."""
        if len(self.signals) >= self._limits.max_signals:
            self._left_out["further fields"] = f"more than {self._limits.max_signals} signals"
            return -1
        name = free_name(name, taken)
        self.signals.append(text_signal(name) if kind == COLUMN_TEXT else SignalSpec(name, unit, _STORAGE[kind]))
        self._kinds.append(kind)
        return len(self.signals) - 1

    def _give_scalar(self, index: int, name: str, seen: int, taken: set[str]) -> None:
        if seen & SEEN["number"]:
            exact = not seen & (SEEN["fraction"] | SEEN["huge"]) and (index in self._whole or seen & SEEN["large"])
            kind = COLUMN_INT if exact else COLUMN_FLOAT
        elif seen & SEEN["bool"]:
            kind = COLUMN_BOOL
        elif index in self._blobs or (seen & SEEN["blob"] and not seen & SEEN["text"]):
            self._left_out[name] = "binary data as text"
            self._silent.add(index)
            return
        elif seen & SEEN["text"] or index in self._texts:
            kind = COLUMN_TEXT
        else:
            return
        column = self._add(name, kind, taken)
        if column >= 0:
            self._tree.assign(index, kind, column)
        else:
            self._silent.add(index)

    def _give_length(self, index: int, name: str, most: int, taken: set[str]) -> None:
        column = self._add(f"{name}.length", COLUMN_INT, taken)
        if column >= 0:
            self._tree.assign_length(index, column, most)
        else:
            self._silent.add(index)

    def _give_time(self, name: str, nodes: list[Node], below: list[int], taken: set[str]) -> bool:
        """Whether the node is a time: whole seconds and nanoseconds, and nothing else."""
        fields = {str(nodes[child][1]): child for child in below}
        if fields.keys() not in _TIMES or any(not nodes[child][2] & SEEN["number"] for child in below):
            return False
        if any(nodes[child][2] & SEEN["fraction"] for child in below):
            return False
        column = self._add(name, COLUMN_SECONDS, taken, "ns")
        if column < 0:
            self._silent.update(below)
        else:
            for key, child in fields.items():
                self._tree.assign(child, COLUMN_NANOSECONDS if key.startswith("n") else COLUMN_SECONDS, column)
                self._names[child] = f"{name}.{key}"
        return True

    # --- all messages

    def decode(self, batch: MessageBatch) -> Decoded:
        """One row per message that is JSON."""
        kept, columns, masks, text, failed, reason = self._tree.decode(batch.data, batch.offset, batch.length, self._kinds)
        self.failed += failed
        self.failed_reason = self.failed_reason or reason
        rows = len(batch) - failed
        t_ns = batch.t_ns if not failed else batch.t_ns[kept.view(np.bool_)]
        out: list[Column] = [
            TextSpans(text, column[0][:rows], column[1][:rows]) if kind == COLUMN_TEXT else column[:rows]
            for kind, column in zip(self._kinds, columns, strict=True)
        ]
        return Decoded(t_ns, out, masks)

    @property
    def left_out(self) -> dict[str, str]:
        """Fields that give no signal, or not all of their values, and why."""
        found = dict(self._left_out)
        nodes: list[Node] = self._tree.describe()
        for index, (parent, key, seen, most, late) in enumerate(nodes):
            if not late or index in self._silent:
                continue
            name = self._names.get(index) or _path(self._names.get(parent, ""), key)
            if index in self._names and seen & SEEN["array"]:
                found.setdefault(name, f"{late} elements beyond the {most} of the first messages")
            else:
                found.setdefault(name, f"{late} values of a kind, or under a key, that the first messages do not have")
        if self._tree.misfits:
            found["(values)"] = f"{self._tree.misfits} values do not fit the type of their signal"
        return found


def _path(parent: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent and parent != "value" else key


def _parts(schema: dict[str, Any]) -> list[Any]:
    """What a schema is made of: all of `allOf`, and of the alternatives the first that is more than null."""
    parts = list(schema["allOf"]) if isinstance(schema.get("allOf"), list) else []
    for word in ("anyOf", "oneOf"):
        choices = schema.get(word)
        if isinstance(choices, list):
            parts += [choice for choice in choices if isinstance(choice, dict) and choice.get("type") != "null"][:1]
    return parts
