"""tus 1.0.0, rule by rule: every header and every status that the protocol or its extensions name."""

from __future__ import annotations

import base64
import hashlib
import random
from collections import Counter
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import google_crc32c
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from batches.models import Batch, BatchState
from files import storage
from files.models import File, Upload, UploadState
from tests.api.conftest import API, Caller, count, objects, refused

CONTENT = random.Random(4).randbytes(100_000)
UPLOADS = "/api/v1/uploads"
OFFSET_TYPE = "application/offset+octet-stream"
pytestmark = pytest.mark.django_db


def pairs(**values: str) -> str:
    """Upload-Metadata."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def tus(car: Caller, method: str, path: str, body: bytes = b"", *, version: str | None = "1.0.0", content_type: str = "", **headers: str):
    """One request as a tus client makes it; headers with _ for -."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if version:
        sent["Tus-Resumable"] = version
    # The test client leaves the media type of an empty body out.
    empty = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": "0"} if content_type and not body else {}
    return car.generic(method, path, body, content_type=content_type, headers=sent, **empty)


def create(car: Caller, batch_id: str, size: int | None = len(CONTENT), body: bytes = b"", **options: Any):
    metadata = options.pop("metadata", pairs(filename="drive.blf"))
    length = {"Upload_Defer_Length": "1"} if size is None else {"Upload_Length": str(size)}
    options = {"Upload_Metadata": metadata, **length, **options}
    content_type = options.pop("content_type", OFFSET_TYPE if body else "")
    return tus(car, "POST", f"{API}/{batch_id}/uploads", body, content_type=content_type, **options)


def patch(car: Caller, url: str, body: bytes, offset: int | str, *, content_type: str = OFFSET_TYPE, method: str = "PATCH", **headers: str):
    return tus(car, method, url, body, content_type=content_type, Upload_Offset=str(offset), **headers)


def offset_of(car: Caller, url: str) -> int:
    answer = tus(car, "HEAD", url)
    assert answer.status_code == 200, answer.content
    return int(answer["Upload-Offset"])


def checksum(algorithm: str, content: bytes) -> str:
    digest = google_crc32c.value(content).to_bytes(4, "big") if algorithm == "crc32c" else hashlib.new(algorithm, content).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


@pytest.fixture
def batch_id(car) -> str:
    return car.open()


@pytest.fixture
def url(car, batch_id) -> str:
    """Where a new upload of CONTENT goes, as a path."""
    return create(car, batch_id)["Location"].removeprefix("http://testserver")


# -- core --------------------------------------------------------------------------------------------------------------


def test_an_upload_is_created_sent_in_pieces_and_is_a_file_with_its_last_byte(car, batch_id):
    answer = create(car, batch_id)
    assert answer.status_code == 201
    assert answer["Location"].startswith("http://testserver/api/v1/uploads/")
    assert answer["Tus-Resumable"] == "1.0.0"
    assert answer.content == b""
    url = answer["Location"]
    for start, end in ((0, 1), (1, 60_000), (60_000, len(CONTENT))):
        assert offset_of(car, url) == start
        answer = patch(car, url, CONTENT[start:end], start)
        assert (answer.status_code, answer["Upload-Offset"], answer.content) == (204, str(end), b"")
    file = File.objects.get()
    assert str(file.pk) == url.rpartition("/")[2]
    assert storage.read_bytes(file.storage_key, 1 << 20) == CONTENT
    assert count(batch_id) == (1, len(CONTENT), 1)


def test_head_tells_offset_length_and_metadata_and_is_not_kept_by_caches(car, batch_id):
    metadata = pairs(filename="ä b.blf", filetype="application/x", other="kept") + ",flag"
    answer = tus(car, "HEAD", create(car, batch_id, metadata=metadata)["Location"])
    assert answer.status_code == 200
    assert (answer["Upload-Offset"], answer["Upload-Length"], answer["Upload-Metadata"]) == ("0", str(len(CONTENT)), metadata)
    assert answer["Cache-Control"] == "no-store"
    assert answer["Tus-Resumable"] == "1.0.0"
    assert answer.content == b""


def test_head_on_a_finished_upload_says_that_nothing_is_missing(car, url):
    patch(car, url, CONTENT, 0)
    answer = tus(car, "HEAD", url)
    assert (answer.status_code, answer["Upload-Offset"], answer["Upload-Length"]) == (200, str(len(CONTENT)), str(len(CONTENT)))
    assert "Upload-Expires" not in answer


