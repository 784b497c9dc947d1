"""One behaviour in three places: a local folder, and two real S3 servers."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import tracemalloc
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from common.errors import BadObject, DiskFull, FileExists, FileTooLarge, NoDirect, NotFound, StorageUnavailable, UploadBusy
from files import storage
from tests.files.stores import PART, SERVERS, Place, s3_storage

KEY = "raw/batch/file"
BIG = PART * 2 + 12345
CONTENT = os.urandom(BIG)


def in_bucket(name: str, request, settings, tmp_path: Path, **options) -> Place:
    """Below a prefix of a server's bucket that is this test's own."""
    server = request.getfixturevalue("s3_servers")(name)
    prefix = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(server.url, location=prefix, **options)}
    settings.ARGUS_S3_PART_BYTES = PART
    return Place(server=server, prefix=prefix)


@pytest.fixture(params=["local", *SERVERS])
def place(request, settings, tmp_path: Path) -> Place:
    """Where the objects of this test lie."""
    if request.param == "local":
        return Place(folder=tmp_path / "storage")
    return in_bucket(request.param, request, settings, tmp_path)


@pytest.fixture(params=SERVERS)
def s3(request, settings, tmp_path: Path) -> Place:
    """The same, without the folder."""
    return in_bucket(request.param, request, settings, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The folder of the local store."""
    return tmp_path / "storage"


class Row:
    """What is kept of an upload between two writers."""

    def __init__(self, key: str = KEY) -> None:
        self.key, self.remote_id = key, ""

    def open(self, **options):
        """Become the writer."""
        return storage.open_part(self.key, self.remote_id, keep=self.keep, **options)

    def keep(self, remote_id: str) -> None:
        """Write down."""
        self.remote_id = remote_id

    def send(self, content: bytes) -> None:
        """Append."""
        with self.open() as part:
            part.write(content)
            part.sync()

    @property
    def size(self) -> int:
        """Where the bytes end for good."""
        return storage.part_size(self.key, self.remote_id)


def write_and_publish(part: storage.Part, content: bytes) -> None:
    """The last bytes of an upload."""
    part.write(content)
    part.publish()


# -- unfinished uploads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [[BIG], [1, BIG], [PART, BIG], [PART + 1, PART + 2, BIG]], ids=str)
def test_pieces_of_several_writers_become_one_object(place, ends):
    row = Row()
    for start, end in pairwise([0, *ends]):
        row.send(CONTENT[start:end])
        assert row.size == end
        assert not storage.exists(KEY)
    with row.open() as part:
        assert (part.size, part.published) == (BIG, False)
        part.publish()
        part.publish()
        assert part.published
    assert storage.read_bytes(KEY, BIG) == CONTENT
    assert place.stored() == [KEY]


def test_an_object_that_was_published_is_recognised_and_read(place):
    row = Row()
    with row.open() as part:
        part.write(CONTENT)
        part.publish()
    assert row.size == BIG
    with row.open() as part:
        assert (part.size, part.published) == (BIG, True)
        part.publish()
        assert b"".join(bytes(block) for block in part.read()) == CONTENT
    assert place.stored() == [KEY]


def test_the_buffer_may_be_used_again(place):
    row, buffer = Row(), bytearray(b"one")
    with row.open() as part:
        part.write(memoryview(buffer))
        buffer[:] = b"two"
        part.write(memoryview(buffer))
        part.publish()
    assert storage.read_bytes(KEY, 10) == b"onetwo"


def test_what_is_cut_back_was_never_there(place):
    row = Row()
    row.send(b"one")
    with row.open() as part:
        part.write(b"wrong")
        part.truncate(3)
        part.write(b"two")
        part.sync()
    assert row.size == 6
    with row.open() as part:
        part.publish()
    assert storage.read_bytes(KEY, 10) == b"onetwo"


