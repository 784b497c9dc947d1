"""Who may do what: tokens, people, and a matrix of every route and method with everybody who must not get through."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from batches.api import access
from batches.models import Batch
from events.models import Event
from files.models import File, Upload
from tests import factories
from tests.api.conftest import API, Caller, refused
from tests.api.test_files import BOUNDARY, form
from vehicles.models import INTEGRATION_SCOPES, VEHICLE_SCOPES, ApiToken, Scope
from vehicles.tokens import find_token, revoke_token

pytestmark = pytest.mark.django_db
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def api_routes(patterns=None, prefix: str = "") -> list[tuple[str, type, tuple[str, ...]]]:
    """Every address of the API with its view and methods, out of the URL configuration."""
    routes = []
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            routes += api_routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and path.startswith("api/"):
            view = pattern.callback.view_class
            routes.append((path, view, tuple(method for method in METHODS[:5] if hasattr(view, method))))
    return routes


PUBLIC = {"api/v1/schema", "api/v1/docs"}
MATRIX = [(path, view, method) for path, view, methods in api_routes() if path not in PUBLIC for method in methods]
OF_ONE_BATCH = [row for row in MATRIX if "<uuid:batch_id>" in row[0]]


def ask(client: Client, path: str, method: str, batch_id: object):
    """A request to the route that would succeed for somebody with the right."""
    address = "/" + path.replace("<uuid:batch_id>", str(batch_id)).replace("<any_text:name>", "new.blf")
    if method == "put":
        return client.put(address, b"content", content_type="application/octet-stream")
    if path.endswith("/files"):
        return client.post(address, form(("file", "new.blf", b"content")), content_type=f"multipart/form-data; boundary={BOUNDARY}")
    if method == "post":
        return client.post(address, {}, content_type="application/json")
    return getattr(client, method)(address)


def ids(row) -> str:
    return f"{row[2].upper()} {row[0]}"


def world() -> tuple[int, ...]:
    """What must not have changed."""
    return Batch.objects.count(), File.objects.count(), Upload.objects.count(), Event.objects.filter(batch__isnull=False).count()


@pytest.fixture
def batch(car, vehicle) -> Batch:
    batch_id = car.open()
    car.send(batch_id)
    return Batch.objects.get(pk=batch_id)


# -- the matrix --------------------------------------------------------------------------------------------------------


def test_the_matrix_knows_every_route_of_the_api():
    assert {path for path, _, _ in api_routes()} == PUBLIC | {path for path, _, _ in MATRIX}
    assert len(MATRIX) == 9
    assert len(OF_ONE_BATCH) == 7


@pytest.mark.parametrize("row", MATRIX, ids=ids)
def test_every_method_says_what_it_needs(row):
    _, view, method = row
    assert isinstance(view.needs[method.upper()], access.Needs)


@pytest.mark.parametrize("row", OF_ONE_BATCH, ids=ids)
def test_another_vehicles_batch_is_answered_like_a_missing_one(row, other_car, batch):
    path, _, method = row
    before = world()
    foreign, missing = (ask(other_car, path, method, batch_id) for batch_id in (batch.pk, UNKNOWN))
    if method == "delete":  # a right that no vehicle has, for whatever batch
        assert (foreign.status_code, missing.status_code) == (403, 403)
    else:
        refused(foreign, 404, "not_found")
    assert {**foreign.json(), "request_id": 0} == {**missing.json(), "request_id": 0}
    assert foreign.headers.keys() == missing.headers.keys()
    assert world() == before


@pytest.mark.parametrize("row", MATRIX, ids=ids)
def test_nobody_is_asked_for_a_token(row, batch):
    before = world()
    answer = ask(Caller(), row[0], row[2], batch.pk)
    refused(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="argus"'
    assert world() == before


@pytest.mark.parametrize("row", MATRIX, ids=ids)
@pytest.mark.parametrize("groups", [(), ("support",)])
def test_people_without_the_permission_get_nothing(row, groups, batch):
    path, view, method = row
    browser = Caller()
    browser.force_login(factories.user("anna", *groups))
    before = world()
    answer = ask(browser, path, method, batch.pk)
    if groups and view.needs[method.upper()].permission == "batches.view_batch":
        assert answer.status_code == 200
    else:
        assert answer.status_code in {401, 403}
        refused(answer, answer.status_code, {401: "not_authenticated", 403: "permission_denied"}[answer.status_code])
    assert world() == before


@pytest.mark.parametrize("row", MATRIX, ids=ids)
def test_a_person_who_is_not_staff_gets_nothing_even_with_the_permission(row, batch):
    person = factories.user("bert")
    person.is_staff = False
    person.save()
    person.user_permissions.set(Permission.objects.all())
    browser = Caller()
    browser.force_login(person)
    assert ask(browser, row[0], row[2], batch.pk).status_code in {401, 403}


@pytest.mark.parametrize("row", MATRIX, ids=ids)
@pytest.mark.parametrize("of_vehicle", [True, False])
def test_a_token_with_every_scope_but_the_needed_is_refused(row, of_vehicle, vehicle, batch):
    path, view, method = row
    needs = view.needs[method.upper()]
    needed = needs.vehicle if of_vehicle else needs.integration
    caller = Caller(factories.token(vehicle if of_vehicle else None, set(Scope) - set(needed)))
    before = world()
    refused(ask(caller, path, method, batch.pk), 403, "permission_denied")
    assert world() == before


@pytest.mark.parametrize("row", MATRIX, ids=ids)
def test_somebody_has_the_right(row, vehicle, batch):
    path, view, method = row
    needs = view.needs[method.upper()]
    caller = Caller(factories.token(vehicle, needs.vehicle[:1]) if needs.vehicle else factories.token(None, needs.integration[:1]))
    assert ask(caller, path, method, batch.pk).status_code in {200, 201, 202, 204}


@pytest.mark.parametrize("path", sorted({path for path, _, _ in MATRIX}))
def test_a_method_that_a_route_lacks_is_405_and_options_names_the_others(path, car, batch):
    methods = {method.upper() for row, _, method in MATRIX if row == path}
    address = "/" + path.replace("<uuid:batch_id>", str(batch.pk)).replace("<any_text:name>", "x")
    answer = car.options(address)
    assert answer.status_code == 204
    assert {name.strip() for name in answer["Allow"].split(",")} - {"HEAD", "OPTIONS"} == methods
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - methods:
        refused_answer = car.generic(method, address, b"")
        refused(refused_answer, 405, "method_not_allowed")
        assert refused_answer["Allow"] == answer["Allow"]
        refused(Caller().generic(method, address, b""), 401, "not_authenticated")
    if "GET" in methods:
        head = car.head(address)
        assert (head.status_code, head.content) == (200, b"")


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_that_is_none_is_refused(vehicle):
    good = factories.token(vehicle)
    broken = [good[:-1], good[:-1] + ("0" if good[-1] != "0" else "1"), good.upper(), good + "x", "argus_v1_", "", "x" * 5000, "ä", "\0"]
    for text in broken:
        answer = Client().get(API, headers={"Authorization": f"Bearer {text}"})
        refused(answer, 401, "not_authenticated")
        assert answer["WWW-Authenticate"] == 'Bearer realm="argus"'


def test_a_token_of_an_unknown_key_is_refused_like_a_wrong_secret(vehicle):
    good = factories.token(vehicle)
    ApiToken.objects.update(key_id="A" * 12)
    unknown = refused(Caller(good).get(API), 401, "not_authenticated")
    ApiToken.objects.update(key_id=good.split("_")[2], secret_sha256="0" * 64)
    wrong = refused(Caller(good).get(API), 401, "not_authenticated")
    assert {**unknown, "request_id": 0} == {**wrong, "request_id": 0}


def test_an_expired_and_a_revoked_token_are_refused_at_once(vehicle):
    text = factories.token(vehicle)
    caller = Caller(text)
    assert caller.get(API).status_code == 200
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    refused(caller.get(API), 401, "not_authenticated")
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert caller.get(API).status_code == 200
    revoke_token(find_token(text), actor="test")
    refused(caller.get(API), 401, "not_authenticated")


@pytest.mark.parametrize("where", ["query", "basic", "cookie"])
def test_a_token_counts_in_no_other_place(vehicle, where):
    text = factories.token(vehicle)
    client = Client()
    if where == "cookie":
        client.cookies["token"] = text
    answer = client.get(
        API, {"token": text} if where == "query" else {}, headers={"Authorization": f"Basic {text}"} if where == "basic" else {}
    )
    refused(answer, 401, "not_authenticated")


def test_a_wrong_token_is_refused_even_beside_a_login(vehicle, admin_user):
    browser = Client()
    browser.force_login(admin_user)
    refused(browser.get(API, headers={"Authorization": "Bearer argus_v1_x"}), 401, "not_authenticated")


def test_the_scheme_may_be_written_in_any_case(vehicle):
    assert Client().get(API, headers={"Authorization": f"bEARER {factories.token(vehicle)}"}).status_code == 200


def test_a_use_is_noted_once_a_minute(vehicle, django_assert_num_queries):
    caller = Caller(factories.token(vehicle))
    caller.get(API)
    noted = ApiToken.objects.get().last_used_at
    assert noted is not None
    with django_assert_num_queries(2):  # token, batches
        caller.get(API)
    assert ApiToken.objects.get().last_used_at == noted


def test_a_vehicles_token_with_every_scope_sees_only_its_own(vehicle, other_car):
    other_car.open()
    caller = Caller(factories.token(vehicle, set(Scope)))
    assert caller.get(API).json()["results"] == []
    refused(caller.delete(f"{API}/{Batch.objects.get().pk}"), 403, "permission_denied")


def test_vehicles_and_integrations_share_no_scope():
    assert not set(VEHICLE_SCOPES) & set(INTEGRATION_SCOPES)


def test_a_batch_stays_with_the_vehicle_of_its_token(car, other_car, batch):
    refused(other_car.send(str(batch.pk), name="mine"), 404, "not_found")
    refused(other_car.complete(str(batch.pk)), 404, "not_found")
    assert Batch.objects.get(pk=batch.pk).total_files == 1
