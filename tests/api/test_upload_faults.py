"""A disk that is really full, and a store that fails: the offset stays, nothing is lost, and later it works."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from files.models import File
from tests.api.conftest import API, Caller, refused
from tests.files.stores import Road, bad_road, s3_server, s3_storage, says

pytestmark = pytest.mark.django_db
MEGABYTE = 1 << 20
DISK = 4 * MEGABYTE
OFFSET_TYPE = "application/offset+octet-stream"
TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = os.urandom(3 * MEGABYTE)


class Sender:
    """A vehicle with one upload."""

    def __init__(self, car: Caller, *, length: int | None) -> None:
        self.car, self.batch_id = car, car.open()
        headers = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        answer = self.create(headers)
        assert answer.status_code == 201, answer.content
        self.url = answer["Location"]

    def create(self, headers: dict[str, str]):
        """POST."""
        name = base64.b64encode(b"drive.blf").decode()
        return self.car.generic("POST", f"{API}/{self.batch_id}/uploads", headers={**TUS, **headers, "Upload-Metadata": f"filename {name}"})

    def patch(self, offset: int, data: bytes, **headers: str):
        """PATCH."""
        return self.car.generic("PATCH", self.url, data, OFFSET_TYPE, headers={**TUS, "Upload-Offset": str(offset), **headers})

    def offset(self) -> int:
        """What HEAD says."""
        answer = self.car.head(self.url, headers=TUS)
        assert answer.status_code == 200
        return int(answer["Upload-Offset"])

    def arrived(self, content: bytes) -> bool:
        """Is it the batch's one file?"""
        file = File.objects.get(batch_id=self.batch_id)
        return (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


# -- the disk ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, settings) -> Iterator[Path]:
    """A file system of four megabytes, on which the objects lie."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("A file system can be mounted by root only.")
    local = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(place / "objects"), "base_url": None}}
    settings.STORAGES = {**settings.STORAGES, "default": local}
    settings.ARGUS_DISK_RESERVE_BYTES = 0
    (place / "objects").mkdir()
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_fills_up_in_the_middle_is_507_and_the_upload_goes_on_when_there_is_room(car, small_disk):
    other = small_disk / "other"
    other.write_bytes(bytes(2 * MEGABYTE))
    up = Sender(car, length=None)
    assert up.patch(0, CONTENT[:MEGABYTE]).status_code == 204
    answer = up.patch(MEGABYTE, CONTENT[MEGABYTE:], **{"Upload-Length": str(len(CONTENT))})
    assert refused(answer, 507, "disk_full")["retryable"]
    assert answer["Retry-After"]
    assert up.offset() == MEGABYTE
    assert not File.objects.exists()
    refused(up.patch(MEGABYTE, CONTENT[MEGABYTE:]), 507, "disk_full")
    other.unlink()
    assert up.patch(MEGABYTE, CONTENT[MEGABYTE:]).status_code == 204
    assert up.arrived(CONTENT)


def test_a_file_that_has_no_room_is_refused_before_it_is_stored(car, small_disk):
    (small_disk / "other").write_bytes(bytes(2 * MEGABYTE))
    up = Sender(car, length=len(CONTENT))
    refused(up.patch(0, CONTENT), 507, "disk_full")
    assert up.offset() == 0
    refused(car.send(up.batch_id, content=CONTENT), 507, "disk_full")
    assert car.send(up.batch_id, name="small.blf", content=b"small").status_code == 201
    (small_disk / "other").unlink()
    assert up.patch(0, CONTENT).status_code == 204


def test_without_an_inode_left_it_is_507_too(car, small_disk):
    subprocess.run(["mount", "-o", "remount,nr_inodes=5", small_disk], check=True)
    for number in range(3):
        try:
            (small_disk / f"other-{number}").touch()
        except OSError:
            break
    up = Sender(car, length=7)
    refused(up.patch(0, b"content"), 507, "disk_full")
    subprocess.run(["mount", "-o", "remount,nr_inodes=100", small_disk], check=True)
    assert up.patch(0, b"content").status_code == 204
    assert up.arrived(b"content")


# -- the store -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def road(tmp_path: Path, settings) -> Iterator[Road]:
    """The way to an S3 store in which the objects lie."""
    with s3_server(tmp_path / "s3") as server, bad_road(server) as way:
        settings.STORAGES = {**settings.STORAGES, "default": s3_storage(way.url)}
        settings.ARGUS_S3_PART_BYTES = 5 * MEGABYTE  # the least that S3 takes
        yield way


@pytest.mark.parametrize("what", ["^POST .*uploads", "^PUT .*partNumber", "^PUT "], ids=["begin", "part", "anything"])
def test_a_store_that_fails_is_503_and_the_upload_goes_on_when_it_works(car, road, what):
    content = os.urandom(7 * MEGABYTE)
    up = Sender(car, length=len(content))
    assert up.patch(0, content[:MEGABYTE]).status_code == 204
    road.break_next(what, says(503), times=100)
    answer = up.patch(MEGABYTE, content[MEGABYTE:])
    assert refused(answer, 503, "storage_unavailable")["retryable"]
    assert answer["Retry-After"]
    road.mend()
    assert up.offset() == MEGABYTE
    assert not File.objects.exists()
    assert up.patch(MEGABYTE, content[MEGABYTE:]).status_code == 204
    assert up.arrived(content)


def test_a_store_that_fails_at_the_last_step_keeps_all_bytes(car, road):
    content = os.urandom(6 * MEGABYTE)
    up = Sender(car, length=len(content))
    road.break_next("^POST .*uploadId", says(503), times=100)
    refused(up.patch(0, content), 503, "storage_unavailable")
    assert not File.objects.exists()
    road.mend()
    offset = up.offset()
    if offset < len(content):
        assert up.patch(offset, content[offset:]).status_code == 204
    assert up.arrived(content)


def test_a_store_that_does_not_answer_an_offset_is_503(car, road):
    up = Sender(car, length=len(CONTENT))
    assert up.patch(0, CONTENT[:MEGABYTE]).status_code == 204
    road.break_next(".", says(503), times=100)
    assert car.head(up.url, headers=TUS).status_code == 503
    road.mend()
    assert up.offset() == MEGABYTE
