"""One behaviour on two stores: a local folder, and a real S3 server."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import BadObject, DiskFull, FileExists, FileTooLarge, NotFound, StorageUnavailable
from files import storage
from tests.files.stores import BUCKET, PART, s3_server, s3_storage

KEY = "raw/batch/file"
BIG = PART * 3 + 12345


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A running S3 server and the folder under its bucket."""
    folder = tmp_path_factory.mktemp("s3") / "objects"
    with s3_server(folder) as endpoint:
        yield endpoint, folder / BUCKET


@pytest.fixture(params=["local", "s3"])
def root(request, settings, tmp_path: Path) -> Path:
    """The folder in which the objects of this test lie."""
    if request.param == "local":
        return tmp_path / "storage"
    endpoint, folder = request.getfixturevalue("s3")
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(endpoint, location=tmp_path.name)}
    return folder / tmp_path.name


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The folder of the local store."""
    return tmp_path / "storage"


def stored(root: Path) -> list[str]:
    """Every file that lies in the store, finished or not."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


def pieces(content: bytes, size: int = 300_000) -> Iterator[bytes]:
    """Content as it comes from a socket."""
    for at in range(0, len(content), size):
        yield content[at : at + size]


# -- receive -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, PART - 1, PART, PART + 1, BIG])
def test_what_is_received_is_stored_counted_and_hashed(root, length):
    content = os.urandom(length)
    received = storage.receive(KEY, pieces(content), limit=BIG)
    assert received == storage.Received(length, hashlib.sha256(content).hexdigest())
    assert storage.read_bytes(KEY, BIG) == content
    assert stored(root) == [KEY]


def test_progress_is_told_after_every_chunk_in_the_callers_thread(root):
    told = []
    storage.receive(KEY, pieces(bytes(1000), 400), limit=1000, on_progress=lambda size: told.append((size, threading.current_thread())))
    assert told == [(size, threading.current_thread()) for size in (400, 800, 1000)]


def test_memory_does_not_grow_with_the_length(root):
    def peak(length: int) -> int:
        tracemalloc.start()
        storage.receive(f"raw/batch/{length}", (bytes(1 << 18) for _ in range(length >> 18)), limit=length)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(PART)  # the client's own tables are made once
    assert peak(PART * 12) < peak(PART * 4) + (2 << 20)


@pytest.mark.parametrize("length", [1001, BIG])
def test_more_than_the_limit_is_refused_and_leaves_nothing(root, length):
    with pytest.raises(FileTooLarge):
        storage.receive(KEY, pieces(bytes(length)), limit=length - 1)
    assert stored(root) == []


@pytest.mark.parametrize("error", [OSError(errno.ECONNRESET, "gone"), ValueError("broken"), LookupError()])
@pytest.mark.parametrize("length", [500, BIG])
def test_an_error_of_the_sender_comes_out_as_it_is_and_leaves_nothing(root, error, length):
    def chunks():
        yield from pieces(bytes(length))
        raise error

    with pytest.raises(type(error)) as caught:
        storage.receive(KEY, chunks(), limit=BIG * 2)
    assert caught.value is error
    assert stored(root) == []


def test_an_error_while_telling_progress_leaves_nothing(root):
    def refuse(size: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        storage.receive(KEY, pieces(bytes(BIG)), limit=BIG, on_progress=refuse)
    assert stored(root) == []


def test_a_key_in_use_is_not_overwritten(local):
    storage.receive(KEY, [b"first"], limit=10)
    with pytest.raises(FileExists):
        storage.receive(KEY, [b"second"], limit=10)
    assert storage.read_bytes(KEY, 10) == b"first"
    assert stored(local) == [KEY]


def test_a_file_has_no_name_until_it_is_whole(local):
    def chunks():
        yield b"one"
        assert not storage.exists(KEY)
        yield b"two"

    storage.receive(KEY, chunks(), limit=10)
    assert storage.read_bytes(KEY, 10) == b"onetwo"


def test_below_the_reserve_nothing_is_taken(local, settings):
    room = os.statvfs("/")
    settings.ARGUS_DISK_RESERVE_BYTES = room.f_blocks * room.f_frsize * 2
    with pytest.raises(DiskFull):
        storage.receive(KEY, [b"x"], limit=10)
    assert stored(local) == []


def test_an_announced_length_that_does_not_fit_is_refused_before_the_first_byte(local):
    def chunks():
        raise AssertionError("a byte was read")
        yield b""

    with pytest.raises(DiskFull):
        storage.receive(KEY, chunks(), limit=2**62, expected=2**60)


@pytest.mark.parametrize(
    ("number", "raised"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StorageUnavailable), (errno.EROFS, StorageUnavailable)],
)
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_an_error_of_the_disk_is_typed_and_leaves_nothing(local, monkeypatch, number, raised, call):
    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(storage.local.os, call, fail)
        with pytest.raises(raised):
            storage.receive(KEY, [b"x" * 100], limit=100)
    assert stored(local) == []
    storage.receive(KEY, [b"x" * 100], limit=100)
    assert stored(local) == [KEY]