@pytest.mark.parametrize("offset", [0, 1, 11, len(CONTENT), 2**60])
def test_a_wrong_offset_is_409_with_the_right_one(car, url, offset):
    patch(car, url, CONTENT[:10], 0)
    answer = patch(car, url, b"?", offset)
    body = refused(answer, 409, "offset_mismatch")
    assert (answer["Upload-Offset"], body["offset"]) == ("10", 10)
    assert offset_of(car, url) == 10


def test_the_last_piece_again_is_409_with_the_length(car, url):
    patch(car, url, CONTENT, 0)
    answer = patch(car, url, CONTENT, 0)
    refused(answer, 409, "offset_mismatch")
    assert answer["Upload-Offset"] == str(len(CONTENT))
    assert patch(car, url, b"", len(CONTENT)).status_code == 204
    refused(patch(car, url, b"?", len(CONTENT)), 413, "file_too_large")
    assert File.objects.count() == 1


def test_a_piece_without_bytes_changes_nothing(car, url):
    assert patch(car, url, b"", 0)["Upload-Offset"] == "0"


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "application/json", "multipart/form-data; boundary=x"])
def test_another_media_type_is_415(car, url, batch_id, content_type):
    refused(patch(car, url, CONTENT, 0, content_type=content_type), 415, "unsupported_media_type")
    assert offset_of(car, url) == 0
    if content_type:
        refused(create(car, batch_id, body=b"x", content_type=content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1", "1.0.0, 0.2.2"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_another_version_is_412_with_the_ones_there_are(car, batch_id, url, method, version):
    path = f"{API}/{batch_id}/uploads" if method == "POST" else url
    answer = tus(car, method, path, b"x", version=version, content_type=OFFSET_TYPE, Upload_Offset="0", Upload_Length="1")
    assert answer.status_code == 412
    assert (answer["Tus-Version"], answer["Tus-Resumable"]) == ("1.0.0", "1.0.0")
    if method != "HEAD":
        refused(answer, 412, "tus_version")
    assert offset_of(car, url) == 0


@pytest.mark.parametrize("address", ["batch", "upload"])
def test_options_tell_what_the_server_can_do_without_a_version(car, batch_id, url, address):
    answer = tus(car, "OPTIONS", f"{API}/{batch_id}/uploads" if address == "batch" else url, version=None)
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert answer["Tus-Extension"] == "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration"
    assert answer["Tus-Checksum-Algorithm"] == "sha1,sha256,crc32c"
    assert int(answer["Tus-Max-Size"]) == 10**10
    assert answer["Tus-Resumable"] == "1.0.0"


def test_the_method_may_be_said_in_a_header(car, url):
    assert patch(car, url, CONTENT[:5], 0, method="POST", X_HTTP_Method_Override="PATCH")["Upload-Offset"] == "5"
    assert tus(car, "POST", url, X_HTTP_Method_Override="HEAD")["Upload-Offset"] == "5"
    assert tus(car, "POST", url, X_HTTP_Method_Override="delete").status_code == 204
    refused(tus(car, "POST", url, X_HTTP_Method_Override="PUT"), 405, "method_not_allowed")


@pytest.mark.parametrize("offset", ["", "-1", "1.0", "0x1", "one", "9" * 30, "٣"])
def test_an_offset_that_is_no_number_is_refused(car, url, offset):
    refused(tus(car, "PATCH", url, b"x", content_type=OFFSET_TYPE, Upload_Offset=offset), 400, "bad_header")
    refused(tus(car, "PATCH", url, b"x", content_type=OFFSET_TYPE), 400, "bad_header")


# -- creation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 20])
def test_a_length_that_is_no_number_is_refused(car, batch_id, length):
    refused(tus(car, "POST", f"{API}/{batch_id}/uploads", Upload_Length=length, Upload_Metadata=pairs(filename="x")), 400, "bad_header")
    assert not Upload.objects.exists()


def test_neither_length_nor_its_promise_and_both_are_refused(car, batch_id):
    path = f"{API}/{batch_id}/uploads"
    refused(tus(car, "POST", path, Upload_Metadata=pairs(filename="x")), 400, "bad_header")
    both = {"Upload_Length": "1", "Upload_Defer_Length": "1", "Upload_Metadata": pairs(filename="x")}
    refused(tus(car, "POST", path, **both), 400, "bad_header")
    refused(tus(car, "POST", path, Upload_Defer_Length="0", Upload_Metadata=pairs(filename="x")), 400, "bad_header")


def test_a_file_over_the_limit_is_413_before_any_byte(car, batch_id, settings):
    settings.ARGUS_MAX_FILE_BYTES = 10
    refused(create(car, batch_id, 11), 413, "file_too_large")
    refused(create(car, batch_id, 0), 422, "empty_file")
    refused(create(car, batch_id, None, b"12345678901"), 413, "file_too_large")
    assert objects() == []


@pytest.mark.parametrize(
    "metadata", ["a b c", ",", "filename x,filename x", "filename ????", "filename " + "A" * 5000, "ä eA==", "filename /w=="]
)
def test_metadata_that_cannot_be_read_are_refused(car, batch_id, metadata):
    refused(create(car, batch_id, metadata=metadata), 400, "bad_header")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, "bad_filename"),
        ({"filename": ""}, "bad_filename"),
        ({"filename": "../../x"}, "bad_filename"),
        ({"filename": "x" * 256}, "bad_filename"),
        ({"filename": "x", "sha256": "abc"}, "invalid_field"),
        ({"filename": "x", "kind": "a b"}, "invalid_field"),
        ({"filename": "x", "priority": "-1"}, "invalid_field"),
        ({"filename": "x", "priority": "40000"}, "invalid_field"),
    ],
)
def test_what_metadata_say_is_checked(car, batch_id, values, code):
    refused(create(car, batch_id, metadata=pairs(**values)), 422, code)
    assert not Upload.objects.exists()


