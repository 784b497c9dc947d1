"""The writer of an upload: what comes stays, one writes at a time, a hung one makes way, and nothing counts that was not checked."""

from __future__ import annotations

import base64
import hashlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import google_crc32c
import pytest
from django.db import connections
from django.utils import timezone

from batches import receiving
from batches.receiving import Offer
from common.errors import (
    ChecksumMismatch,
    DigestMismatch,
    DiskFull,
    FileTooLarge,
    LengthMismatch,
    OffsetMismatch,
    UploadBusy,
    UploadLost,
)
from files import storage, uploads
from files.models import File, Upload, UploadState, Way
from files.uploads import hashes
from files.uploads.checksums import ALGORITHMS, Checksum
from tests import factories
from tests.flows.live import ROOT, environment

ACTOR = "vehicle:test"
CONTENT = os.urandom(1_000_000)
pytestmark = pytest.mark.django_db


def begin(size: int | None = len(CONTENT), content: bytes = CONTENT, *, digest: bool = True) -> Upload:
    sha256 = hashlib.sha256(content).hexdigest() if digest else ""
    return receiving.begin_upload(factories.batch().pk, Offer("x", size=size, sha256=sha256, way=Way.TUS)).upload


def append(upload: Upload, chunks, offset: int, **options) -> int:
    return receiving.append(upload, chunks, offset=offset, actor=ACTOR, **options)


def offset_of(upload: Upload) -> int:
    return receiving.offset_of(Upload.objects.get(pk=upload.pk), actor=ACTOR)


def part_of(upload: Upload) -> Path:
    return Path(storage.storages["default"].location) / f"{upload.storage_key}.part"


def stored(upload: Upload) -> bytes:
    return storage.read_bytes(File.objects.get(pk=upload.pk).storage_key, 1 << 30)