@pytest.mark.parametrize("published", [False, True])
def test_after_discard_writing_begins_anew(place, published):
    row = Row()
    row.send(CONTENT)
    with row.open() as part:
        if published:
            part.publish()
        part.discard()
        assert (part.size, part.published) == (0, False)
        assert row.size == 0
        part.write(b"right")
        part.publish()
    assert storage.read_bytes(KEY, 10) == b"right"
    assert place.stored() == [KEY]


@pytest.mark.parametrize("published", [False, True])
def test_a_discarded_upload_leaves_nothing_and_discarding_may_be_repeated(place, published):
    row = Row()
    row.send(CONTENT)
    if published:
        with row.open() as part:
            part.publish()
    for _ in range(2):
        storage.discard_part(KEY, row.remote_id)
        assert place.stored() == []
    assert row.size == 0


def test_a_writer_that_wrote_nothing_leaves_nothing(place):
    with Row().open() as part:
        assert part.size == 0
    assert place.stored() == []


def test_unfinished_uploads_are_found_when_they_are_old(place):
    rows = [Row("raw/1/large"), Row("raw/1/small"), Row("raw/2/other")]
    for row in rows:
        row.send(CONTENT if row.key == "raw/1/large" else b"x")
    storage.write_bytes("raw/1/whole", b"x")
    assert sorted(storage.old_parts("raw/1", timedelta(minutes=-1))) == [(row.key, row.remote_id) for row in rows[:2]]
    assert list(storage.old_parts("raw/1", timedelta(hours=1))) == []


def test_memory_does_not_grow_with_the_length(place):
    def peak(length: int) -> int:
        tracemalloc.start()
        with Row(f"raw/batch/{length}").open() as part:
            for _ in range(length >> 18):
                part.write(bytes(1 << 18))
            part.publish()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(PART)  # the client's own tables are made once
    assert peak(PART * 5) < peak(PART * 2) + (1 << 20)


def _write_and_wait(part_key: str, folder: str, ready, done) -> None:
    from files.storage.local import Local

    with Local(Path(folder)).open_part(part_key, "", 0, storage.always, lambda remote_id: None):
        ready.set()
        done.wait(30)


def test_a_local_part_has_one_writer_among_all_processes(local):
    spawn = multiprocessing.get_context("fork")
    ready, done = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_write_and_wait, args=(KEY, str(local), ready, done))
    other.start()
    assert ready.wait(30)
    try:
        with pytest.raises(UploadBusy), Row().open():
            pass
    finally:
        done.set()
        other.join()
    with Row().open() as part:
        assert part.size == 0


def test_another_object_under_the_key_is_not_replaced(place):
    if place.name == "rclone":
        pytest.skip("rclone serve s3 does not heed If-None-Match")
    with Row().open() as part:
        part.write(b"first, and longer")
        storage.write_bytes(KEY, b"other")
        with pytest.raises(FileExists):
            part.publish()
    assert storage.read_bytes(KEY, 10) == b"other"


def test_below_the_reserve_nothing_is_taken(place, settings):
    room = os.statvfs("/")
    settings.ARGUS_DISK_RESERVE_BYTES = room.f_blocks * room.f_frsize * 2
    with pytest.raises(DiskFull), Row().open():
        pass
    assert place.stored() == []


def test_an_announced_length_that_does_not_fit_is_refused_before_the_first_byte(local):
    with pytest.raises(DiskFull), Row().open(expected=2**60):
        pass


@pytest.mark.parametrize(
    ("number", "raised"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StorageUnavailable), (errno.EROFS, StorageUnavailable)],
)
@pytest.mark.parametrize("call", ["write", "fdatasync", "link", "fsync"])
def test_an_error_of_the_disk_is_typed_and_what_was_synced_stays(local, monkeypatch, number, raised, call):
    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    row = Row()
    row.send(b"one")
    with row.open() as part:
        with monkeypatch.context() as patch:
            patch.setattr(storage.local_part.os, call, fail)
            with pytest.raises(raised):
                write_and_publish(part, b"two")
        if not (local / KEY).exists():
            part.truncate(3)
    with row.open() as part:
        if part.size == 3:
            part.write(b"two")
        part.publish()
    assert storage.read_bytes(KEY, 10) == b"onetwo"


