"""A full disk costs what was sent first, then the oldest of the least important, and nothing unless it is wanted."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from argus_uploader import disk
from argus_uploader.config import Settings
from argus_uploader.disk import Disk, Expendable
from argus_uploader.errors import LocalTrouble
from argus_uploader.journal import Item, Journal, Record

from tests.uploader.vehicle import Told

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of 100 bytes."""
    folder = tmp_path / "spool"
    folder.mkdir()

    def usage(path: str) -> Usage:
        used = sum(found.stat().st_size for found in folder.rglob("*") if found.is_file())
        return Usage(100, used, 100 - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return folder


def room(spool: Path, told: Told, **options: Any) -> Disk:
    return Disk(Settings(spool=str(spool), min_free=50, **options), told)


FILES = [Expendable(0, 2, "new", 20), Expendable(0, 1, "old", 20), Expendable(9, 0, "urgent", 20), Expendable(0, 3, "newest", 20)]


def fill(spool: Path) -> None:
    for file in FILES:
        (spool / file.path).write_bytes(bytes(file.size))


def test_the_oldest_of_the_least_important_go_until_there_is_room(spool: Path) -> None:
    fill(spool)
    told = Told()
    assert room(spool, told, when_full="oldest").make_room(FILES) == 2
    assert sorted(path.name for path in spool.iterdir()) == ["newest", "urgent"]
    assert [facts["path"] for facts in told.named("dropped")] == ["old", "new"]


def test_nothing_goes_unless_it_is_wanted_or_while_there_is_room(spool: Path) -> None:
    fill(spool)
    assert room(spool, Told()).make_room(FILES) == 0
    (spool / "new").unlink()
    (spool / "old").unlink()
    assert room(spool, Told(), when_full="oldest").make_room(FILES) == 0
    assert sorted(path.name for path in spool.iterdir()) == ["newest", "urgent"]


def test_copies_of_what_was_sent_go_first(spool: Path) -> None:
    fill(spool)
    (spool / "newest").unlink()
    (spool / "sent").mkdir()
    (spool / "sent" / "copy").write_bytes(bytes(20))
    told = Told()
    assert room(spool, told, when_full="oldest", after="move").make_room(FILES) == 1
    assert [event for event, _ in told.events] == ["sent_copy_removed", "dropped"]


def test_what_has_changed_since_it_was_proved_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"new")
    item = Item("a.log", "a.log", 3, path.stat().st_mtime_ns - 1, "00")
    assert Disk(Settings(spool=str(tmp_path)), Told()).settle([item], "") == {"a.log": disk.CHANGED}
    assert path.exists()


def test_a_folder_that_somebody_still_uses_stays_with_its_metadata(tmp_path: Path) -> None:
    (tmp_path / "drive" / "deep").mkdir(parents=True)
    for name in ("a.log", "deep/b.log", "metadata.json", "c.log.part"):
        (tmp_path / "drive" / name).write_bytes(b"x")
    items = [Item(f"drive/{name}", name, 1, (tmp_path / "drive" / name).stat().st_mtime_ns, "00") for name in ("a.log", "deep/b.log")]
    used = Disk(Settings(spool=str(tmp_path)), Told())
    used.settle(items, "drive")
    assert sorted(path.name for path in (tmp_path / "drive").iterdir()) == ["c.log.part", "metadata.json"]
    (tmp_path / "drive" / "c.log.part").unlink()
    used.settle(items, "drive")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_survives_any_torn_write_of_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    record = Record("drive", {"reason": "x"}, [Item("drive/\udcff.log", "a.log", 1, 2, "00", priority=3)])
    journal.save(record)
    journal.begin()
    [path] = (tmp_path / "journal").glob("*.json")
    whole = path.read_bytes()
    assert Journal(tmp_path).records[record.id] == record
    for size in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:size])
        read = Journal(tmp_path)
        assert (read.damaged, read.records, read.begun) == (1, {}, False)
        path.with_suffix(".damaged").rename(path)
    path.write_bytes(whole)
    (tmp_path / "journal" / ".x.json.99.tmp").write_bytes(b"half")
    assert Journal(tmp_path).records[record.id] == record
    assert len(list((tmp_path / "journal").iterdir())) == 1


def test_a_journal_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    with pytest.raises(LocalTrouble, match="cannot be used"):
        Journal(tmp_path)
