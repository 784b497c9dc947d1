"""Vehicle identification numbers: ISO 3779 (17 characters, no I, O, Q); check digit of 49 CFR 565.15 as a warning."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

PATTERN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")

# 49 CFR 565.15(c): the value of each character, and the weight of each of the 17 positions (the check digit's own is 0).
VALUES = {
    **{str(d): d for d in range(10)},
    **dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (*range(1, 9), *range(1, 6), 7, 9, *range(2, 10)), strict=True)),
}
WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
CHECK_POSITION = 8


def validate_vin(vin: str) -> None:
    """Raise ValidationError unless `vin` has the form of a VIN."""
    if not PATTERN.fullmatch(vin):
        raise ValidationError("A VIN has 17 characters: digits and capital letters without I, O and Q.", code="invalid_vin")


def check_digit(vin: str) -> str:
    """The check digit that belongs at position 9 of a well-formed VIN: 0-9 or X."""
    remainder = sum(VALUES[character] * weight for character, weight in zip(vin, WEIGHTS, strict=True)) % 11
    return "X" if remainder == 10 else str(remainder)


def vin_warning(vin: str) -> str:
    """A sentence if the check digit does not fit, else "". Only North America prescribes it, so it never refuses a VIN."""
    if PATTERN.fullmatch(vin) and vin[CHECK_POSITION] != check_digit(vin):
        return f"The check digit (9th character) is {vin[CHECK_POSITION]}, by the North American rule it would be {check_digit(vin)}."
    return ""