def test_a_link_in_place_of_the_unfinished_file_is_not_written_through(local, tmp_path):
    (local / "raw/batch").mkdir(parents=True)
    (local / "raw/batch/file.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises((BadObject, FileExists)), Row().open():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_nobody_is_sent_to_a_local_disk(local):
    with pytest.raises(NoDirect):
        storage.direct(KEY)


def test_an_s3_server_that_is_away_is_unavailable(settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage("http://127.0.0.1:9")}
    calls = [
        lambda: Row().open().__enter__(),
        lambda: Row().size,
        lambda: storage.discard_part(KEY),
        lambda: storage.read_bytes(KEY, 10),
        lambda: storage.write_bytes(KEY, b"x"),
        lambda: storage.exists(KEY),
        lambda: storage.delete(KEY),
        lambda: storage.delete_prefix("raw/batch"),
        lambda: storage.open_fd(KEY).__enter__(),
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable):
            call()


def test_a_wrong_secret_is_unavailable_and_not_missing(request, settings, tmp_path):
    in_bucket("rclone", request, settings, tmp_path, secret_key="wrong")  # moto_server checks no signatures
    for call in (lambda: storage.exists(KEY), lambda: Row().size, lambda: storage.discard_part(KEY)):
        with pytest.raises(StorageUnavailable):
            call()


# -- read --------------------------------------------------------------------------------------------------------------


def test_a_descriptor_reads_the_bytes_and_cannot_write(place):
    content = CONTENT
    storage.write_bytes(KEY, content)
    with storage.open_fd(KEY) as descriptor:
        assert os.pread(descriptor, BIG + 1, 0) == content
        with pytest.raises(OSError):
            os.write(descriptor, b"x")
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_fetched_object_has_no_name_on_the_disk(s3):
    storage.write_bytes(KEY, b"x")
    with storage.open_fd(KEY) as descriptor:
        assert os.fstat(descriptor).st_nlink == 0


def test_a_file_is_read_at_any_place(place):
    content = CONTENT
    storage.write_bytes(KEY, content)
    with storage.open_file(KEY) as file:
        assert file.seekable()
        file.seek(-7, os.SEEK_END)
        assert file.read() == content[-7:]
        file.seek(PART - 3)
        assert file.read(6) == content[PART - 3 : PART + 3]
        file.seek(0)
        assert file.read() == content


def test_parquet_is_read_from_the_store(place, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"t": list(range(200_000)), "v": [float(n) for n in range(200_000)]})
    pq.write_table(table, tmp_path / "t.parquet")
    storage.write_bytes("results/file/1/t.parquet", (tmp_path / "t.parquet").read_bytes())
    with storage.open_file("results/file/1/t.parquet") as file:
        assert pq.read_table(file).equals(table)


def test_an_object_replaced_while_it_is_read_is_an_error(s3):
    storage.write_bytes(KEY, bytes(BIG))
    with storage.open_file(KEY) as file:
        file.read(10)
        storage.write_bytes(KEY, b"\1" * BIG)
        with pytest.raises(StorageUnavailable):
            file.read()


def test_read_bytes_has_a_limit(place):
    storage.write_bytes(KEY, b"12345")
    assert storage.read_bytes(KEY, 5) == b"12345"
    with pytest.raises(FileTooLarge):
        storage.read_bytes(KEY, 4)


def test_a_missing_object_is_not_found(place):
    assert not storage.exists(KEY)
    with pytest.raises(NotFound):
        storage.read_bytes(KEY, 10)
    with pytest.raises(NotFound), storage.open_fd(KEY):
        pass


