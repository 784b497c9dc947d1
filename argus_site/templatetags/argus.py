"""Filters of the templates: numbers, times and names from outside, written as everywhere else."""

from __future__ import annotations

from django import template

from batches.admin.stages import severity_pill, stage_bar, state_pill
from common import display
from vehicles.admin import clock_words, token_state, vehicle_state

register = template.Library()

register.filter("visible", display.visible)
register.filter("bytes", display.size)
register.filter("count", display.count)
register.filter("number", display.number)
register.filter("duration", display.duration)
register.filter("age", display.age)
register.filter("utc", display.utc)
register.filter("state_pill", state_pill)
register.filter("severity_pill", severity_pill)
register.filter("stage_bar", stage_bar)
register.filter("token_state", token_state)
register.filter("vehicle_state", vehicle_state)
register.filter("clock_words", clock_words)
register.filter("visible_lines", lambda text: "\n".join(display.visible(line) for line in str(text).split("\n")))


@register.simple_tag
def pill(text: str, kind: str) -> str:
    """A coloured label."""
    return display.pill(text, kind)