def test_metadata_become_what_the_batch_shows(car, batch_id):
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    create(car, batch_id, metadata=pairs(name="e\u0301.blf", kind="can", priority="7", sha256=sha256.upper()))
    (upload,) = car.get(f"{API}/{batch_id}").json()["uploads"]
    assert (upload["name"], upload["kind"], upload["priority"], upload["sha256"]) == ("\u00e9.blf", "can", 7, sha256)


def test_a_batch_that_is_closed_or_unknown_takes_no_upload(car, other_car, batch_id):
    refused(create(other_car, batch_id), 404, "not_found")
    refused(create(car, "11111111-1111-4111-8111-111111111111"), 404, "not_found")
    Batch.objects.filter(pk=batch_id).update(state=BatchState.ABANDONED)
    refused(create(car, batch_id), 409, "batch_closed")


# -- creation-with-upload ----------------------------------------------------------------------------------------------


def test_a_whole_file_may_come_with_its_creation(car, batch_id):
    answer = create(car, batch_id, body=CONTENT)
    assert (answer.status_code, answer["Upload-Offset"]) == (201, str(len(CONTENT)))
    assert offset_of(car, answer["Location"]) == len(CONTENT)
    assert storage.read_bytes(File.objects.get().storage_key, 1 << 20) == CONTENT


def test_the_first_bytes_may_come_with_the_creation(car, batch_id):
    answer = create(car, batch_id, body=CONTENT[:10])
    assert (answer.status_code, answer["Upload-Offset"]) == (201, "10")
    assert patch(car, answer["Location"], CONTENT[10:], 10).status_code == 204
    assert storage.read_bytes(File.objects.get().storage_key, 1 << 20) == CONTENT


def test_more_bytes_than_the_length_are_413(car, batch_id, url):
    refused(create(car, batch_id, 5, CONTENT[:6]), 413, "file_too_large")
    patch(car, url, CONTENT[:10], 0)
    refused(patch(car, url, CONTENT, 10), 413, "file_too_large")
    assert offset_of(car, url) == 10


def test_a_small_file_takes_eleven_statements_in_two_transactions(car, batch_id):
    create(car, batch_id, body=CONTENT, metadata=pairs(filename="first"))
    with CaptureQueriesContext(connection) as ran:
        create(car, batch_id, body=CONTENT, metadata=pairs(filename="second"))
    kinds = Counter(query["sql"].partition(" ")[0] for query in ran)
    # The token, twice the batch, uploads of that name, how many there are, files with the same bytes; then upload, file and event.
    assert kinds == {"SELECT": 6, "INSERT": 3, "UPDATE": 2, "SAVEPOINT": 2, "RELEASE": 2}


