"""Sending files: every refusal has its code, and nothing that was refused is counted or stored."""

from __future__ import annotations

import base64
import hashlib
import os
from urllib.parse import quote

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batches.models import Batch, BatchState
from files import storage
from files.models import File
from tests.api.conftest import API, check_shape, count, objects, refused
from tests.files.test_names import FRIENDLY, HOSTILE

pytestmark = pytest.mark.django_db
BOUNDARY = "a-boundary"


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def form(*parts: tuple[str, str | None, bytes], boundary: str = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    """A multipart body of (field, file name, content)."""
    body = b""
    for field, name, content in parts:
        file_name = "" if name is None else f'; filename="{name}"'
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n\r\n'.encode() + content + b"\r\n"
    return body + f"--{boundary}".encode() + end


def post(car: Client, batch_id: str, body: bytes, content_type: str = f"multipart/form-data; boundary={BOUNDARY}", **options):
    return car.post(f"{API}/{batch_id}/files", body, content_type=content_type, **options)


@pytest.fixture
def batch_id(car) -> str:
    return car.open()


# -- PUT ---------------------------------------------------------------------------------------------------------------


def test_a_file_is_stored_under_its_name(car, batch_id):
    answer = car.send(batch_id, **{"X-Argus-Kind": "can", "Repr-Digest": digest(b"content")})
    assert answer.status_code == 201
    body = answer.json()
    check_shape("FileShape", body)
    assert (body["name"], body["size"], body["kind"], body["state"]) == ("drive.blf", 7, "can", "pending")
    assert body["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert storage.read_bytes(File.objects.get(pk=body["id"]).storage_key, 10) == b"content"
    assert count(batch_id) == (1, 7, 1)


def test_the_same_file_again_is_200_and_counted_once(car, batch_id):
    first, second = car.send(batch_id), car.send(batch_id)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert count(batch_id) == (1, 7, 1)


@pytest.mark.parametrize("headers", [{}, {"Repr-Digest": digest(b"another")}])
def test_another_file_of_the_same_name_is_refused(car, batch_id, headers):
    car.send(batch_id)
    refused(car.send(batch_id, content=b"another", **headers), 409, "file_exists")
    assert count(batch_id) == (1, 7, 1)


@pytest.mark.parametrize("name", sorted({name for name in HOSTILE if name.isprintable() or len(name) < 9}), ids=ascii)
def test_a_hostile_name_is_refused_by_put(car, batch_id, name):
    refused(car.send(batch_id, name=quote(name, safe="", errors="surrogatepass")), 422, "bad_filename") if _utf8(name) else None
    assert count(batch_id) == (0, 0, 0)


def _utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def test_a_path_in_a_name_is_refused_and_not_resolved(car, batch_id):
    refused(car.send(batch_id, name="..%2F..%2Fetc%2Fpasswd"), 422, "bad_filename")
    refused(car.send(batch_id, name=""), 422, "bad_filename")
    refused(car.send(batch_id, name="a/b"), 422, "bad_filename")


@pytest.mark.parametrize("name", FRIENDLY, ids=ascii)
def test_an_unusual_name_is_kept_by_put(car, batch_id, name):
    answer = car.send(batch_id, name=quote(name, safe=""))
    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == name


def test_an_empty_file_is_refused(car, batch_id):
    refused(car.generic("PUT", f"{API}/{batch_id}/files/x", b"", CONTENT_LENGTH="0"), 422, "empty_file")
    assert count(batch_id) == (0, 0, 0)


def test_a_body_without_a_length_is_refused(car, batch_id):
    refused(car.generic("PUT", f"{API}/{batch_id}/files/x", b""), 411, "length_required")


def test_a_file_over_the_limit_is_refused_before_a_byte_is_read(car, batch_id, settings):
    settings.ARGUS_MAX_FILE_BYTES = 6
    assert refused(car.send(batch_id), 413, "file_too_large")["limit"] == 6
    assert count(batch_id) == (0, 0, 0)


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
def test_a_wrong_digest_stores_nothing(car, batch_id, header):
    refused(car.send(batch_id, **{header: digest(b"other")}), 422, "digest_mismatch")
    assert count(batch_id) == (0, 0, 0)
    assert car.send(batch_id).status_code == 201


def test_one_digest_among_others_is_found(car, batch_id):
    value = f"md5=:AAAA:, {digest(b'content')}, sha-512=:BBBB:"
    assert car.send(batch_id, **{"Repr-Digest": value}).status_code == 201
    refused(car.send(batch_id, name="2", **{"Repr-Digest": f"md5=:AAAA:,{digest(b'no')}"}), 422, "digest_mismatch")


@pytest.mark.parametrize(
    "value", ["sha-256=abc", "sha-256=:abc:", "sha-256=::", "sha-256=:" + "A" * 44 + ":", "sha-256=", "sha-256=:\xff:"]
)
def test_a_malformed_digest_is_refused(car, batch_id, value):
    refused(car.send(batch_id, **{"Repr-Digest": value}), 422, "invalid_field")


def test_two_digests_that_differ_are_refused(car, batch_id):
    refused(car.send(batch_id, **{"Repr-Digest": digest(b"content"), "Content-Digest": digest(b"other")}), 422, "digest_mismatch")


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Range": "bytes 0-6/20"}])
def test_an_encoded_or_partial_body_is_refused(car, batch_id, headers):
    refused(car.send(batch_id, **headers), 415, "unsupported_encoding")
    assert count(batch_id) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["x" * 33, "a b", "<script>", "ä"])
def test_a_kind_is_a_short_word(car, batch_id, kind):
    refused(car.send(batch_id, **{"X-Argus-Kind": kind}), 422, "invalid_field")


@pytest.mark.parametrize("length", ["-1", "abc", "1_0", "٣", "9" * 30])
def test_a_length_that_is_none_is_refused(car, batch_id, length):
    answer = car.generic("PUT", f"{API}/{batch_id}/files/x", b"content", CONTENT_LENGTH=length)
    assert answer.status_code in {400, 411}
    assert answer["Content-Type"] == "application/problem+json"
    assert count(batch_id) == (0, 0, 0)


def test_a_body_shorter_than_announced_makes_no_file_and_waits_for_the_rest(car, batch_id):
    answer = car.generic("PUT", f"{API}/{batch_id}/files/x", b"content", CONTENT_LENGTH="8")
    refused(answer, 422, "length_mismatch")
    assert File.objects.count() == 0
    (waiting,) = car.get(f"{API}/{batch_id}").json()["uploads"]
    assert (waiting["name"], waiting["size"], waiting["state"]) == ("x", 8, "open")
    assert car.send(batch_id, "x", b"content!").json()["id"] == waiting["id"]
    assert count(batch_id) == (1, 8, 1)


def test_a_file_of_many_chunks_arrives_whole(car, batch_id):
    content = os.urandom(1_500_001)
    answer = car.send(batch_id, content=content)
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_file_after_complete_is_refused_once_work_has_begun(car, batch_id):
    car.send(batch_id)
    car.complete(batch_id)
    assert car.send(batch_id, name="2").status_code == 201
    Batch.objects.filter(pk=batch_id).update(state=BatchState.SCATTERING)
    assert refused(car.send(batch_id, name="3"), 409, "batch_closed")["state"] == "scattering"
    refused(post(car, batch_id, form(("file", "3", b"x"))), 409, "batch_closed")
    assert count(batch_id) == (2, 14, 2)


def test_a_batch_takes_only_so_many_files(car, batch_id, settings):
    settings.ARGUS_MAX_FILES_PER_BATCH = 1
    car.send(batch_id)
    refused(car.send(batch_id, name="2"), 422, "batch_full")


@pytest.mark.parametrize(
    ("patched", "number", "status", "code"), [("write", 28, 507, "disk_full"), ("fsync", 5, 503, "storage_unavailable")]
)
def test_a_storage_that_fails_is_told_with_a_time_to_come_back(car, batch_id, monkeypatch, patched, number, status, code):
    def fail(*args):
        raise OSError(number, "no")

    with monkeypatch.context() as patch:
        patch.setattr(storage.local.os, patched, fail)
        answer = car.send(batch_id)
    body = refused(answer, status, code)
    assert body["retryable"] is True
    assert int(answer["Retry-After"]) > 0
    assert "/" not in body["detail"]
    assert count(batch_id) == (0, 0, 0)
    assert car.send(batch_id).status_code == 201


# -- multipart ---------------------------------------------------------------------------------------------------------


def test_a_form_stores_its_file(car, batch_id):
    answer = post(car, batch_id, form(("file", "drive.blf", b"content")))
    assert answer.status_code == 201
    check_shape("FileShape", answer.json())
    assert (answer.json()["name"], answer.json()["size"]) == ("drive.blf", 7)
    assert count(batch_id) == (1, 7, 1)


def test_a_form_may_repeat_a_name(car, batch_id):
    ids = {post(car, batch_id, form(("file", "drive.blf", b"content"))).json()["id"] for _ in range(3)}
    assert len(ids) == 3
    assert count(batch_id) == (3, 21, 3)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"--a-boundary", b"\n--a-boundary", b"--a-boundar", b"x" * 9, b"\0"])
    )
    .map(b"".join)
    .filter(lambda content: content and b"\r\n--a-boundary" not in b"\r\n" + content + b"\r\n--a-boundar")
)
def test_content_like_a_boundary_is_content(car, content):
    batch_id = car.open()
    answer = post(car, batch_id, form(("file", "x", content)))
    assert answer.status_code == 201, answer.content
    assert storage.read_bytes(File.objects.get(pk=answer.json()["id"]).storage_key, 1000) == content