@pytest.mark.parametrize("sort", ["symlink", "folder", "fifo", "socket"])
def test_only_regular_files_are_opened(local, tmp_path, sort):
    (local / "raw/batch").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("not an object")
    target = local / KEY
    if sort == "symlink":
        target.symlink_to(secret)
    elif sort == "folder":
        target.mkdir()
    elif sort == "fifo":
        os.mkfifo(target)
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as server:
            short = Path(f"/tmp/argus-{os.getpid()}.sock")
            server.bind(str(short))
            os.rename(short, target)
    with pytest.raises((BadObject, StorageUnavailable)), storage.open_fd(KEY):
        pass


def test_a_link_in_place_of_a_folder_is_not_followed(local, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("not an object")
    (local / "raw").mkdir(parents=True)
    (local / "raw/batch").symlink_to(elsewhere)
    with pytest.raises((BadObject, NotFound)), storage.open_fd(KEY):
        pass


# -- write, delete -----------------------------------------------------------------------------------------------------


def test_writing_replaces(place):
    storage.write_bytes(KEY, b"first, and longer")
    storage.write_bytes(KEY, b"second")
    assert storage.read_bytes(KEY, 100) == b"second"
    assert place.stored() == [KEY]


def test_a_folder_is_stored_with_everything_below(place, tmp_path):
    folder = tmp_path / "out"
    (folder / "streams").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "summary.json").write_text("{}")
    (folder / "streams/Engine Speed.parquet").write_bytes(bytes(PART + 1))
    storage.put_folder("results/file/1", folder)
    assert place.stored() == ["results/file/1/streams/Engine Speed.parquet", "results/file/1/summary.json"]
    assert storage.read_bytes("results/file/1/streams/Engine Speed.parquet", PART + 1) == bytes(PART + 1)


def test_a_folder_with_a_link_is_not_stored_at_all(place, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    (folder / "z").symlink_to("/etc/passwd")
    with pytest.raises(BadObject):
        storage.put_folder("results/file/1", folder)
    assert place.stored() == []


def test_deleting_may_be_repeated(place):
    storage.write_bytes(KEY, b"x")
    storage.delete(KEY)
    assert place.stored() == []
    storage.delete(KEY)
    storage.delete("raw/never/there")


def test_deleting_removes_what_a_killed_receiver_left(local):
    (local / "raw/batch").mkdir(parents=True)
    (local / "raw/batch/file.part").write_bytes(b"half")
    storage.delete(KEY)
    assert Place(folder=local).stored() == []


def test_deleting_a_prefix_spares_its_neighbours(place):
    for key in ("raw/1/a", "raw/1/b", "raw/11/a", "results/1/1/x"):
        storage.write_bytes(key, b"x")
    storage.delete_prefix("raw/1")
    assert place.stored() == ["raw/11/a", "results/1/1/x"]
    storage.delete_prefix("raw/1")


def test_deleting_a_prefix_takes_unfinished_uploads_along(place):
    Row().send(CONTENT)
    Row("raw/batch/small").send(b"x")
    storage.delete_prefix("raw/batch")
    assert place.stored() == []


def test_deleting_a_prefix_takes_more_objects_than_one_request(s3, monkeypatch):
    monkeypatch.setattr("files.storage.s3.DELETE_AT_ONCE", 5)
    for number in range(12):
        storage.write_bytes(f"raw/batch/{number}", b"x")
    storage.delete_prefix("raw/batch")
    assert s3.stored() == []


@pytest.mark.parametrize(
    "key", ["", "raw", "/raw/x", "raw//x", "raw/../x", "raw/./x", "raw/x\0", "raw\\x/y", "raw/x.part", "raw/" + "x" * 1000]
)
def test_a_key_that_argus_would_not_make_is_a_bug(place, key):
    for call in (storage.exists, storage.delete, storage.delete_prefix, lambda key: storage.write_bytes(key, b"x")):
        if key == "raw" and call is not storage.delete_prefix:
            continue
        with pytest.raises(ValueError):
            call(key)
    assert place.stored() == []
