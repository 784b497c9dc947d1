"""Filters that stand in an address: anybody can write anything there."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

LONGEST_KEY = 18  # digits that fit a database's largest integer; SQLite raises OverflowError for more


class BoundedLookups(admin.ModelAdmin):
    """A ModelAdmin whose lookups take no number that is longer than a key: 400 instead of an error of the database."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """As Django says, for numbers that a database can hold."""
        return not (str(value).isdecimal() and len(str(value)) > LONGEST_KEY) and super().lookup_allowed(lookup, value, request)
