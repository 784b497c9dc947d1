"""Who may do what: tokens, people, and a matrix of every route and method with everybody who must not get through."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from batches.models import Batch
from events.models import Event
from files.models import File, Upload
from tests import factories
from tests.api.conftest import API, Caller, objects, refused
from tests.api.test_files import BOUNDARY, form
from vehicles.models import INTEGRATION_SCOPES, VEHICLE_SCOPES, ApiToken, Scope
from vehicles.tokens import find_token, revoke_token

pytestmark = pytest.mark.django_db
METHODS = ("get", "head", "post", "put", "patch", "delete")
UNKNOWN = "00000000-0000-4000-8000-000000000000"
CONTENT = b"content"
TUS = {"Tus-Resumable": "1.0.0"}
PEOPLE = ("owner", "other vehicle", "integration", "staff", "anonymous", "revoked")

# What each of PEOPLE is answered when all that could be wrong with the request is who sends it. Staff have no permission at all. A route
# that is not here fails the suite.
ROWS = {
    "GET ": (302, 302, 302, 302, 302, 302),
    "GET healthz": (200, 200, 200, 200, 200, 200),
    "GET api/v1/schema": (200, 200, 200, 200, 200, 200),
    "GET api/v1/docs": (200, 200, 200, 200, 200, 200),
    "POST api/v1/enrol": (401, 401, 401, 401, 401, 401),
    "POST api/v1/enrol/<uuid:enrolment_id>/claim": (401, 401, 401, 401, 401, 401),
    "POST api/v1/token": (201, 201, 403, 401, 401, 401),
    "GET api/v1/batches": (200, 200, 200, 403, 401, 401),
    "POST api/v1/batches": (201, 201, 403, 403, 401, 401),
    "GET api/v1/batches/<uuid:batch_id>": (200, 404, 200, 403, 401, 401),
    "PUT api/v1/batches/<uuid:batch_id>": (200, 404, 403, 403, 401, 401),
    "DELETE api/v1/batches/<uuid:batch_id>": (403, 403, 204, 403, 401, 401),
    "POST api/v1/batches/<uuid:batch_id>/complete": (409, 404, 403, 401, 401, 401),
    "POST api/v1/batches/<uuid:batch_id>/abandon": (200, 404, 403, 401, 401, 401),
    "GET api/v1/batches/<uuid:batch_id>/progress": (200, 404, 200, 403, 401, 401),
    "GET api/v1/batches/<uuid:batch_id>/findings": (200, 404, 200, 403, 401, 401),
    "POST api/v1/batches/<uuid:batch_id>/files": (201, 404, 403, 401, 401, 401),
    "PUT api/v1/batches/<uuid:batch_id>/files/<any_text:name>": (201, 404, 403, 401, 401, 401),
    "POST api/v1/batches/<uuid:batch_id>/uploads": (201, 404, 403, 401, 401, 401),
    "POST api/v1/batches/<uuid:batch_id>/uploads/direct": (409, 404, 403, 401, 401, 401),
    "HEAD api/v1/uploads/<uuid:upload_id>": (200, 404, 403, 401, 401, 401),
    "PATCH api/v1/uploads/<uuid:upload_id>": (204, 404, 403, 401, 401, 401),
    "DELETE api/v1/uploads/<uuid:upload_id>": (204, 404, 403, 401, 401, 401),
    "GET api/v1/uploads/<uuid:upload_id>/parts": (409, 404, 403, 401, 401, 401),
    "POST api/v1/uploads/<uuid:upload_id>/complete": (409, 404, 403, 401, 401, 401),
}
CODES = {401: "not_authenticated", 403: "permission_denied", 404: "not_found"}


def routes(patterns=None, prefix: str = "") -> list[tuple[str, URLPattern]]:
    """Every address of the URL configuration."""
    found = []
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        found += routes(pattern.url_patterns, path) if isinstance(pattern, URLResolver) else [(path, pattern)]
    return found


def methods_of(path: str, pattern: URLPattern) -> tuple[str, ...]:
    """What the view answers; HEAD where it is more than a GET without a body."""
    view = getattr(pattern.callback, "view_class", None)
    if view is None or path == "":
        return ("get",)
    own = [method for method in METHODS if hasattr(view, method)]
    return tuple(method for method in own if method != "head" or "get" not in own)


ALL = [(path, pattern) for path, pattern in routes() if not path.startswith("admin/")]
PUBLIC = {"", "healthz", "api/v1/schema", "api/v1/docs"}
BY_OTHER_KEYS = {"api/v1/enrol", "api/v1/enrol/<uuid:enrolment_id>/claim"}
MATRIX = [
    (path, pattern.callback.view_class, method) for path, pattern in ALL if path not in PUBLIC for method in methods_of(path, pattern)
]
WITH_RIGHTS = [row for row in MATRIX if row[0] not in BY_OTHER_KEYS]
OF_ONE_VEHICLE = [row for row in WITH_RIGHTS if "<uuid:" in row[0]]


class World:
    """A vehicle's batch with a file and an upload that has begun; people of every sort."""

    def __init__(self, vehicle) -> None:
        self.vehicle = vehicle
        self.token = factories.token(vehicle)
        car = Caller(self.token)
        self.batch_id = car.open()
        car.send(self.batch_id)
        begun = self.ask(car, "api/v1/batches/<uuid:batch_id>/uploads", "post")
        assert begun.status_code == 201, begun.content
        self.upload_id = begun["Location"].rpartition("/")[2]

    def caller(self, who: str) -> Caller:
        """One of PEOPLE."""
        if who == "staff":
            browser = Caller()
            browser.force_login(factories.user("anna"))
            return browser
        if who == "anonymous":
            return Caller()
        if who == "integration":
            return Caller(factories.token(None, INTEGRATION_SCOPES))
        if who == "owner":
            return Caller(self.token)
        text = factories.token(factories.vehicle() if who == "other vehicle" else self.vehicle)
        if who == "revoked":
            revoke_token(find_token(text), actor="test")
        return Caller(text)

    def ask(self, client: Client, path: str, method: str, **ids: str):
        """A request to the route that would succeed for somebody with the right."""
        known = {"batch_id": self.batch_id, "upload_id": getattr(self, "upload_id", ""), "enrolment_id": UNKNOWN, **ids}
        address = "/" + path.replace("<any_text:name>", "new.blf")
        for name, value in known.items():
            address = address.replace(f"<uuid:{name}>", str(value))
        if path.endswith("/files"):
            return client.post(address, form(("file", "new.blf", CONTENT)), content_type=f"multipart/form-data; boundary={BOUNDARY}")
        if path.endswith("/uploads"):
            return client.generic("POST", address, headers={**TUS, "Upload-Length": "7", "Upload-Metadata": "filename dHVzLmJsZg=="})
        if path.endswith("/files/<any_text:name>"):
            return client.put(address, CONTENT, content_type="application/octet-stream")
        if path.endswith("<uuid:upload_id>"):
            sent = {"content_type": "application/offset+octet-stream", "data": CONTENT} if method == "patch" else {}
            return getattr(client, method)(address, **sent, headers={**TUS, "Upload-Offset": "0"} if method == "patch" else TUS)
        bodies = {
            "/direct": {"name": "direct.blf", "size": 7, "sha256": "0" * 64},
            "/uploads/<uuid:upload_id>/complete": {"parts": [{"number": 1, "etag": "x"}]},
            "/enrol": {"vin": factories.vin()},
        }
        body = next((body for end, body in bodies.items() if path.endswith(end)), {})
        if method in {"post", "put"}:
            return getattr(client, method)(address, body, content_type="application/json")
        return getattr(client, method)(address)