def test_a_link_in_place_of_the_unfinished_file_is_not_written_through(local, tmp_path):
    (local / "raw/batch").mkdir(parents=True)
    (local / "raw/batch/file.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExists):
        storage.receive(KEY, [b"x"], limit=10)
    assert not (tmp_path / "elsewhere").exists()


def test_an_s3_server_that_is_away_is_unavailable(settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage("http://127.0.0.1:9")}
    calls = [
        lambda: storage.receive(KEY, [b"x"], limit=10),
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


def test_a_wrong_secret_is_unavailable_and_not_missing(s3, settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(s3[0], secret_key="wrong")}
    with pytest.raises(StorageUnavailable):
        storage.exists(KEY)


# -- read --------------------------------------------------------------------------------------------------------------


def test_a_descriptor_reads_the_bytes_and_cannot_write(root):
    content = os.urandom(BIG)
    storage.receive(KEY, pieces(content), limit=BIG)
    with storage.open_fd(KEY) as descriptor:
        assert os.pread(descriptor, BIG + 1, 0) == content
        with pytest.raises(OSError):
            os.write(descriptor, b"x")
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_fetched_object_has_no_name_on_the_disk(s3, settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(s3[0], location="fetched")}
    storage.write_bytes(KEY, b"x")
    with storage.open_fd(KEY) as descriptor:
        assert os.fstat(descriptor).st_nlink == 0


def test_a_file_is_read_at_any_place(root):
    content = os.urandom(BIG)
    storage.receive(KEY, pieces(content), limit=BIG)
    with storage.open_file(KEY) as file:
        assert file.seekable()
        file.seek(-7, os.SEEK_END)
        assert file.read() == content[-7:]
        file.seek(PART - 3)
        assert file.read(6) == content[PART - 3 : PART + 3]
        file.seek(0)
        assert file.read() == content


def test_parquet_is_read_from_the_store(root, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"t": list(range(200_000)), "v": [float(n) for n in range(200_000)]})
    pq.write_table(table, tmp_path / "t.parquet")
    storage.write_bytes("results/file/1/t.parquet", (tmp_path / "t.parquet").read_bytes())
    with storage.open_file("results/file/1/t.parquet") as file:
        assert pq.read_table(file).equals(table)


def test_an_object_replaced_while_it_is_read_is_an_error(s3, settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(s3[0], location="replaced")}
    storage.write_bytes(KEY, bytes(BIG))
    with storage.open_file(KEY) as file:
        file.read(10)
        storage.write_bytes(KEY, b"\1" * BIG)
        with pytest.raises(StorageUnavailable):
            file.read()


def test_read_bytes_has_a_limit(root):
    storage.write_bytes(KEY, b"12345")
    assert storage.read_bytes(KEY, 5) == b"12345"
    with pytest.raises(FileTooLarge):
        storage.read_bytes(KEY, 4)


def test_a_missing_object_is_not_found(root):
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


def test_writing_replaces(root):
    storage.write_bytes(KEY, b"first, and longer")
    storage.write_bytes(KEY, b"second")
    assert storage.read_bytes(KEY, 100) == b"second"
    assert stored(root) == [KEY]


def test_a_folder_is_stored_with_everything_below(root, tmp_path):
    folder = tmp_path / "out"
    (folder / "streams").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "summary.json").write_text("{}")
    (folder / "streams/Engine Speed.parquet").write_bytes(bytes(PART + 1))
    storage.put_folder("results/file/1", folder)
    assert stored(root) == ["results/file/1/streams/Engine Speed.parquet", "results/file/1/summary.json"]
    assert storage.read_bytes("results/file/1/streams/Engine Speed.parquet", PART + 1) == bytes(PART + 1)


def test_a_folder_with_a_link_is_not_stored_at_all(root, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    (folder / "z").symlink_to("/etc/passwd")
    with pytest.raises(BadObject):
        storage.put_folder("results/file/1", folder)
    assert stored(root) == []


def test_deleting_may_be_repeated(root):
    storage.write_bytes(KEY, b"x")
    storage.delete(KEY)
    assert stored(root) == []
    storage.delete(KEY)
    storage.delete("raw/never/there")


def test_deleting_removes_what_a_killed_receiver_left(local):
    (local / "raw/batch").mkdir(parents=True)
    (local / "raw/batch/file.part").write_bytes(b"half")
    storage.delete(KEY)
    assert stored(local) == []


def test_deleting_a_prefix_spares_its_neighbours(root):
    for key in ("raw/1/a", "raw/1/b", "raw/11/a", "results/1/1/x"):
        storage.write_bytes(key, b"x")
    storage.delete_prefix("raw/1")
    assert stored(root) == ["raw/11/a", "results/1/1/x"]
    storage.delete_prefix("raw/1")


def test_deleting_a_prefix_takes_more_objects_than_one_request(s3, settings):
    settings.STORAGES = {**settings.STORAGES, "default": s3_storage(s3[0], location="many")}
    folder = s3[1] / "many/raw/batch"
    folder.mkdir(parents=True)
    for number in range(1203):
        (folder / str(number)).write_bytes(b"x")
    storage.delete_prefix("raw/batch")
    assert stored(s3[1] / "many") == []


@pytest.mark.parametrize(
    "key", ["", "raw", "/raw/x", "raw//x", "raw/../x", "raw/./x", "raw/x\0", "raw\\x/y", "raw/x.part", "raw/" + "x" * 1000]
)
def test_a_key_that_argus_would_not_make_is_a_bug(root, key):
    for call in (storage.exists, storage.delete, storage.delete_prefix, lambda key: storage.write_bytes(key, b"x")):
        if key == "raw" and call is not storage.delete_prefix:
            continue
        with pytest.raises(ValueError):
            call(key)
    assert stored(root) == []
