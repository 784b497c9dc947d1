"""Errors below /api/ are problem documents, whoever raises them; elsewhere they are pages."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions

from argus_site.problems import problem
from common import errors
from tests.api.conftest import API, check_shape, refused

pytestmark = pytest.mark.django_db
EVERY_ERROR = sorted(
    {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.ArgusError)}, key=lambda cls: cls.__name__
)


class Asked:
    """As much of a request as a problem needs."""

    id = "request"


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.__name__)
def test_every_error_has_a_whole_document(error):
    answer = problem(error(), {"request": Asked()})
    check_shape("Problem", answer.data)
    assert answer.status_code == error.status
    assert answer.content_type == "application/problem+json"
    assert ("Retry-After" in answer) == error.retryable
    assert error.retryable == (error.retry_after is not None)


def test_codes_are_unique():
    codes = [error.code for error in EVERY_ERROR]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404("secret"), 404, "not_found"),
        (PermissionDenied("secret"), 403, "permission_denied"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.Throttled(wait=7.5), 429, "throttled"),
        (exceptions.UnsupportedMediaType("x/y"), 415, "unsupported_media_type"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.ParseError("x"), 400, "malformed_body"),
        (exceptions.APIException("x"), 500, "bad_request"),
        (exceptions.ValidationError("x"), 422, "invalid_field"),
        (exceptions.ValidationError({"a": {"code": ["x"]}}), 422, "invalid_field"),
        (exceptions.ValidationError({"a": [{"b": [exceptions.ErrorDetail("x", "unknown_field")]}]}), 400, "unknown_field"),
        (OperationalError("secret"), 503, "database_unavailable"),
        (InterfaceError("secret"), 503, "database_unavailable"),
    ],
)
def test_an_error_of_the_framework_is_shaped_too(error, status, code):
    answer = problem(error, {"request": Asked()})
    assert (answer.status_code, answer.data["code"], answer.data["status"]) == (status, code, status)
    assert "secret" not in str(answer.data)
    assert "{" not in answer.data["title"]


def test_a_bug_is_no_problem_of_the_caller():
    assert problem(ZeroDivisionError(), {"request": Asked()}) is None


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1/", "/api/v2/batches", f"{API}/", f"{API}/not-a-uuid", f"{API}/{'0' * 32}", f"{API}/1/files/x"]
)
def test_an_unknown_address_reads_like_a_missing_object(car, path):
    body = refused(car.get(path), 404, "not_found")
    missing = refused(car.get(f"{API}/00000000-0000-4000-8000-000000000000"), 404, "not_found")
    assert {**body, "request_id": 0} == {**missing, "request_id": 0}


def test_a_bug_is_told_without_its_trace(car, monkeypatch):
    def fail(*args, **options):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("batches.queries.visible", fail)
    body = refused(car.get(API), 500, "internal_error")
    assert "secret" not in str(body)
    assert "Zero" not in str(body)


def test_a_host_that_is_not_ours_is_refused_as_a_problem(car, settings):
    settings.ALLOWED_HOSTS = ["argus.example"]
    refused(car.get(API, headers={"Host": "evil.example"}), 400, "bad_request")


def test_elsewhere_errors_are_pages(client):
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


def test_whatever_is_accepted_the_answer_is_json(car):
    for accept in ("text/html", "application/problem+json", "image/*", "nonsense"):
        answer = car.get(API, headers={"Accept": accept})
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


def test_answers_are_not_sniffed_and_not_framed(car):
    answer = car.get(API)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_hostile_text_comes_back_as_json_only(car):
    answer = car.post(API, {"<script>alert(1)</script>": 1}, content_type="application/json")
    assert refused(answer, 400, "unknown_field")["fields"].keys() == {"<script>alert(1)</script>"}
