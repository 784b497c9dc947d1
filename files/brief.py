"""What a summary lists by name, cut: rows of the database and the statistics of many files hold the first of it, the result holds all."""

from __future__ import annotations

from typing import Any

TEXT_KEPT = 200  # characters
CUT = "…"


def text(value: str) -> str:
    """A text of at most 200 characters."""
    return value if len(value) <= TEXT_KEPT else value[: TEXT_KEPT - 1] + CUT


def entries(named: dict[str, str], most: int) -> dict[str, str]:
    """The first `most` of them."""
    return {text(key): text(value) for key, value in list(named.items())[:most]}


def attachments(found: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The first `most` of them."""
    return [{**attachment, "name": text(attachment["name"])} for attachment in found[:most]]
