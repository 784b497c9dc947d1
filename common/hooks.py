"""What a part asks of another that it must not import, by name; `common.checks` makes sure that the names exist."""

from __future__ import annotations

from typing import Any

from django.utils.module_loading import import_string

HOOKS = {
    # vehicle id -> number of uploads; inside the transaction that takes a vehicle's right to send away
    "stop_writers": "files.evictions.stop_writers",
}


def ask(name: str, *args: Any) -> Any:
    """Call what stands under `name`."""
    return import_string(HOOKS[name])(*args)
