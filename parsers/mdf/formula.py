"""Formulas of algebraic conversions: text of the file, parsed by an own grammar and evaluated over columns; nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Operand = Any  # a column, or one number as numpy scalar
Operation = Callable[..., Operand]

MAX_LENGTH = 4096
"""Longest formula in characters."""

MAX_TOKENS = 512
"""Most numbers, names and operators in one formula."""

MAX_DEPTH = 48
"""Most brackets, signs or powers inside one another."""

_CHUNK = 8192  # rows evaluated at a time: intermediate columns stay in the cache, and there are at most MAX_DEPTH of them

_TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]{1,16}|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>\*\*|<<|>>|<=|>=|==|!=|<>|&&|\|\||[-+*/%^()<>&|~!?:,=]))"
)
_VARIABLE = re.compile(r"x1?\Z", re.IGNORECASE)
_CONSTANTS = {"pi": np.pi, "e": np.e}
_WHOLE = 2.0**62  # bit operations: numbers beyond this are cut to it


class FormulaError(ValueError):
    """The text is no formula of this grammar; `position` is the character where it stops being one."""

    def __init__(self, reason: str, position: int) -> None:
        self.position = position
        super().__init__(f"{reason} at character {position + 1} of the formula")


def _bits(value: Operand) -> Any:
    """Whole numbers for an operation on bits."""
    return np.clip(np.nan_to_num(value, nan=0.0), -_WHOLE, _WHOLE).astype(np.int64)


def _shift(value: Operand, places: Operand, left: bool) -> Operand:
    count = np.clip(_bits(places), 0, 62)
    return np.float64(1) * (np.left_shift(_bits(value), count) if left else np.right_shift(_bits(value), count))


_FUNCTIONS: dict[str, tuple[int, Operation]] = {
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "tan": (1, np.tan),
    "asin": (1, np.arcsin),
    "acos": (1, np.arccos),
    "atan": (1, np.arctan),
    "arcsin": (1, np.arcsin),
    "arccos": (1, np.arccos),
    "arctan": (1, np.arctan),
    "atan2": (2, np.arctan2),
    "sinh": (1, np.sinh),
    "cosh": (1, np.cosh),
    "tanh": (1, np.tanh),
    "asinh": (1, np.arcsinh),
    "acosh": (1, np.arccosh),
    "atanh": (1, np.arctanh),
    "exp": (1, np.exp),
    "ln": (1, np.log),
    "log": (1, np.log),
    "log2": (1, np.log2),
    "log10": (1, np.log10),
    "lg": (1, np.log10),
    "sqrt": (1, np.sqrt),
    "abs": (1, np.abs),
    "fabs": (1, np.abs),
    "pow": (2, np.power),
    "power": (2, np.power),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "round": (1, np.rint),
    "trunc": (1, np.trunc),
    "int": (1, np.trunc),
    "sign": (1, np.sign),
    "sgn": (1, np.sign),
    "min": (2, np.fmin),
    "max": (2, np.fmax),
    "fmod": (2, np.fmod),
    "mod": (2, np.fmod),
}

_NUMBER = np.float64(1)


def _truth(operation: Operation) -> Operation:
    """An operation that answers yes or no, as 1 and 0."""
    return lambda *operands: _NUMBER * operation(*operands)


# Weakest first: (operators, what they do). All group to the left; `^` groups to the right and binds more than a sign in front of it.
_BINARY: tuple[dict[str, Operation], ...] = (
    {"||": _truth(np.logical_or), "or": _truth(np.logical_or)},
    {"&&": _truth(np.logical_and), "and": _truth(np.logical_and)},
    {"|": lambda a, b: _NUMBER * (_bits(a) | _bits(b))},
    {"xor": lambda a, b: _NUMBER * (_bits(a) ^ _bits(b))},
    {"&": lambda a, b: _NUMBER * (_bits(a) & _bits(b))},
    {"==": _truth(np.equal), "=": _truth(np.equal), "!=": _truth(np.not_equal), "<>": _truth(np.not_equal)},
    {"<": _truth(np.less), "<=": _truth(np.less_equal), ">": _truth(np.greater), ">=": _truth(np.greater_equal)},
    {"<<": lambda a, b: _shift(a, b, True), ">>": lambda a, b: _shift(a, b, False)},
    {"+": np.add, "-": np.subtract},
    {"*": np.multiply, "/": np.divide, "%": np.fmod},
)
_LEVEL = {sign: (level, operation) for level, operators in enumerate(_BINARY) for sign, operation in operators.items()}
_UNARY: dict[str, Operation] = {
    "-": np.negative,
    "+": lambda a: a,
    "!": _truth(np.logical_not),
    "not": _truth(np.logical_not),
    "~": lambda a: _NUMBER * ~_bits(a),
}


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of the evaluation: a number, the variable (both None), or an operation on the last `arity` results."""

    number: np.float64 | None = None
    operation: Operation | None = None
    arity: int = 0


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula of one variable, as steps that work on a stack."""

    text: str
    steps: tuple[_Step, ...]

    def evaluate(self, x: Array) -> Array:
        """The formula for each value of x (float64, any length); what is not defined becomes NaN or infinite, without a warning."""
        result = np.empty(len(x), np.float64)
        with np.errstate(all="ignore"):
            for start in range(0, len(x), _CHUNK):
                result[start : start + _CHUNK] = self._chunk(x[start : start + _CHUNK])
        return result

    def _chunk(self, x: Array) -> Operand:
        stack: list[Operand] = []
        for step in self.steps:
            if step.operation is not None:
                operands = stack[-step.arity :]
                del stack[-step.arity :]
                stack.append(step.operation(*operands))
            else:
                stack.append(x if step.number is None else step.number)
        return stack[0]


def parse(text: str) -> Formula:
    """The formula in `text`: numbers, X (or X1), + - * / % ^, comparisons, logic, bits, `a ? b : c`, and functions by name, in any case.

    Source: ASAM MDF 4.1, CC block, conversion type 3; operators and functions are those of ASAM MCD-2 MC formulas. `log` and `ln` are
    natural, angles are radians. Raises FormulaError for anything else and for what is longer or deeper than the limits.
    """
    return Formula(text, tuple(_Parser(text).parse()))


class _Parser:
    """Precedence climbing; writes the steps in the order of their evaluation."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        self.steps: list[_Step] = []

    def parse(self) -> list[_Step]:
        self._choice()
        if self._kind() != "end":
            raise self._wrong()
        return self.steps

    def _kind(self) -> str:
        return self.tokens[self.at][0]

    def _word(self) -> str:
        return self.tokens[self.at][1]

    def _wrong(self) -> FormulaError:
        kind, word, position = self.tokens[self.at]
        return FormulaError("formula ends too early" if kind == "end" else f"{word!r} cannot stand", position)

    def _take(self, sign: str) -> None:
        if self._kind() != "sign" or self._word() != sign:
            raise self._wrong()
        self.at += 1

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FormulaError(f"more than {MAX_DEPTH} levels", self.tokens[self.at][2])

    def _choice(self) -> None:
        self._enter()
        self._binary(0)
        if self._kind() == "sign" and self._word() == "?":
            self.at += 1
            self._choice()
            self._take(":")
            self._choice()
            self.steps.append(_Step(operation=lambda a, b, c: np.where(np.not_equal(a, 0), b, c), arity=3))
        self.depth -= 1

    def _binary(self, least: int) -> None:
        self._unary()
        while self._kind() in ("sign", "name"):
            found = _LEVEL.get(self._word().lower())
            if found is None or found[0] < least:
                return
            level, operation = found
            self.at += 1
            self._enter()
            self._binary(level + 1)
            self.depth -= 1
            self.steps.append(_Step(operation=operation, arity=2))

    def _unary(self) -> None:
        operation = _UNARY.get(self._word().lower()) if self._kind() in ("sign", "name") else None
        if operation is None:
            self._power()
            return
        self.at += 1
        self._enter()
        self._unary()
        self.depth -= 1
        self.steps.append(_Step(operation=operation, arity=1))

    def _power(self) -> None:
        self._primary()
        if self._kind() == "sign" and self._word() in ("^", "**"):
            self.at += 1
            self._enter()
            self._unary()
            self.depth -= 1
            self.steps.append(_Step(operation=np.power, arity=2))

    def _primary(self) -> None:
        kind, word, _ = self.tokens[self.at]
        if kind == "number":
            self.at += 1
            self.steps.append(_Step(number=np.float64(int(word, 16) if word[:2].lower() == "0x" else float(word))))
        elif kind == "name":
            self._name(word)
        elif (kind, word) == ("sign", "("):
            self.at += 1
            self._choice()
            self._take(")")
        else:
            raise self._wrong()

    def _name(self, word: str) -> None:
        position = self.tokens[self.at][2]
        self.at += 1
        if _VARIABLE.match(word):
            self.steps.append(_Step())
            return
        constant = _CONSTANTS.get(word.lower())
        if constant is not None:
            self.steps.append(_Step(number=np.float64(constant)))
            return
        function = _FUNCTIONS.get(word.lower())
        if function is None:
            raise FormulaError(f"unknown name {word!r}", position)
        arity, operation = function
        self._take("(")
        for index in range(arity):
            if index:
                self._take(",")
            self._choice()
        self._take(")")
        self.steps.append(_Step(operation=operation, arity=arity))


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """(kind, word, position) of every token, with one of kind `end` behind them."""
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
    found: list[tuple[str, str, int]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormulaError(f"{text[at : at + 10].strip()!r} cannot stand", at)
        kind = match.lastgroup or ""
        found.append((kind, match[kind], match.start(kind)))
        at = match.end()
        if len(found) > MAX_TOKENS:
            raise FormulaError(f"more than {MAX_TOKENS} terms", at)
    return [*found, ("end", "", end)]