# -- creation-defer-length ---------------------------------------------------------------------------------------------


def test_the_length_may_be_said_with_the_last_piece(car, batch_id):
    url = create(car, batch_id, None)["Location"]
    answer = tus(car, "HEAD", url)
    assert answer["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in answer
    patch(car, url, CONTENT[:10], 0)
    refused(patch(car, url, b"", 10, Upload_Length="9"), 422, "length_mismatch")
    assert patch(car, url, CONTENT[10:], 10, Upload_Length=str(len(CONTENT))).status_code == 204
    assert tus(car, "HEAD", url)["Upload-Length"] == str(len(CONTENT))
    assert File.objects.get().size == len(CONTENT)


def test_a_length_that_was_said_cannot_be_changed(car, url):
    refused(patch(car, url, b"", 0, Upload_Length="5"), 422, "length_mismatch")
    assert tus(car, "HEAD", url)["Upload-Length"] == str(len(CONTENT))


# -- checksum ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "crc32c"])
def test_a_wrong_checksum_is_460_and_none_of_the_piece_stays(car, url, algorithm):
    answer = patch(car, url, CONTENT[:10], 0, Upload_Checksum=checksum(algorithm, CONTENT[:10]))
    assert answer.status_code == 204
    answer = patch(car, url, CONTENT[10:20], 10, Upload_Checksum=checksum(algorithm, CONTENT[10:21]))
    refused(answer, 460, "checksum_mismatch")
    assert answer.reason_phrase == "Checksum Mismatch"
    assert offset_of(car, url) == 10
    assert patch(car, url, CONTENT[10:], 10, Upload_Checksum=checksum(algorithm, CONTENT[10:])).status_code == 204
    assert storage.read_bytes(File.objects.get().storage_key, 1 << 20) == CONTENT


def test_a_wrong_checksum_at_the_creation_leaves_an_upload_at_0(car, batch_id):
    refused(create(car, batch_id, body=CONTENT, Upload_Checksum=checksum("sha1", b"?")), 460, "checksum_mismatch")
    (upload,) = car.get(f"{API}/{batch_id}").json()["uploads"]
    assert upload["offset"] == 0
    assert create(car, batch_id, body=CONTENT, Upload_Checksum=checksum("sha1", CONTENT)).status_code == 201


@pytest.mark.parametrize("value", ["", "md5 AAAA", "sha1", "sha1 ???", "SHA1 " + "A" * 28, "crc32c AAAA AAAA"])
def test_a_checksum_that_is_not_offered_or_cannot_be_read_is_400_or_never_right(car, url, value):
    answer = patch(car, url, b"x", 0, Upload_Checksum=value)
    assert (answer.status_code, answer.json()["code"]) in {(400, "bad_header"), (460, "checksum_mismatch")}
    assert offset_of(car, url) == 0


# -- the digest of the whole -------------------------------------------------------------------------------------------


def test_a_wrong_digest_is_422_with_the_last_byte_and_all_may_come_again(car, batch_id):
    metadata = pairs(filename="x", sha256=hashlib.sha256(CONTENT).hexdigest())
    url = create(car, batch_id, metadata=metadata)["Location"]
    patch(car, url, CONTENT[:-1], 0)
    refused(patch(car, url, b"?", len(CONTENT) - 1), 422, "digest_mismatch")
    assert offset_of(car, url) == 0
    (upload,) = car.get(f"{API}/{batch_id}").json()["uploads"]
    assert (upload["state"], upload["error"]) == ("open", "digest_mismatch")
    assert patch(car, url, CONTENT, 0).status_code == 204
    assert count(batch_id) == (1, len(CONTENT), 1)


# -- termination -------------------------------------------------------------------------------------------------------


def test_a_terminated_upload_is_410_from_then_on(car, url):
    patch(car, url, CONTENT[:10], 0)
    answer = tus(car, "DELETE", url)
    assert (answer.status_code, answer["Tus-Resumable"], answer.content) == (204, "1.0.0", b"")
    assert objects() == []
    assert tus(car, "HEAD", url).status_code == 410
    refused(patch(car, url, b"x", 10), 410, "upload_expired")
    refused(tus(car, "DELETE", url), 410, "upload_expired")


def test_a_finished_upload_cannot_be_terminated(car, url, batch_id):
    patch(car, url, CONTENT, 0)
    refused(tus(car, "DELETE", url), 409, "wrong_state")
    assert count(batch_id) == (1, len(CONTENT), 1)


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_another_vehicles_upload_is_as_unknown_as_one_that_never_was(car, other_car, url, method):
    unknown = f"{UPLOADS}/11111111-1111-4111-8111-111111111111"
    options = {"content_type": OFFSET_TYPE, "Upload_Offset": "0"}
    answers = [tus(other_car, method, url, b"x", **options), tus(car, method, unknown, b"x", **options)]
    assert [answer.status_code for answer in answers] == [404, 404]
    if method != "HEAD":
        assert [{**answer.json(), "request_id": ""} for answer in answers] == [{**answers[0].json(), "request_id": ""}] * 2
    assert offset_of(car, url) == 0


# -- expiration --------------------------------------------------------------------------------------------------------


def test_creation_patch_and_head_tell_when_the_upload_expires(car, batch_id):
    created = create(car, batch_id)
    url = created["Location"]
    for answer in (created, patch(car, url, CONTENT[:10], 0), tus(car, "HEAD", url)):
        left = parsedate_to_datetime(answer["Upload-Expires"]) - timezone.now()
        assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
        assert answer["Upload-Expires"].endswith("GMT")


def test_an_expired_upload_is_410(car, url):
    Upload.objects.update(state=UploadState.EXPIRED)
    assert tus(car, "HEAD", url).status_code == 410
    refused(patch(car, url, b"x", 0), 410, "upload_expired")


# -- who else ----------------------------------------------------------------------------------------------------------


def test_an_upload_that_somebody_sends_to_is_423_with_a_time_to_come_back(car, url, monkeypatch):
    monkeypatch.setattr("files.uploads.claims.PATIENCE_SECONDS", 0)
    now = timezone.now()
    Upload.objects.update(lease_until=now + timedelta(minutes=1), heard_at=now + timedelta(minutes=1), generation=2, offset=4)
    answer = patch(car, url, b"x", 0)
    body = refused(answer, 423, "upload_busy")
    assert (body["retryable"], answer["Retry-After"]) == (True, "2")
    assert offset_of(car, url) == 4  # what is durable so far; the writer is left alone


def test_a_full_disk_is_507_and_the_offset_stays(car, url, monkeypatch):
    patch(car, url, CONTENT[:10], 0)

    def fail(*args):
        raise OSError(28, "no")

    with monkeypatch.context() as patched:
        patched.setattr("files.storage.local_part.os.write", fail)
        answer = patch(car, url, CONTENT[10:20], 10)
    assert refused(answer, 507, "disk_full")["retryable"]
    assert int(answer["Retry-After"]) > 0
    assert offset_of(car, url) == 10
    assert patch(car, url, CONTENT[10:], 10).status_code == 204


def test_without_a_token_or_the_right_nothing_is_told(url, integration, batch_id):
    anonymous = Caller()
    assert tus(anonymous, "HEAD", url).status_code == 401
    refused(patch(anonymous, url, b"x", 0), 401, "not_authenticated")
    refused(create(anonymous, batch_id), 401, "not_authenticated")
    refused(patch(integration, url, b"x", 0), 403, "permission_denied")


# -- said again --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", CONTENT[:10]], ids=["without bytes", "with bytes"])
def test_a_creation_with_a_key_is_done_once_and_then_tells_where_the_upload_stands(car, batch_id, body):
    first = create(car, batch_id, body=body, Idempotency_Key="k1")
    assert (first.status_code, first["Upload-Offset"]) == (201, str(len(body)))
    patch(car, first["Location"], CONTENT[len(body) : 50], len(body))
    again = create(car, batch_id, body=body, Idempotency_Key="k1")
    assert (again.status_code, again["Location"], again["Upload-Offset"]) == (201, first["Location"], "50")
    assert again["Tus-Resumable"] == "1.0.0"
    refused(create(car, batch_id, 5, Idempotency_Key="k1"), 422, "idempotency_mismatch")
    assert patch(car, first["Location"], CONTENT[50:], 50).status_code == 204
    assert create(car, batch_id, body=body, Idempotency_Key="k1")["Upload-Offset"] == str(len(CONTENT))
    assert (Upload.objects.count(), File.objects.count()) == (1, 1)
