"""Requests made out of the API description, valid and not, against the whole application: every answer is one that is described.

ARGUS_API_EXAMPLES says how many requests each operation gets (`make api-fuzz`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from argus_site.wsgi import application
from files.models import Upload
from tests import factories
from tests.api.conftest import Caller, description
from vehicles.models import INTEGRATION_SCOPES

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("ARGUS_API_EXAMPLES", "12"))
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
DESCRIBED = schemathesis.openapi.from_dict(description())
DESCRIBED.app = application
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@dataclass
class World:
    """Objects that exist and people who ask for them."""

    known: dict[str, list[str]]
    tokens: list[str]


@pytest.fixture
def world(db) -> Iterator[World]:
    """A vehicle with batches in several states and an upload that has begun, another vehicle, an integration."""
    vehicle, other = factories.vehicle(), factories.vehicle()
    car, stranger = Caller(factories.token(vehicle)), Caller(factories.token(other))
    declared = {"name": "announced.blf", "size": 7}
    pending, completed, foreign = car.open(files=[declared]), car.open(), stranger.open(files=[declared])
    car.send(pending)
    car.send(completed)
    assert car.complete(completed).status_code == 202
    tokens = [factories.token(vehicle), factories.token(None, INTEGRATION_SCOPES), ""]
    # As Django's test client does: the end of a request must not close the connection that the test's transaction lives on.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    uploads = [str(pk) for pk in Upload.objects.values_list("pk", flat=True)]
    yield World({"batch_id": [pending, completed, foreign], "upload_id": uploads}, tokens)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@DESCRIBED.given(data=st.data())
@DESCRIBED.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 20,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_is_described(case: schemathesis.Case, data: Any, world: World) -> None:
    for name, known in world.known.items():
        if name in (case.path_parameters or {}) and (chosen := data.draw(st.sampled_from([*known, None]), label=name)):
            case.path_parameters[name] = chosen
    if "Tus-Resumable" in (case.headers or {}) and data.draw(st.integers(0, 3), label="version"):
        case.headers["Tus-Resumable"] = "1.0.0"
    token = data.draw(st.sampled_from([world.tokens[0], *world.tokens]), label="token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # The answer to a HEAD has no content, so it has no type of content either.
    checks = [check for check in CHECKS if case.method != "HEAD" or check is not content_type_conformance]
    case.call_and_validate(headers=headers, checks=checks)
