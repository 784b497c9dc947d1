"""What API tests share: people and tokens of every sort, and answers checked against the API description."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from batches.models import Batch
from files import storage
from tests import factories
from vehicles.models import INTEGRATION_SCOPES

API = "/api/v1/batches"


def objects() -> list[str]:
    """Everything in the store, finished or not."""
    root = Path(storage.storages["default"].location)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document."""
    return SchemaGenerator().get_schema(request=None, public=True)


def _strict(node: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: null is a type, and objects have no members that are not described."""
    if isinstance(node, list):
        return [_strict(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    node = {name: _strict(value) for name, value in node.items()}
    if node.get("type") == "object" and "additionalProperties" not in node:
        node["additionalProperties"] = False
    if node.pop("nullable", False):
        return {"anyOf": [node, {"type": "null"}]}
    return node


def check_shape(name: str, body: Any) -> None:
    """Fail unless `body` is as the component `name` of the API description says."""
    components = _strict(json.loads(json.dumps(description()["components"])))
    jsonschema.validate(body, {"$ref": f"#/components/schemas/{name}", "components": components})


class Caller(Client):
    """A test client that sends a token with everything, and JSON by default."""

    def __init__(self, token: str = "", **defaults: Any) -> None:
        if token:
            defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        super().__init__(raise_request_exception=False, **defaults)

    def open(self, **fields: Any) -> str:
        """A new batch; its id."""
        answer = self.post(API, fields, content_type="application/json")
        assert answer.status_code == 201, answer.content
        return answer.json()["id"]

    def send(self, batch_id: str, name: str = "drive.blf", content: bytes = b"content", **headers: str) -> Any:
        """PUT a file whose name is already in its encoded form."""
        return self.put(f"{API}/{batch_id}/files/{name}", content, content_type="application/octet-stream", headers=headers)

    def complete(self, batch_id: str, body: Any = None) -> Any:
        """Say complete."""
        path = f"{API}/{batch_id}/complete"
        return self.generic("POST", path) if body is None else self.post(path, body, content_type="application/json")


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Fail unless the answer is a problem document with this status and code; the document."""
    assert answer.status_code == status, (answer.status_code, answer.content)
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    extra = body.keys() - {"type", "title", "status", "detail", "code", "action", "request_id", "retryable"}
    check_shape("Problem", {name: value for name, value in body.items() if name not in extra})
    assert (body["code"], body["status"], body["type"]) == (code, status, f"urn:argus:problem:{code}")
    assert body["request_id"] == answer["X-Request-ID"]
    assert body["detail"]
    assert body["action"]
    return body


def count(batch_id: str) -> tuple[int, int, int]:
    """Files, bytes and stored objects of a batch."""
    batch = Batch.objects.get(pk=batch_id)
    return batch.total_files, batch.total_bytes, len([key for key in objects() if key.startswith(f"raw/{batch_id}/")])


@pytest.fixture
def car(vehicle) -> Caller:
    """A vehicle's program."""
    return Caller(factories.token(vehicle))


@pytest.fixture
def other_car(db) -> Caller:
    """Another vehicle's program."""
    return Caller(factories.token(factories.vehicle()))


@pytest.fixture
def integration(db) -> Caller:
    """A program of the operator."""
    return Caller(factories.token(None, INTEGRATION_SCOPES))
