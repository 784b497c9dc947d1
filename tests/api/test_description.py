"""The API description is whole and true, and its page needs nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command

from tests.api.conftest import description
from tests.api.test_access import MATRIX

KEYS = {"/api/v1/enrol": "enrolmentToken", "/api/v1/enrol/{enrolment_id}/claim": "enrolmentClaim"}
OPERATIONS = [(path, method) for path, methods in description()["paths"].items() for method in methods]


def test_the_description_is_valid_and_made_without_a_warning(tmp_path: Path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"), skip_checks=True)


def test_every_route_and_method_is_described():
    routes = {("/" + re.sub(r"<\w+:(\w+)>", r"{\1}", path), method) for path, _, method in MATRIX}
    assert set(OPERATIONS) == routes


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_has_a_name_a_summary_a_token_and_its_errors(path, method):
    operation = description()["paths"][path][method]
    assert re.fullmatch(r"[a-z]+[A-Z][A-Za-z]+", operation["operationId"])
    assert operation["summary"]
    assert {KEYS.get(path, "token"): []} in operation["security"]
    errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
    assert {"401", "403", "503"} <= errors.keys()
    assert ("404" in errors) == ("_id}" in path)
    for answer in errors.values():
        assert list(answer.get("content", {})) == ([] if method == "head" else ["application/problem+json"])


def test_the_headers_of_answers_are_described():
    paths = description()["paths"]
    opened = paths["/api/v1/batches"]["post"]["responses"]["201"]["headers"]
    assert {"Location", "Idempotency-Replayed", "X-Request-ID"} <= opened.keys()
    read = paths["/api/v1/batches/{batch_id}"]["get"]["responses"]
    assert "ETag" in read["200"]["headers"]
    assert "ETag" in read["304"]["headers"]
    assert {"Upload-Offset", "Upload-Length"} <= paths["/api/v1/uploads/{upload_id}"]["head"]["responses"]["200"]["headers"].keys()
    for path, method in OPERATIONS:
        answers = paths[path][method]["responses"]
        assert "WWW-Authenticate" in answers["401"]["headers"]
        assert all("Retry-After" in answers[status]["headers"] for status in answers.keys() & {"423", "429", "503", "507"})


def test_files_are_described_as_bytes():
    paths = description()["paths"]
    put = paths["/api/v1/batches/{batch_id}/files/{name}"]["put"]["requestBody"]["content"]
    assert put == {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    post = paths["/api/v1/batches/{batch_id}/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert post["properties"]["file"] == {"type": "string", "format": "binary"}


@pytest.mark.django_db
def test_the_description_is_public_and_names_the_scheme(client):
    answer = client.get("/api/v1/schema", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.django_db
def test_the_page_has_everything_at_home_and_no_script_of_its_own(client):
    answer = client.get("/api/v1/docs")
    assert answer.status_code == 200
    page = answer.content.decode()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    for address in addresses:
        assert address.startswith("/"), address
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:
            assert client.get(address).status_code == 200
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page)
    assert re.search(r"script-src 'self'(;|$)", answer["Content-Security-Policy"])


@pytest.mark.django_db
@pytest.mark.parametrize("version", ["v1", "v9", "\0", "a\nb", "ä" * 500])
def test_the_description_is_the_same_whatever_version_an_address_names(client, version):
    answer = client.get("/api/v1/schema", {"version": version, "format": "json"})
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == 'inline; filename="Argus (v1).json"'
    assert answer.json()["paths"].keys() == description()["paths"].keys()
