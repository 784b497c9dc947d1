"""Message definitions in OMG IDL as ROS 2 writes them (ros2idl): modules, structs, enumerations, typedefs, arrays and sequences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from parsers.errors import Corrupt, Unsupported
from parsers.topics.ros_schema import MAX_FIELDS, MAX_TEXT, MAX_TYPES, PRIMITIVES, UNREADABLE, Definition, Field, short_name

MAX_DEPTH = 32  # modules in modules, sequences of sequences

# A comment, a line for the preprocessor, a text, a number, a name with its scope, any other sign
_TOKEN = re.compile(
    r"""\s+|//[^\n]*|/\*(?:.*?\*/|.*)|\#[^\n]*|={10,}|IDL:(?!:)[^\n]*
    |(?P<text>L?"(?:[^"\\\n]|\\.)*"?|L?'(?:[^'\\\n]|\\.)*'?)
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d[\d.eE+-]*))
    |(?P<name>(?:::)?[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {
    "boolean": "bool",
    "octet": "uint8",
    "char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "long": "int32",
    "unsigned long": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "float": "float32",
    "double": "float64",
    "long double": "long double",
    "wchar": "wstring",
    **{name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
}
_TIMES = {"builtin_interfaces/Time": "time", "builtin_interfaces/Duration": "duration"}


@dataclass(frozen=True, slots=True)
class _Type:
    """What stands in front of a member's name: a primitive or scoped name, and whether it is a sequence or array of that."""

    name: str
    count: int | None = None


@dataclass
class _Names:
    """What the text has declared, by full name (`package::msg::Type`)."""

    structs: dict[str, list[Field]] = field(default_factory=dict)
    typedefs: dict[str, _Type] = field(default_factory=dict)
    enums: dict[str, dict[int, str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    fields: int = 0


def parse_idl(text: str, root: str) -> Definition:
    """The definition of `root` (`package/msg/Type`), with everything that it is made of in the same text.

    Source: OMG IDL 4.2, the parts that rosidl writes. Members that cannot be read (unions, maps, optional ones) stay in the tree with a
    type of UNREADABLE. Raises Corrupt for what is no IDL or does not declare the root, Unsupported for what is larger than any real one.
    """
    if len(text) > MAX_TEXT:
        raise Unsupported(f"the definition of {root} has more than {MAX_TEXT} characters")
    reader = _Reader(_tokens(text))
    reader.declarations()
    return _Resolver(reader.names, root).definition()


def _tokens(text: str) -> list[str]:
    return [found[0] for found in _TOKEN.finditer(text) if found.lastgroup is not None]


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0
        self.scope: list[str] = []
        self.names = _Names()

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise Corrupt("the IDL ends inside a declaration")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        found = self.take()
        if found != token:
            raise Corrupt(f"the IDL has {found[:40]!r} where {token!r} should stand")

    def identifier(self) -> str:
        name = self.take()
        if not name.isidentifier():
            raise Corrupt(f"the IDL has {name[:40]!r} where a name should stand")
        return name

    def full(self, name: str) -> str:
        return "::".join([*self.scope, name])

    def declarations(self) -> None:
        """All of the text; modules are kept on a list, so depth costs no stack."""
        while self.peek():
            word = self.take()
            if word == "module":
                self.scope.append(self.identifier())
                self.expect("{")
                if len(self.scope) > MAX_DEPTH:
                    raise Unsupported("the IDL has too many modules in modules")
            elif word == "}":
                if not self.scope:
                    raise Corrupt("the IDL closes a module that was not opened")
                self.scope.pop()
            elif word == "@":
                self.annotation()
            elif word != ";":
                self.declaration(word)
        if self.scope:
            raise Corrupt("the IDL ends inside a module")

    def declaration(self, word: str) -> None:
        if len(self.names.structs) > MAX_TYPES or self.names.fields > MAX_FIELDS:
            raise Unsupported("the IDL declares more than any real one")
        if word == "struct":
            self.struct()
        elif word == "enum":
            self.enum()
        elif word == "typedef":
            kind = self.type()
            name = self.identifier()
            self.names.typedefs[self.full(name)] = self.arrayed(kind, name)
        elif word == "const":
            self.type()
            name = self.identifier()
            self.expect("=")
            value = self.take()
            if re.fullmatch(r"[+-]?\d+", value):
                self.names.constants[self.full(name)] = int(value[:12])
        elif word in ("union", "bitmask", "bitset"):
            self.names.refused[self.full(self.identifier())] = "union" if word == "union" else "bitmask"
        else:
            raise Corrupt(f"the IDL has {word[:40]!r} where a declaration should begin")
        self.to_end(";")

    def to_end(self, end: str) -> None:
        """Behind the next `end` that is in no brackets."""
        depth = 0
        while True:
            token = self.take()
            if token == end and depth == 0:
                return
            depth += (token in ("{", "(", "[")) - (token in ("}", ")", "]"))
            if depth < 0:
                raise Corrupt("the IDL closes a bracket that was not opened")

    def annotation(self) -> tuple[str, str]:
        """Name and what stands in brackets, in small letters."""
        name = self.take().lower()
        inside: list[str] = []
        if self.peek() == "(":
            start = self.at + 1
            self.at += 1
            self.to_end(")")
            inside = self.tokens[start : self.at - 1]
        return name, " ".join(inside).lower()

    def struct(self) -> None:
        name = self.full(self.identifier())
        if self.peek() == ";":
            return
        if self.peek() == ":":
            raise Unsupported(f"{name}: structs that inherit are not read")
        self.expect("{")
        fields: list[Field] = []
        while self.peek() != "}":
            optional = False
            while self.peek() == "@":
                self.at += 1
                word, inside = self.annotation()
                optional = optional or (word == "optional" and inside != "false")
            kind = self.type()
            while True:
                member = self.identifier()
                found = self.arrayed(kind, member)
                fields.append(Field(member, "optional" if optional else found.name, found.count))
                if self.peek() != ",":
                    break
                self.at += 1
            self.expect(";")
        self.at += 1
        self.names.structs[name] = fields
        self.names.fields += len(fields)

    def enum(self) -> None:
        name = self.full(self.identifier())
        self.expect("{")
        choices: dict[int, str] = {}
        value = 0
        while self.peek() != "}":
            while self.peek() == "@":
                self.at += 1
                word, inside = self.annotation()
                if word == "value" and re.fullmatch(r"\d{1,10}", inside):
                    value = int(inside)
            choices[value] = self.identifier()
            value += 1
            if self.peek() == ",":
                self.at += 1
        self.at += 1
        self.names.enums[name] = choices
        self.names.fields += len(choices)

    def arrayed(self, kind: _Type, name: str) -> _Type:
        """The type with the brackets behind the name; several of them count as one array."""
        count = 1
        found = False
        while self.peek() == "[":
            self.at += 1
            size = self.take()
            self.expect("]")
            if not size.isdigit():
                size = str(self.constant(size))
            count = min(count * int(size[:12]), 1 << 32)
            found = True
        if not found:
            return kind
        if not count:
            raise Corrupt(f"the IDL declares {name[:40]!r} as an array of no elements")
        if kind.count is None:
            return _Type(kind.name, count)
        return _Type(self.wrapped(kind), count)

    def constant(self, name: str) -> int:
        for depth in range(len(self.scope), -1, -1):
            value = self.names.constants.get("::".join([*self.scope[:depth], name.removeprefix("::")]))
            if value is not None and value >= 0:
                return value
        raise Corrupt(f"the IDL has {name[:40]!r} where a number should stand")

    def wrapped(self, kind: _Type) -> str:
        """A type without a name whose only field is the sequence or array."""
        name = f"{kind.name}[{kind.count or ''}]"
        full = self.full(name)
        self.names.structs[full] = [Field("", kind.name, kind.count)]
        return full

    def type(self, depth: int = 0) -> _Type:
        if depth > MAX_DEPTH:
            raise Unsupported("the IDL has sequences nested too deeply")
        while self.peek() == "@":
            self.at += 1
            self.annotation()
        word = self.take()
        if word == "sequence":
            self.expect("<")
            inner = self.type(depth + 1)
            self.bound()
            return _Type(self.wrapped(inner) if inner.count is not None else inner.name, 0)
        if word in ("string", "wstring"):
            if self.peek() == "<":
                self.at += 1
                self.bound()
            return _Type(word)
        if word == "map":
            self.expect("<")
            self.type(depth + 1)
            self.expect(",")
            self.type(depth + 1)
            self.bound()
            return _Type("map")
        while word in ("unsigned", "long", "unsigned long") and self.peek() in ("short", "long", "double"):
            word += f" {self.take()}"
        return _Type(_WORDS.get(word, word))

    def bound(self) -> None:
        """What may stand before the closing bracket: a greatest length."""
        while self.take() != ">":
            pass


class _Resolver:
    """Replaces typedefs, enumerations and relative names, from the root on."""

    def __init__(self, names: _Names, root: str) -> None:
        self.names = names
        self.root = root

    def definition(self) -> Definition:
        wanted = short_name(self.root)
        root = next((name for name in self.names.structs if short_name(name) == wanted), None)
        if root is None:
            raise Corrupt(f"the IDL does not declare {self.root}")
        definition = Definition(root)
        waiting = [root]
        while waiting:
            name = waiting.pop()
            if name in definition.types:
                continue
            fields = [self.member(one, name) for one in self.names.structs[name]]
            definition.types[name] = tuple(fields)
            waiting += [one.type for one in fields if one.type in self.names.structs]
        return definition

    def member(self, one: Field, owner: str) -> Field:
        scope = owner.split("::")[:-1]
        kind, count = one.type, one.count
        for _ in range(MAX_DEPTH):
            if kind in PRIMITIVES or kind in UNREADABLE:
                return Field(one.name, kind, count)
            full = self.lookup(kind, scope)
            time = _TIMES.get(short_name(full or kind))
            if time is not None:
                return Field(one.name, time, count)
            if full is None:
                raise Corrupt(f"{owner}: the type {kind[:100]} of {one.name} is not declared")
            if full in self.names.refused:
                return Field(one.name, self.names.refused[full])
            if full in self.names.enums:
                return Field(one.name, "uint32", count, self.names.enums[full])
            if full in self.names.structs:
                return Field(one.name, full, count)
            target = self.names.typedefs[full]
            scope = full.split("::")[:-1]
            if target.count is not None and count is not None:
                self.names.structs.setdefault(f"{full}[]", [Field("", target.name, target.count)])
                return Field(one.name, f"{full}[]", count)
            kind, count = target.name, target.count if target.count is not None else count
        raise Corrupt(f"{owner}: the type of {one.name} is declared by itself")

    def lookup(self, name: str, scope: list[str]) -> str | None:
        """The full name of what `name` means in this scope, looked for from the inside outwards."""
        names = self.names
        for depth in range(len(scope), -1, -1):
            full = "::".join([*scope[:depth], name.removeprefix("::")])
            if full in names.structs or full in names.typedefs or full in names.enums or full in names.refused:
                return full
        return None