@pytest.mark.parametrize("size", [*range(262_044, 262_150, 7), 262_144, 1_000_000])
def test_a_boundary_is_found_wherever_the_chunks_cut_it(car, batch_id, size):
    content = os.urandom(size)
    answer = post(car, batch_id, form(("file", "x", content)))
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(("file", "x", b"")), 422, "empty_file"),
        (form(("file", None, b"x")), 422, "bad_filename"),
        (form(("file", "", b"x")), 422, "bad_filename"),
        (form(("file", "../../x", b"x")), 422, "bad_filename"),
        (form(("file", "C:\\\\x", b"x")), 422, "bad_filename"),
        (form(("files", "x", b"x")), 400, "unknown_field"),
        (form(("vehicle", None, b"x"), ("file", "x", b"x")), 400, "unknown_field"),
        (form(("file", "x", b"x"), ("file", "y", b"y")), 400, "unknown_field"),
        (form(("file", "x", b"x"), ("state", None, b"completed")), 400, "unknown_field"),
        (form(), 400, "malformed_body"),
        (form(("file", "x", b"x"), end=b""), 422, "length_mismatch"),
        (form(("file", "x", b"x"))[:-8], 422, "length_mismatch"),
        (b"no form at all, but long enough", 400, "malformed_body"),
        (b"--a-boundary\r\n" + b"X: " + b"y" * 20_000, 400, "malformed_body"),
        (b"--a-boundary\r\n\r\ncontent\r\n--a-boundary--\r\n", 400, "malformed_body"),
        (b'--a-boundary\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\nx\r\n--a-boundary--', 422, "bad_filename"),
        (
            b'--a-boundary\r\nContent-Disposition: form-data; name="file"; filename="x"\r\nContent-Transfer-Encoding: base64\r\n\r\nx',
            415,
            "unsupported_encoding",
        ),
    ],
)
def test_a_form_that_is_not_one_whole_file_is_refused(car, batch_id, body, status, code):
    refused(post(car, batch_id, body), status, code)
    assert count(batch_id) == (0, 0, 0)


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/json", 415, "unsupported_media_type"),
        ("multipart/mixed; boundary=a-boundary", 415, "unsupported_media_type"),
        ("multipart/form-data", 400, "malformed_body"),
        ("multipart/form-data; boundary=" + "x" * 300, 400, "malformed_body"),
    ],
)
def test_a_form_has_to_be_one(car, batch_id, content_type, status, code):
    refused(post(car, batch_id, form(("file", "x", b"x")), content_type), status, code)


def test_a_form_over_the_limit_is_refused_before_a_byte_is_read(car, batch_id, settings):
    settings.ARGUS_MAX_MULTIPART_BYTES = 50
    refused(post(car, batch_id, form(("file", "x", b"x" * 100))), 413, "file_too_large")
    assert objects() == []


def test_a_form_makes_no_temporary_file(car, batch_id, monkeypatch):
    import tempfile

    def refuse(*args, **options):
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert post(car, batch_id, form(("file", "x", bytes(4_000_000)))).status_code == 201


@pytest.mark.parametrize("name", sorted({name for name in HOSTILE if '"' not in name and _utf8(name)}), ids=ascii)
def test_a_hostile_name_is_refused_by_form(car, batch_id, name):
    answer = post(car, batch_id, form(("file", name.replace("\\", "\\\\"), b"x")))
    assert answer.status_code in {400, 422}, answer.content
    assert answer.json()["code"] in {"bad_filename", "malformed_body"}
    assert count(batch_id) == (0, 0, 0)
