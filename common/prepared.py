"""Queries whose SQL is built once: Django takes several times as long to build a short one as the database to answer it.

What is kept is the text of the question, never an answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Expression, Field, QuerySet
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row")


class Param(Expression):
    """Stands in a filter for a value that is known only when the query is made."""

    def __init__(self, name: str, field: Field[Any, Any]) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """A placeholder, with itself as the value that takes its place."""
        return "%s", (self,)


class Prepared(Generic[Row]):
    """A query with `Param` in its filters; called with their values, it gives the rows."""

    def __init__(self, build: Callable[[], QuerySet[Any, Row]]) -> None:
        self._build = build
        self._built: tuple[QuerySet[Any, Row], SQLCompiler, str, list[Any]] | None = None

    def __call__(self, **values: object) -> list[Row]:
        """The rows, as the query set itself would give them. Raises KeyError when a value is missing."""
        # Two threads may build it at the same moment: they build the same.
        queryset, built, sql, params = self._built = self._built or self._sql()
        connection = connections[DEFAULT_DB_ALIAS]
        bound = [
            param.output_field.get_db_prep_value(values[param.name], connection) if isinstance(param, Param) else param for param in params
        ]
        compiler = copy.copy(built)
        compiler.connection = connection  # this thread's
        compiler.as_sql = lambda *_: (sql, bound)  # type: ignore[method-assign, assignment]
        rows = queryset.all()
        rows.query.get_compiler = lambda *_, **__: compiler  # type: ignore[method-assign]
        return list(rows)

    def first(self, **values: object) -> Row | None:
        """The first row, or None."""
        return next(iter(self(**values)), None)

    def _sql(self) -> tuple[QuerySet[Any, Row], SQLCompiler, str, list[Any]]:
        queryset = self._build()
        compiler = queryset.query.get_compiler(connection=connections[DEFAULT_DB_ALIAS])
        sql, params = compiler.as_sql()
        return queryset, compiler, sql, list(params)
