"""Unfinished uploads in S3 stores: continued on another host, through lost answers, refusals and kills, on two real servers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from common.errors import DiskFull, FileExists, StorageUnavailable, UploadLost
from files import storage, uploads
from files.storage import s3_part
from files.uploads import ends
from tests import factories
from tests.files.stores import (
    BUCKET,
    PART,
    SERVERS,
    Place,
    Road,
    bad_road,
    does_but_says,
    lost,
    never,
    s3_storage,
    says,
    with_header,
)
from tests.files.stores import (
    KEY as ACCESS,
)

KEY = "raw/batch/file"
CONTENT = os.urandom(2 * PART + 12345)
SEND_PART = r"PUT .*partNumber="
PUT_TAIL = r"PUT [^?]*\.part$"
BEGIN = r"POST .*\?uploads"
COMPLETE = r"POST .*\?uploadId="
PUT_OBJECT = r"PUT [^?]*/file$"
HEAD = r"HEAD .*/file$"


@dataclass
class Upload:
    """An upload to a bad road, as the rows know it; each `host` has temporary files of its own and remembers nothing."""

    road: Road
    place: Place
    settings: Any
    hosts: Path
    remote_id: str = ""
    kept: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, host: str = "a", key: str = KEY, still_mine=storage.always) -> Iterator[storage.Part]:
        """Become the writer, on that host."""
        self.settings.DATA_DIR = self.hosts / host
        self.settings.DATA_DIR.mkdir(exist_ok=True)
        with storage.open_part(key, self.remote_id, still_mine=still_mine, keep=self.keep) as part:
            yield part
        assert list(self.settings.DATA_DIR.iterdir()) == []

    def keep(self, remote_id: str) -> None:
        """In the row."""
        self.remote_id = remote_id
        self.kept.append(remote_id)

    def send(self, content: bytes, host: str = "a", chunk: int = 300_000) -> int:
        """What one request does: go on where the bytes end; where they end then."""
        with self.open(host) as part:
            write(part, content[part.size :], chunk)
            part.sync()
            return part.size

    @property
    def size(self) -> int:
        """Where the bytes end, as another host sees it."""
        return storage.part_size(KEY, self.remote_id)

    def read(self) -> bytes:
        """The published object."""
        return storage.read_bytes(KEY, 1 << 30)


def write(part: storage.Part, content: bytes, chunk: int = 300_000) -> None:
    """From one buffer that is used again, as from a socket."""
    buffer = bytearray(chunk)
    for at in range(0, len(content), chunk):
        piece = content[at : at + chunk]
        buffer[: len(piece)] = piece
        part.write(memoryview(buffer)[: len(piece)])


@pytest.fixture(params=SERVERS)
def up(request, s3_servers, settings, tmp_path: Path) -> Iterator[Upload]:
    """An upload that has no bytes yet."""
    server = s3_servers(request.param)
    prefix = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    settings.ARGUS_S3_PART_BYTES = PART
    settings.ARGUS_DISK_RESERVE_BYTES = 0
    with bad_road(server) as road:
        settings.STORAGES = {**settings.STORAGES, "default": s3_storage(road.url, location=prefix)}
        (tmp_path / "hosts").mkdir()
        yield Upload(road, Place(server=server, prefix=prefix), settings, tmp_path / "hosts")


# -- slices on two hosts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ends",
    [
        [len(CONTENT)],
        [1, 2, 3, len(CONTENT)],
        [PART - 1, PART, PART + 1, 2 * PART, len(CONTENT)],
        [3 << 20, 7 << 20, len(CONTENT)],
    ],
    ids=str,
)
def test_slices_sent_to_two_hosts_by_turns_become_one_object(up, ends):
    for turn, end in enumerate(ends):
        assert up.send(CONTENT[:end], host="ab"[turn % 2]) == end
        assert up.size == end
    with up.open("c") as part:
        part.publish()
        assert part.published
    assert up.read() == CONTENT
    assert up.place.stored() == [KEY]
    assert up.size == len(CONTENT)


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 3 * PART])
def test_a_file_in_one_go_is_not_stored_before_it_is_published(up, size):
    with up.open() as part:
        write(part, CONTENT[:size])
        assert up.place.stored() == []
        part.publish()
        part.publish()
    assert up.read() == CONTENT[:size]
    assert up.place.stored() == [KEY]


def test_a_small_file_is_one_request_and_a_look_at_it(up):
    with up.open() as part:
        write(part, CONTENT[:1000])
        before = len(up.road.passed)
        part.publish()
    assert [line.split()[0] for line in up.road.passed[before:]] == ["PUT", "HEAD", "DELETE"]
    assert up.remote_id == ""


def test_all_parts_but_the_last_have_the_least_size_and_more(up):
    for end in range(2 << 20, len(CONTENT), 2 << 20):
        up.send(CONTENT[:end])
    sent = s3_part.listed(_store(), KEY, up.remote_id)
    assert sent
    assert min(part.size for part in sent) >= PART


def test_parts_are_listed_page_by_page(up):
    up.send(CONTENT)
    _store().client.meta.events.register("provide-client-params.s3.ListParts", lambda params, **_: {**params, "MaxParts": 1})
    before = up.road.count(r"GET .*uploadId=")
    assert up.size == len(CONTENT)
    assert up.road.count(r"GET .*uploadId=") - before == 2


def test_parts_grow_where_ten_thousand_would_not_suffice(up, settings):
    settings.ARGUS_MAX_FILE_BYTES = 60_000 * (1 << 20)
    up.send(CONTENT)
    sizes = [part.size for part in s3_part.listed(_store(), KEY, up.remote_id)]
    assert sizes == [-(-settings.ARGUS_MAX_FILE_BYTES // 9_999)]
    assert up.size == len(CONTENT)


# -- taking back -------------------------------------------------------------------------------------------------------


def test_what_was_not_synced_can_be_taken_back(up):
    up.send(CONTENT[:1000])
    with up.open() as part:
        write(part, CONTENT[: PART * 2])
        part.truncate(1000)
        assert part.size == 1000
        write(part, CONTENT[1000 : PART + 1])
        part.sync()
    assert up.size == PART + 1
    with up.open("b") as part:
        part.publish()
    assert up.read() == CONTENT[: PART + 1]


def test_after_discard_nothing_is_left_and_writing_begins_anew(up):
    up.send(CONTENT[: PART + 1000])
    with up.open("b") as part:
        part.discard()
        assert (part.size, part.remote_id, up.remote_id) == (0, "", "")
        assert up.place.stored() == []
        write(part, CONTENT[:2000])
        part.sync()
    assert up.send(CONTENT) == len(CONTENT)
    with up.open() as part:
        part.publish()
    assert up.read() == CONTENT


def test_a_published_object_can_be_discarded(up):
    with up.open() as part:
        write(part, CONTENT)
        part.publish()
        part.discard()
        assert (part.size, part.published) == (0, False)
        assert up.place.stored() == []


@pytest.mark.parametrize("size", [1000, PART + 1000])
def test_discarding_an_upload_leaves_nothing_and_may_be_repeated(up, size):
    up.send(CONTENT[:size])
    up.send(CONTENT[: size + 1], host="b")
    orphan = up.place.server.client.create_multipart_upload(Bucket=BUCKET, Key=f"{up.place.prefix}/{KEY}")
    assert orphan["UploadId"]
    storage.discard_part(KEY, up.remote_id)
    assert up.place.stored() == []
    storage.discard_part(KEY, up.remote_id)
    assert storage.part_size(KEY, up.remote_id) == 0


def test_discarding_spares_uploads_whose_keys_begin_alike(up):
    up.send(CONTENT[: PART + 1])
    remote_id, up.remote_id = up.remote_id, ""
    with up.open(key=KEY + "2") as part:
        write(part, CONTENT[: PART + 1])
        part.sync()
    storage.discard_part(KEY, remote_id)
    assert up.place.stored() == [f"{KEY}2 (unfinished)", f"{KEY}2.part"]


def test_old_unfinished_uploads_are_found(up):
    up.send(CONTENT[: PART + 1])
    with up.open(key="raw/batch/small") as part:
        part.write(b"tail")
        part.sync()
    storage.write_bytes("raw/batch/whole", b"x")
    assert sorted(storage.old_parts("raw", timedelta(seconds=-60))) == [("raw/batch/file", up.remote_id), ("raw/batch/small", "")]
    assert list(storage.old_parts("raw", timedelta(hours=1))) == []


# -- a store that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [BEGIN, SEND_PART, PUT_TAIL], ids=["begin", "part", "tail"])
@pytest.mark.parametrize("fault", [says(503, "SlowDown"), never, lost], ids=["503", "never", "lost"])
def test_what_was_stored_survives_a_sync_that_fails(up, what, fault):
    up.send(CONTENT[:1000])
    up.road.break_next(what, fault)
    with up.open() as part:
        write(part, CONTENT[1000 : PART + 5])
        with pytest.raises(StorageUnavailable):
            part.sync()
        part.truncate(1000)
    assert up.size >= 1000
    up.road.mend()
    with up.open("b") as part:
        write(part, CONTENT[part.size : PART + 10])
        part.publish()
    assert up.read() == CONTENT[: PART + 10]
    storage.discard_part(KEY, up.remote_id)
    assert up.place.stored() == []


def test_each_failing_part_leaves_the_offset_at_what_is_stored(up):
    up.road.break_next(SEND_PART, says(503), after=1)
    with up.open() as part:
        write(part, CONTENT)
        with pytest.raises(StorageUnavailable):
            part.sync()
        part.truncate(0)
        assert part.size == up.size == PART
    assert up.send(CONTENT, "b") == len(CONTENT)


@pytest.mark.parametrize("code", ["QuotaExceeded", "InsufficientCapacity"])
@pytest.mark.parametrize("what", [SEND_PART, PUT_TAIL], ids=["part", "tail"])
def test_a_full_store_is_told_apart_from_one_that_fails(up, what, code):
    up.road.break_next(what, says(403, code))
    with up.open() as part:
        write(part, CONTENT[: PART + 1])
        with pytest.raises(DiskFull):
            part.sync()
    up.road.break_next(what, says(507))
    with up.open() as part:
        write(part, CONTENT[part.size : PART + 2])
        with pytest.raises(DiskFull):
            part.sync()


def test_a_full_disk_of_the_host_is_disk_full(up, settings):
    room = os.statvfs("/")
    settings.ARGUS_DISK_RESERVE_BYTES = room.f_blocks * room.f_frsize * 2
    with pytest.raises(DiskFull), up.open():
        pass


def test_a_store_that_does_not_answer_is_unavailable(up, settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage("http://127.0.0.1:9")}
    for call in (
        lambda: up.open().__enter__(),
        lambda: up.size,
        lambda: storage.discard_part(KEY),
        lambda: list(storage.old_parts("raw", timedelta())),
    ):
        with pytest.raises(StorageUnavailable):
            call()


# -- publish -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, PART * 2])
@pytest.mark.parametrize("fault", [lost, does_but_says(500)], ids=["lost", "500"])
def test_an_object_that_was_made_though_the_answer_says_otherwise_is_recognised(up, size, fault):
    up.road.break_next(PUT_OBJECT if size < PART else COMPLETE, fault)
    with up.open() as part:
        write(part, CONTENT[:size])
        try:
            part.publish()
        except StorageUnavailable:
            assert not part.published
    with up.open("b") as part:
        assert (part.published, part.size) == (True, size)
        part.publish()
        assert b"".join(part.read()) == CONTENT[:size]
    assert [key for key in up.place.stored() if "file.part" not in key] == [KEY]


@pytest.mark.parametrize("fault", [says(200), says(503), never], ids=["200 with an error", "503", "never"])
def test_an_object_that_was_not_made_is_made_at_the_next_try(up, fault):
    up.send(CONTENT)
    up.road.break_next(COMPLETE, fault)
    with up.open() as part:
        with pytest.raises(StorageUnavailable):
            part.publish()
        assert not part.published
    assert up.size == len(CONTENT)
    with up.open("b") as part:
        part.publish()
    assert up.read() == CONTENT
    assert up.place.stored() == [KEY]


def test_the_client_tries_again_by_itself(up, settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(up.road.url, location=up.place.prefix, attempts=3)}
    for what in (BEGIN, SEND_PART, COMPLETE):
        up.road.break_next(what, says(200) if what == COMPLETE else says(503))
    with up.open() as part:
        write(part, CONTENT)
        part.publish()
    assert up.read() == CONTENT


@pytest.mark.parametrize("size", [1000, PART * 2])
def test_an_answer_lost_before_a_try_that_finds_nothing_to_do(up, settings, size):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(up.road.url, location=up.place.prefix, attempts=3)}
    up.road.break_next(PUT_OBJECT if size < PART else COMPLETE, lost)
    with up.open() as part:
        write(part, CONTENT[:size])
        part.publish()
        assert part.published
    assert up.read() == CONTENT[:size]


def test_an_object_cut_by_the_store_is_not_taken_for_whole(up):
    up.send(CONTENT)
    up.road.break_next(HEAD, with_header("Content-Length", "100"))
    with up.open() as part, pytest.raises(FileExists):
        part.publish()


def test_a_store_that_lost_the_object_is_unavailable(up):
    with up.open() as part:
        write(part, CONTENT[:1000])
        up.road.break_next(PUT_OBJECT, lambda server: type(server())(200, [("ETag", '"x"')], b""))
        up.road.break_next(HEAD, says(404, "NoSuchKey"))
        with pytest.raises(StorageUnavailable):
            part.publish()


@pytest.mark.parametrize("size", [1000, PART * 2])
def test_another_object_under_the_key_is_not_replaced(up, size):
    if up.place.name == "rclone":
        pytest.skip("rclone serve s3 does not heed If-None-Match")
    with up.open() as part:
        write(part, CONTENT[:size])
        storage.write_bytes(KEY, b"other")
        with pytest.raises(FileExists):
            part.publish()
    assert up.read() == b"other"


@pytest.mark.parametrize("size", [1000, PART * 2])
def test_a_store_that_knows_no_conditions_is_asked_without(up, size):
    up.road.break_next(PUT_OBJECT if size < PART else COMPLETE, says(501, "NotImplemented"))
    with up.open() as part:
        write(part, CONTENT[:size])
        part.publish()
    assert up.read() == CONTENT[:size]


def test_a_part_of_wrong_bytes_is_refused_by_its_md5(up):
    if up.place.name == "moto":
        pytest.skip("moto_server does not compare Content-MD5")
    client = _store().client
    with pytest.raises(Exception, match="BadDigest"):
        client.put_object(Bucket=BUCKET, Key="x", Body=b"other", ContentMD5=s3_part._md5(b"content"))
    up.send(CONTENT[: PART + 1])
    assert up.road.count(SEND_PART) == 1


# -- kills, evictions, and stores that forget --------------------------------------------------------------------------


def test_a_writer_that_was_evicted_makes_nothing_visible(up):
    up.send(CONTENT[:1000])
    before = [line for line in up.road.passed if line.startswith(("PUT", "POST"))]

    def evicted() -> None:
        raise UploadLost

    for step in ("sync", "publish"):
        with up.open(still_mine=evicted) as part:
            write(part, CONTENT[1000 : PART + 2000])
            with pytest.raises(UploadLost):
                getattr(part, step)()
    begun = [line for line in up.road.passed if line.startswith(("PUT", "POST")) and "?uploads" not in line]
    assert begun == [line for line in before if "?uploads" not in line]
    assert up.size == 1000


def test_a_writer_keeps_its_upload_while_the_store_takes_its_time(up, monkeypatch):
    monkeypatch.setattr(s3_part, "BEAT_SECONDS", 0)
    asked = []
    with up.open(still_mine=lambda: asked.append(len(up.road.passed))) as part:
        write(part, CONTENT)
        part.sync()
    assert len(asked) > len(CONTENT) >> 20


def test_a_writer_that_is_evicted_while_it_sends_ends_after_that_part(up, monkeypatch):
    monkeypatch.setattr(s3_part, "BEAT_SECONDS", 0)
    asked = []

    def evicted_at_the_third_look() -> None:
        asked.append(None)
        if len(asked) > 2:
            raise UploadLost

    with up.open(still_mine=evicted_at_the_third_look) as part:
        write(part, CONTENT)
        with pytest.raises(UploadLost):
            part.sync()
    assert up.road.count(SEND_PART) == 1
    assert up.size == PART


def test_a_new_upload_that_no_row_keeps_is_ended(up):
    def refuse(remote_id: str) -> None:
        raise UploadLost

    up.keep = refuse
    with up.open() as part:
        write(part, CONTENT[: PART + 1])
        with pytest.raises(UploadLost):
            part.sync()
    assert up.place.stored() == []


@pytest.mark.parametrize("killed_before", [SEND_PART, PUT_TAIL], ids=["part", "tail"])
def test_a_kill_between_two_steps_of_sync_counts_no_byte_twice(up, killed_before):
    up.send(CONTENT[:1000])
    up.road.break_next(killed_before, never)
    with up.open() as part:
        write(part, CONTENT[1000 : PART + 500])
        with pytest.raises(StorageUnavailable):
            part.sync()
    # The tail of before still lies there; the part that was sent begins with it.
    assert up.size == (1000 if killed_before == SEND_PART else PART)
    assert up.send(CONTENT, "b") == len(CONTENT)
    with up.open() as part:
        part.publish()
    assert up.read() == CONTENT


def test_a_part_replaced_by_a_writer_that_was_evicted_is_noticed(up):
    if up.place.name == "rclone":
        pytest.skip("rclone serve s3 replaces no parts")
    up.send(CONTENT[: 2 * PART + 1000])
    up.place.server.client.upload_part(
        Bucket=BUCKET, Key=f"{up.place.prefix}/{KEY}", UploadId=up.remote_id, PartNumber=2, Body=os.urandom(PART)
    )
    assert up.size == 0
    assert up.send(CONTENT, "b") == len(CONTENT)
    with up.open() as part:
        part.publish()
    assert up.read() == CONTENT


def test_a_part_replaced_under_a_living_writer_is_noticed_at_the_end(up):
    if up.place.name == "rclone":
        pytest.skip("rclone serve s3 replaces no parts")
    with up.open() as part:
        write(part, CONTENT)
        part.sync()
        up.place.server.client.upload_part(
            Bucket=BUCKET, Key=f"{up.place.prefix}/{KEY}", UploadId=up.remote_id, PartNumber=2, Body=os.urandom(PART)
        )
        with pytest.raises(StorageUnavailable):
            part.publish()
    assert up.size == 0


def test_an_upload_that_the_store_has_ended_begins_again(up):
    up.send(CONTENT[: 2 * PART + 1000])
    up.place.server.client.abort_multipart_upload(Bucket=BUCKET, Key=f"{up.place.prefix}/{KEY}", UploadId=up.remote_id)
    assert up.size == 0
    assert up.send(CONTENT, "b") == len(CONTENT)
    with up.open() as part:
        part.publish()
    assert up.read() == CONTENT


@pytest.mark.parametrize("damage", ["cut", "changed", "headless"])
def test_a_tail_that_the_store_has_damaged_does_not_count(up, damage):
    up.send(CONTENT[: PART + 1000])
    s3, name = up.place.server.client, f"{up.place.prefix}/{KEY}.part"
    body = s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()
    broken = {"cut": body[:-1], "changed": body[:-1] + bytes([body[-1] ^ 1]), "headless": body[:100]}[damage]
    s3.put_object(Bucket=BUCKET, Key=name, Body=broken)
    with up.open("b") as part:
        assert part.size == PART
    assert up.send(CONTENT, "b") == len(CONTENT)
    with up.open() as part:
        part.publish()
    assert up.read() == CONTENT


def test_what_a_killed_publisher_left_goes_when_the_upload_is_opened_again(up):
    up.send(CONTENT[: PART + 1000])
    up.road.break_next(r"DELETE .*\.part", never)
    with up.open() as part:
        part.publish()
        assert part.published
    assert up.place.stored() == [KEY, f"{KEY}.part"]
    with up.open("b") as part:
        assert part.published
    assert up.place.stored() == [KEY]


@pytest.mark.django_db
def test_the_sweep_spares_the_object_of_a_file_whose_upload_is_forgotten(up, monkeypatch):
    batch = factories.batch()
    left, stray = f"raw/{batch.pk}/{uuid4()}", f"raw/{batch.pk}/{uuid4()}"
    for key in (left, stray):
        with up.open(key=key) as part:
            part.write(b"x")
            part.sync()
    factories.file(batch, id=left.rpartition("/")[2], storage_key=left)
    storage.write_bytes(left, b"the file")
    monkeypatch.setattr(ends, "LEFT_BYTES", timedelta(seconds=-60))
    assert uploads.collect_strays() == 1
    assert up.place.stored() == [left, f"{left}.part"]


def test_the_header_of_a_tail_says_no_more_than_its_use(up):
    up.send(b"tail")
    body = up.place.server.client.get_object(Bucket=BUCKET, Key=f"{up.place.prefix}/{KEY}.part")["Body"].read()
    assert body[s3_part.HEADER_BYTES :] == b"tail"
    assert json.loads(body[: s3_part.HEADER_BYTES]).keys() == {"after", "seal", "size", "sha256"}
    assert ACCESS.encode() not in body


def _store() -> Any:
    return storage._backend()