def breaking(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks
    raise LengthMismatch("The body broke off.")


def forget_sums() -> None:
    """As in a process that has seen nothing of the upload."""
    hashes._sums.clear()


# -- pieces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [True, False])
def test_pieces_become_the_file(remembered):
    upload, offset = begin(), 0
    for size in (1, 99_999, 400_000, 500_000):
        if not remembered:
            forget_sums()
        offset = append(upload, [CONTENT[offset : offset + size]], offset)
        assert offset_of(upload) == offset
    assert stored(upload) == CONTENT
    file = File.objects.get()
    assert (file.pk, file.size, file.sha256) == (upload.pk, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert not part_of(upload).exists()


def test_what_came_before_a_cut_stays():
    upload = begin()
    with pytest.raises(LengthMismatch):
        append(upload, breaking(CONTENT[:300_000], CONTENT[300_000:300_001]), 0)
    assert offset_of(upload) == 300_001
    assert append(upload, [CONTENT[300_001:]], 300_001) == len(CONTENT)
    assert stored(upload) == CONTENT


def test_a_buffer_may_be_used_again_for_the_next_piece():
    upload = begin()

    def chunks() -> Iterator[memoryview]:
        buffer = bytearray(4096)
        for start in range(0, len(CONTENT), 4096):
            piece = CONTENT[start : start + 4096]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    append(upload, chunks(), 0)
    assert stored(upload) == CONTENT


@pytest.mark.parametrize("offset", [0, 2, 4, 2**40])
def test_a_wrong_offset_changes_nothing_and_tells_the_right_one(offset):
    upload = begin()
    append(upload, [CONTENT[:3]], 0)
    with pytest.raises(OffsetMismatch) as refused:
        append(upload, [CONTENT[:10]], offset)
    assert refused.value.extra["offset"] == 3
    assert part_of(upload).read_bytes() == CONTENT[:3]


def test_bytes_beyond_the_length_are_counted_and_refused():
    upload = begin(size=10, content=CONTENT[:10])
    append(upload, [CONTENT[:4]], 0)
    with pytest.raises(FileTooLarge):
        append(upload, [CONTENT[4:8], CONTENT[8:20]], 4)
    assert offset_of(upload) == 4
    append(upload, [CONTENT[4:10]], 4)
    assert stored(upload) == CONTENT[:10]


def test_a_length_may_be_said_late_but_only_once():
    upload = begin(size=None)
    append(upload, [CONTENT[:4]], 0)
    with pytest.raises(LengthMismatch):
        append(upload, [], 4, size=3)
    append(upload, [CONTENT[4:8]], 4, size=len(CONTENT))
    with pytest.raises(LengthMismatch):
        append(upload, [CONTENT[8:]], 8, size=len(CONTENT) + 1)
    append(upload, [CONTENT[8:]], 8)
    assert stored(upload) == CONTENT


def test_a_wrong_digest_makes_no_file_and_all_bytes_may_come_again():
    upload = begin()
    append(upload, [CONTENT[:-1]], 0)
    with pytest.raises(DigestMismatch):
        append(upload, [b"?"], len(CONTENT) - 1)
    row = Upload.objects.get()
    assert (row.state, row.offset, row.error_code, offset_of(upload)) == (UploadState.OPEN, 0, "digest_mismatch", 0)
    assert not File.objects.exists()
    append(upload, [CONTENT], 0)
    assert stored(upload) == CONTENT


def test_a_sum_that_another_writer_has_overtaken_is_not_used():
    """Kept here for five bytes; then somebody elsewhere began anew with other bytes of the same number."""
    upload = begin(digest=False)
    append(upload, [b"right"], 0)
    kept = dict(hashes._sums)
    with uploads.writing(upload) as writer:
        writer.restart()
        writer.receive([b"wrong"], offset=0)
    hashes._sums.clear()
    hashes._sums.update(kept)
    append(upload, [CONTENT[5:]], 5)
    assert File.objects.get().sha256 == hashlib.sha256(b"wrong" + CONTENT[5:]).hexdigest()


def test_no_query_is_made_for_a_chunk(django_assert_max_num_queries):
    upload = begin()
    with django_assert_max_num_queries(30):
        append(upload, (CONTENT[start : start + 1000] for start in range(0, len(CONTENT), 1000)), 0)
    assert stored(upload) == CONTENT


# -- checksums ---------------------------------------------------------------------------------------------------------


def checksum(algorithm: str, content: bytes) -> Checksum:
    if algorithm == "crc32c":
        return Checksum(algorithm, google_crc32c.value(content).to_bytes(4, "big"))
    return Checksum(algorithm, hashlib.new(algorithm, content).digest())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_right_checksum_passes_and_a_wrong_one_takes_all_of_the_request_back(algorithm):
    upload = begin()
    append(upload, [CONTENT[:100]], 0, checksum=checksum(algorithm, CONTENT[:100]))
    with pytest.raises(ChecksumMismatch):
        append(upload, [CONTENT[100:200], CONTENT[200:300]], 100, checksum=checksum(algorithm, CONTENT[100:299]))
    assert offset_of(upload) == 100
    append(upload, [memoryview(CONTENT)[100:]], 100, checksum=checksum(algorithm, CONTENT[100:]))
    assert stored(upload) == CONTENT


def test_known_sums_are_computed():
    """Check values of the CRC catalogue and of FIPS 180."""
    for algorithm, digest in {"crc32c": "e3069283", "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441"}.items():
        right = Checksum(algorithm, bytes.fromhex(digest))
        right.update(memoryview(b"12345"))
        right.update(b"6789")
        right.verify()
    assert base64.b64encode(bytes.fromhex("e3069283"))


def test_a_cut_takes_back_what_came_under_a_checksum():
    upload = begin()
    append(upload, [CONTENT[:100]], 0)
    with pytest.raises(LengthMismatch):
        append(upload, breaking(CONTENT[100:200]), 100, checksum=checksum("sha1", CONTENT[100:300]))
    assert offset_of(upload) == 100
    append(upload, [CONTENT[100:]], 100)
    assert stored(upload) == CONTENT


@pytest.mark.parametrize("next_has_checksum", [True, False])
def test_what_a_killed_writer_never_compared_with_its_checksum_does_not_count(next_has_checksum):
    upload = begin()
    append(upload, [CONTENT[:100]], 0)
    with part_of(upload).open("ab") as part:  # the process that wrote it is gone: the row says from where on it is unchecked
        part.write(b"?" * 50)
    Upload.objects.update(unchecked_from=100, lease_until=timezone.now() - timedelta(seconds=1), generation=4)
    assert offset_of(upload) == 100
    with pytest.raises(OffsetMismatch):
        append(upload, [CONTENT[150:]], 150, checksum=checksum("sha1", CONTENT[150:]))
    append(upload, [CONTENT[100:]], 100, checksum=checksum("sha1", CONTENT[100:]) if next_has_checksum else None)
    assert stored(upload) == CONTENT


# -- disk --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("write", 28), ("fdatasync", 28), ("fdatasync", 5)])
def test_a_disk_that_fails_leaves_the_offset_where_it_was_and_works_again_later(monkeypatch, name, code):
    upload = begin()
    append(upload, [CONTENT[:100]], 0)

    def fail(*args):
        raise OSError(code, "no")

    with monkeypatch.context() as patch:
        patch.setattr(f"files.storage.local_part.os.{name}", fail)
        with pytest.raises((DiskFull, storage.errors.StorageUnavailable)):
            append(upload, [CONTENT[100:200]], 100)
    assert offset_of(upload) == 100
    append(upload, [CONTENT[100:]], 100)
    assert stored(upload) == CONTENT


def test_an_upload_without_room_is_refused_before_its_first_byte(settings):
    upload = begin()
    settings.ARGUS_DISK_RESERVE_BYTES = 2**62

    def chunks() -> Iterator[bytes]:
        raise AssertionError("a byte was read")
        yield b""

    with pytest.raises(DiskFull):
        append(upload, chunks(), 0)
    settings.ARGUS_DISK_RESERVE_BYTES = 0
    append(upload, [CONTENT], 0)


# -- crashes -----------------------------------------------------------------------------------------------------------


def crashed(upload: Upload) -> None:
    """As after a kill: no goodbye was said, the lease is over, the sums are gone."""
    forget_sums()
    Upload.objects.filter(pk=upload.pk).update(lease_until=timezone.now() - timedelta(seconds=1), offset=0)


@pytest.mark.parametrize("step", ["before the object has its name", "while it has both names", "when it has one name"])
def test_a_crash_at_the_end_is_repaired_by_the_sweep(step):
    upload = begin(digest=False)
    append(upload, [CONTENT[:-1]], 0)
    part = part_of(upload)
    with part.open("ab") as file:
        file.write(CONTENT[-1:])
    if step != "before the object has its name":
        os.link(part, part.with_suffix(""))
    if step == "when it has one name":
        part.unlink()
    crashed(upload)
    assert uploads.left_whole() == [upload.pk]
    receiving.finish_upload(upload.pk)
    assert stored(upload) == CONTENT
    assert not part.exists()
    assert uploads.left_whole() == []


def test_the_sweep_tells_the_row_of_a_killed_writer_where_its_bytes_end():
    upload = begin()
    append(upload, [CONTENT[:100]], 0)
    crashed(upload)
    assert uploads.left_whole() == []
    assert Upload.objects.get().offset == 100


def test_wrong_bytes_found_by_the_repair_are_removed():
    upload = begin()
    append(upload, [CONTENT[:-1]], 0)
    with part_of(upload).open("ab") as file:
        file.write(b"?")
    crashed(upload)
    with pytest.raises(DigestMismatch):
        receiving.finish_upload(upload.pk)
    assert offset_of(upload) == 0
    assert not File.objects.exists()


# -- writers -----------------------------------------------------------------------------------------------------------


class Line:
    """A connection: bytes are sent into it by the test; silence is told every second, as by the server."""

    def __init__(self) -> None:
        self.queue: queue.Queue[bytes | None] = queue.Queue()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = self.queue.get(timeout=1)
            except queue.Empty:
                yield b""
                continue
            if chunk is None:
                return
            yield chunk


class Sender(threading.Thread):
    """A request of its own that sends what comes over its line."""

    def __init__(self, upload: Upload, offset: int = 0) -> None:
        super().__init__(daemon=True)
        self.upload, self.offset, self.line = Upload.objects.get(pk=upload.pk), offset, Line()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            append(self.upload, self.line, self.offset)
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def send(self, content: bytes, upto: int) -> None:
        """Send, and wait until the part has so many bytes."""
        self.line.queue.put(content)
        wait_until(lambda: part_of(self.upload).exists() and part_of(self.upload).stat().st_size == upto)


def wait_until(fact, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("newcomer", ["head", "patch"])
def test_a_writer_that_hears_nothing_makes_way_within_five_seconds(newcomer):
    upload = begin()
    hung = Sender(upload)
    hung.send(CONTENT[:1000], 1000)
    wait_until(lambda: Upload.objects.get().heard_at.year == 1970)  # it has noticed the silence
    began = time.monotonic()
    if newcomer == "head":
        assert offset_of(upload) == 1000
    else:
        append(upload, [CONTENT[1000:]], 1000)
        assert stored(upload) == CONTENT
    assert time.monotonic() - began < 5
    hung.join(10)
    assert isinstance(hung.error, UploadLost)
    if newcomer == "head":
        append(upload, [CONTENT[1000:]], 1000)
        assert stored(upload) == CONTENT


@pytest.mark.django_db(transaction=True)
def test_a_lively_writer_is_left_alone():
    upload = begin()
    busy = Sender(upload)
    stop = threading.Event()

    def drip() -> None:
        for at in range(100, 100_000):
            if stop.wait(0.05):
                return
            busy.line.queue.put(CONTENT[at : at + 1])

    busy.send(CONTENT[:100], 100)
    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    with pytest.raises(UploadBusy):
        append(upload, [b"?"], 100)
    assert offset_of(upload) <= 100
    stop.set()
    dripping.join()
    size = 0

    def settled() -> bool:
        nonlocal size
        before, size = size, part_of(upload).stat().st_size
        return busy.line.queue.empty() and before == size

    wait_until(settled)
    busy.line.queue.put(CONTENT[size:])
    busy.line.queue.put(None)
    busy.join(10)
    assert busy.error is None
    assert stored(upload) == CONTENT


@pytest.mark.django_db(transaction=True)
def test_a_writer_that_was_killed_makes_way_when_its_lease_is_over():
    upload = begin()
    append(upload, [CONTENT[:10]], 0)
    now = timezone.now()
    Upload.objects.update(lease_until=now + timedelta(seconds=4.5), heard_at=now, generation=6)
    began = time.monotonic()
    while True:
        try:
            append(upload, [CONTENT[10:]], 10)
            break
        except UploadBusy:
            assert time.monotonic() - began < 6
    assert stored(upload) == CONTENT


@pytest.mark.django_db(transaction=True)
def test_the_late_goodbye_of_an_evicted_writer_ends_nobody_elses_lease():
    upload = begin()
    append(upload, [CONTENT[:10]], 0)
    old = Upload.objects.get()
    with uploads.writing(Upload.objects.get()):
        held = Upload.objects.get()
        uploads.claims.release(old, 5)
        assert (Upload.objects.get().lease_until, Upload.objects.get().offset) == (held.lease_until, 10)


@pytest.mark.django_db(transaction=True)
def test_of_eight_senders_of_the_same_bytes_one_writes_and_the_file_is_whole():
    upload = begin()
    senders = [Sender(upload) for _ in range(8)]
    for sender in senders:
        sender.line.queue.put(CONTENT)
        sender.line.queue.put(None)
    for sender in senders:
        sender.join(20)
    refused = [sender.error for sender in senders if sender.error is not None]
    assert all(isinstance(error, (UploadBusy, OffsetMismatch, UploadLost)) for error in refused)
    assert len(refused) == 7
    assert stored(upload) == CONTENT


ELSEWHERE = """
import os, sys, django
django.setup()
from uuid import UUID
from batches import receiving
from files.models import Upload
upload = Upload.objects.get(pk=UUID(sys.argv[1]))
content = sys.stdin.buffer.read()
print(receiving.append(upload, [content], offset=int(sys.argv[2]), actor="vehicle:test"))
"""


@pytest.mark.django_db(transaction=True)
def test_two_processes_take_turns():
    upload = begin()
    half = len(CONTENT) // 2

    def elsewhere(start: int, end: int) -> int:
        env = environment(Path(storage.storages["default"].location))
        run = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, str(upload.pk), str(start)],
            input=CONTENT[start:end], env=env, cwd=ROOT, capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        return int(run.stdout.split()[-1])

    append(upload, [CONTENT[:1000]], 0)
    assert elsewhere(1000, half) == half
    assert offset_of(upload) == half
    append(upload, [CONTENT[half:-10]], half)
    assert elsewhere(len(CONTENT) - 10, len(CONTENT)) == len(CONTENT)
    assert stored(upload) == CONTENT
    assert offset_of(upload) == len(CONTENT)