def ids(row) -> str:
    return f"{row[2].upper()} {row[0]}"


def counts() -> tuple[object, ...]:
    """What must not have changed."""
    uploads = tuple(Upload.objects.order_by("pk").values_list("pk", "state", "offset"))
    events = Event.objects.filter(batch__isnull=False).count()
    return Batch.objects.count(), File.objects.count(), uploads, events, ApiToken.objects.count(), tuple(objects())


@pytest.fixture
def world(vehicle) -> World:
    return World(vehicle)


@pytest.fixture
def batch(world) -> Batch:
    return Batch.objects.get(pk=world.batch_id)


# -- the matrix --------------------------------------------------------------------------------------------------------


def test_the_matrix_has_a_row_for_every_route_and_method():
    assert {f"{method.upper()} {path}" for path, pattern in ALL for method in methods_of(path, pattern)} == ROWS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_everybody_gets_what_the_matrix_says(row, world):
    method, _, path = row.partition(" ")
    callers = {who: world.caller(who) for who in PEOPLE}
    before = counts()
    # Those who are refused come first: they must have changed nothing.
    for expected, who in sorted(zip(ROWS[row], PEOPLE, strict=True), reverse=True):
        answer = world.ask(callers[who], path, method.lower())
        assert answer.status_code == expected, (who, answer.content)
        if expected in CODES:
            assert counts() == before, who
            if method != "HEAD":
                refused(answer, expected, CODES[expected])
            if expected == 401:
                assert answer["WWW-Authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize("row", WITH_RIGHTS, ids=ids)
def test_every_method_says_what_it_needs(row):
    _, view, method = row
    assert view.needs[method.upper()].vehicle or view.needs[method.upper()].integration


@pytest.mark.parametrize("row", OF_ONE_VEHICLE, ids=ids)
def test_what_another_vehicle_has_is_answered_like_what_does_not_exist(row, other_car, world):
    path, _, method = row
    foreign, missing = world.ask(other_car, path, method), world.ask(other_car, path, method, batch_id=UNKNOWN, upload_id=UNKNOWN)
    if path == "api/v1/batches/<uuid:batch_id>" and method == "put":  # would open a batch of one's own
        assert missing.status_code == 201
        return
    assert foreign.status_code == missing.status_code
    assert foreign.headers.keys() == missing.headers.keys()
    if method != "head":
        assert {**foreign.json(), "request_id": 0} == {**missing.json(), "request_id": 0}


@pytest.mark.parametrize("row", WITH_RIGHTS, ids=ids)
def test_support_may_read_and_do_nothing_else(row, world):
    path, view, method = row
    browser = Caller()
    browser.force_login(factories.user("anna", "support"))
    before = counts()
    answer = world.ask(browser, path, method)
    assert (answer.status_code == 200) == (view.needs[method.upper()].permission == "batches.view_batch")
    assert answer.status_code in {200, 401, 403}
    assert counts() == before


@pytest.mark.parametrize("row", WITH_RIGHTS, ids=ids)
def test_a_person_who_is_not_staff_gets_nothing_even_with_the_permission(row, world):
    person = factories.user("bert")
    person.is_staff = False
    person.save()
    person.user_permissions.set(Permission.objects.all())
    browser = Caller()
    browser.force_login(person)
    assert world.ask(browser, row[0], row[2]).status_code in {401, 403}


@pytest.mark.parametrize("row", WITH_RIGHTS, ids=ids)
@pytest.mark.parametrize("of_vehicle", [True, False])
def test_a_token_with_every_scope_but_the_needed_is_refused(row, of_vehicle, vehicle, world):
    path, view, method = row
    needs = view.needs[method.upper()]
    needed = needs.vehicle if of_vehicle else needs.integration
    caller = Caller(factories.token(vehicle if of_vehicle else None, set(Scope) - set(needed)))
    before = counts()
    answer = world.ask(caller, path, method)
    assert answer.status_code == 403
    assert counts() == before


@pytest.mark.parametrize("path", sorted({path for path, _, _ in WITH_RIGHTS}))
def test_a_method_that_a_route_lacks_is_405_and_options_names_the_others(path, car, world):
    methods = {method.upper() for row, _, method in MATRIX if row == path}
    address = "/" + path.replace("<any_text:name>", "x")
    address = address.replace("<uuid:batch_id>", world.batch_id).replace("<uuid:upload_id>", world.upload_id)
    answer = car.options(address)
    assert answer.status_code == 204
    assert {name.strip() for name in answer["Allow"].split(",")} - {"HEAD", "OPTIONS"} == methods - {"HEAD"}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - methods:
        refused_answer = car.generic(method, address, b"")
        refused(refused_answer, 405, "method_not_allowed")
        assert refused_answer["Allow"] == answer["Allow"]
        refused(Caller().generic(method, address, b""), 401, "not_authenticated")
    if "GET" in methods and not path.endswith("/parts"):
        head = car.head(address)
        assert (head.status_code, head.content) == (200, b"")


# -- the admin ---------------------------------------------------------------------------------------------------------

# What staff without any permission may see of it: themselves.
OPEN_TO_STAFF = {"admin/", "admin/login/", "admin/logout/", "admin/password_change/", "admin/password_change/done/", "admin/jsi18n/"}
ADMIN = [path for path, _ in routes() if path.startswith("admin/")]
PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")


def admin_address(path: str, world: World) -> str:
    """An address with objects that exist where it is easy, of the batch's and vehicle's at least."""
    if path == "admin/(?P<url>.*)$":
        return "/admin/nothing/here/"
    if path.startswith("admin/^"):
        return "/admin/batches/"
    objects_of = {"batches/batch": world.batch_id, "vehicles/vehicle": world.vehicle.pk, "files/file": File.objects.get().pk}
    known = next((value for part, value in objects_of.items() if part in path), UNKNOWN)
    return "/" + PLACEHOLDER.sub(lambda match: "retry" if match[1] == "name" else str(known), path)


@pytest.mark.parametrize("who", [who for who in PEOPLE if who != "staff"])
def test_the_admin_sends_everybody_without_a_login_to_the_login(who, world):
    caller = world.caller(who)
    before = counts()
    for path in ADMIN:
        for method in ("get", "post"):
            answer = getattr(caller, method)(admin_address(path, world))
            if path == "admin/login/":
                assert answer.status_code in {200, 302, 403}
            elif path == "admin/logout/":
                assert answer.status_code in {302, 405}
            else:
                assert (answer.status_code, answer.get("Location", "").partition("?")[0]) == (302, "/admin/login/"), (method, path)
    assert counts() == before


def test_staff_without_a_permission_see_nothing_in_the_admin(world):
    caller = world.caller("staff")
    before = counts()
    for path in ADMIN:
        for method in ("get", "post"):
            if path in OPEN_TO_STAFF:
                continue
            answer = getattr(caller, method)(admin_address(path, world))
            # Of old bookmarks, to the page that refuses; and from what does not exist to the front page.
            if answer.status_code == 302:
                assert path.endswith("<path:object_id>/") or answer["Location"] == "/admin/", (method, path)
            else:
                assert answer.status_code in {403, 404, 405}, (method, path, answer.status_code)
            assert world.vehicle.vin not in answer.content.decode()
    assert counts() == before
    assert world.vehicle.vin not in caller.get("/admin/").content.decode()


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
