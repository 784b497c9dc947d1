"""Statements whose SQL is built once: Django takes several times as long to build a short one as the database to answer it.

What is kept is the text of the question, never an answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.sql import InsertQuery, UpdateQuery
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


def _bound(params: Iterable[Any], values: dict[str, object]) -> list[Any]:
    """The parameters of a statement with values in their places."""
    connection = connections[DEFAULT_DB_ALIAS]
    return [param.output_field.get_db_prep_value(values[param.name], connection) if isinstance(param, Param) else param for param in params]


@contextmanager
def _cursor() -> Iterator[Any]:
    """For a write: as after Django's own, a transaction in which it failed is rolled back whatever its owner makes of the error."""
    with transaction.mark_for_rollback_on_error(using=DEFAULT_DB_ALIAS), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        yield cursor


class Prepared(Generic[Row]):
    """A query with `Param` in its filters; called with their values, it gives the rows."""

    def __init__(self, build: Callable[[], QuerySet[Any, Row]]) -> None:
        self._build = build
        self._built: tuple[QuerySet[Any, Row], SQLCompiler, str, tuple[Any, ...]] | None = None

    def __call__(self, **values: object) -> list[Row]:
        """The rows, as the query set itself would give them. Raises KeyError when a value is missing."""
        # Two threads may build it at the same moment: they build the same.
        queryset, built, sql, params = self._built = self._built or self._sql()
        bound = _bound(params, values)
        compiler = copy.copy(built)
        compiler.connection = connections[DEFAULT_DB_ALIAS]  # this thread's
        compiler.as_sql = lambda *_: (sql, bound)  # type: ignore[method-assign, assignment]
        rows = queryset.all()
        rows.query.get_compiler = lambda *_, **__: compiler  # type: ignore[method-assign]
        return list(rows)

    def first(self, **values: object) -> Row | None:
        """The first row, or None."""
        return next(iter(self(**values)), None)

    def _sql(self) -> tuple[QuerySet[Any, Row], SQLCompiler, str, tuple[Any, ...]]:
        queryset = self._build()
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        converters = compiler.get_converters([column for column, _, _ in compiler.select])
        compiler.get_converters = lambda _: converters
        return queryset, compiler, sql, params


class PreparedUpdate:
    """An UPDATE with `Param` in its filters and values; called with them, it gives the number of rows that were changed."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]], **changes: object) -> None:
        self._build, self._changes = build, changes
        self._built: tuple[str, tuple[Any, ...]] | None = None

    def __call__(self, **values: object) -> int:
        """As `QuerySet.update`. Raises KeyError when a value is missing."""
        sql, params = self._built = self._built or self._sql()
        with _cursor() as cursor:
            cursor.execute(sql, _bound(params, values))
            return int(cursor.rowcount)

    def _sql(self) -> tuple[str, tuple[Any, ...]]:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        sql, params = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        return sql, params


class PreparedInsert:
    """Writes a new row whose key is known; what stands in `by_database` is an expression, and the same for every row. Sends no signal."""

    def __init__(self, model: type[Model], **by_database: Any) -> None:
        self._model, self._by_database = model, by_database
        self._built: tuple[str, list[Any]] | None = None

    def __call__(self, row: Model) -> None:
        """As `save` with `force_insert`."""
        sql, params = self._built = self._built or self._sql()
        connection = connections[DEFAULT_DB_ALIAS]
        with _cursor() as cursor:
            cursor.execute(sql, [_saved(param, row, connection) if isinstance(param, Field) else param for param in params])
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS

    def _sql(self) -> tuple[str, list[Any]]:
        query = InsertQuery(self._model)
        compiler = query.get_compiler(DEFAULT_DB_ALIAS)
        columns, places, params = [], [], list[Any]()
        for field in self._model._meta.local_concrete_fields:
            columns.append(compiler.quote_name_unless_alias(str(field.column)))
            place, values = "%s", (field,)
            if field.name in self._by_database:
                place, values = compiler.compile(self._by_database[field.name].resolve_expression(query, allow_joins=False, for_save=True))
            places.append(place)
            params += values
        table = compiler.quote_name_unless_alias(self._model._meta.db_table)
        return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(places)})", params  # noqa: S608


def _saved(field: Field[Any, Any], row: Model, connection: Any) -> Any:
    return field.get_db_prep_save(field.pre_save(row, True), connection)
