"""Filters that stand in an address: anybody can write anything there."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

LONGEST_KEY = 18  # digits that fit a database's largest integer; SQLite raises OverflowError for more


class BoundedLookups(admin.ModelAdmin):
    """A ModelAdmin whose lookups and chosen rows take nothing that is no key: 400 instead of an error of the database."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """As Django says, for numbers that a database can hold."""
        return not (str(value).isdecimal() and len(str(value)) > LONGEST_KEY) and super().lookup_allowed(lookup, value, request)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> HttpResponse | None:
        """Django's own, for rows whose keys can be keys."""
        assert self.opts.pk is not None
        for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                self.opts.pk.to_python(text)
            except ValidationError as error:
                raise SuspiciousOperation("a row was chosen whose key is none") from error
            if text.isdecimal() and len(text) > LONGEST_KEY:
                raise SuspiciousOperation("a row was chosen whose key is too long")
        return super().response_action(request, queryset, *args, **kwargs)
