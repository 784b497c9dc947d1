"""Which files are taken, when, and what makes a batch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from argus_uploader.config import Settings
from argus_uploader.spool import Look, Spool, names

OLD = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    spool.mkdir()
    return spool


def put(path: Path, size: int = 10, at: int = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (at, at))
    return path


def spool(folder: Path, **options: Any) -> Spool:
    return Spool(Settings(spool=str(folder), **{"settle": 0.0, **options}))


def shown(look: Look) -> list[tuple[str, list[str]]]:
    return [(candidate.folder, [file.path for file in candidate.files]) for candidate in look.candidates]


def test_links_hidden_and_partial_files_and_what_is_no_file_are_passed_over(folder: Path) -> None:
    put(folder / "good.log")
    for name in (".hidden", "a.part", "b.tmp", "c.PART", "d.log~", "e.crdownload", ".f.swp"):
        put(folder / name)
    put(folder / ".folder/a.log")
    put(folder / "lost+found/a.log")
    (folder / "link.log").symlink_to(folder / "good.log")
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")
    assert shown(spool(folder).look({})) == [("", ["good.log"])]


def test_a_file_is_taken_when_it_has_rested(folder: Path) -> None:
    watched = spool(folder, settle=0.15)
    path = put(folder / "a.log")
    look = watched.look({})
    assert (look.candidates, look.growing) == ((), 1)
    time.sleep(0.1)
    put(path, 11)
    watched.look({})
    time.sleep(0.1)
    assert watched.look({}).candidates == ()
    time.sleep(0.1)
    assert shown(watched.look({})) == [("", ["a.log"])]


def test_a_folder_is_taken_when_nothing_below_it_has_changed_for_long_enough(folder: Path) -> None:
    watched = spool(folder, settle=0.15)
    put(folder / "drive/a.log")
    watched.look({})
    time.sleep(0.1)
    put(folder / "drive/deep/b.log")
    assert watched.look({}).growing == 2
    time.sleep(0.16)
    assert shown(watched.look({})) == [("drive", ["drive/a.log", "drive/deep/b.log"])]


@pytest.mark.parametrize("settled_by", ["rest", "marker"])
def test_a_marker_says_that_a_file_or_folder_is_whole(folder: Path, settled_by: str) -> None:
    watched = spool(folder, settle=60.0, settled_by=settled_by)
    for name in ("a.log", "b.log", "one/x.log", "two/y.log", "three/z.log"):
        put(folder / name)
    for marker in ("a.log.done", "one/.done", "two.done"):
        put(folder / marker, 0)
    look = watched.look({}, all_sessions=False)
    assert shown(look)[:2] == [("one", ["one/x.log"]), ("two", ["two/y.log"])]
    (folder / "b.log").unlink()
    assert shown(watched.look({}))[2:] == [("", ["a.log"])]


def test_without_a_marker_nothing_is_taken_where_one_is_wanted(folder: Path) -> None:
    put(folder / "a.log")
    put(folder / "drive/a.log")
    look = spool(folder, settled_by="marker").look({}, all_sessions=True)
    assert (look.candidates, look.growing) == ((), 2)


def test_by_the_rename_convention_what_has_its_name_is_whole(folder: Path) -> None:
    put(folder / "drive/a.log")
    assert shown(spool(folder, settle=60.0, settled_by="rename").look({})) == [("drive", ["drive/a.log"])]


def test_loose_files_are_parted_by_gaps_counts_and_bytes(folder: Path) -> None:
    for number, at in enumerate((0, 100, 1000, 1001, 1002, 2000, 2001)):
        put(folder / f"{number}.log", 10, OLD + at)
    looked = shown(spool(folder, session_gap=300, batch_files=2).look({}))
    assert [files for _, files in looked] == [["0.log", "1.log"], ["2.log", "3.log"], ["4.log"], ["5.log", "6.log"]]
    looked = shown(spool(folder, session_gap=0, batch_bytes=45).look({}))
    assert [len(files) for _, files in looked] == [4, 3]


def test_the_last_session_waits_for_its_end_unless_it_is_full(folder: Path) -> None:
    now = int(time.time())
    put(folder / "0.log", 10, now - 1000)
    put(folder / "1.log", 10, now)
    watched = spool(folder, session_gap=300)
    look = watched.look({})
    assert (shown(look), look.growing) == ([("", ["0.log"])], 1)
    assert len(watched.look({}, all_sessions=True).candidates) == 2
    assert len(spool(folder, session_gap=300, batch_files=1).look({}).candidates) == 2


def test_a_clock_in_the_future_does_not_hold_a_session_open_for_ever(folder: Path) -> None:
    put(folder / "0.log", 10, int(time.time()) + 10**8)
    watched = spool(folder, session_gap=0.2)
    assert watched.look({}).candidates == ()
    time.sleep(0.21)
    assert len(watched.look({}).candidates) == 1


def test_files_of_a_batch_are_not_offered_again_until_they_change(folder: Path) -> None:
    path = put(folder / "drive/a.log")
    watched = spool(folder)
    [candidate] = watched.look({}).candidates
    claimed = {file.path: {(file.size, file.mtime_ns)} for file in candidate.files}
    assert watched.look(claimed).candidates == ()
    put(path, 11)
    assert len(watched.look(claimed).candidates) == 1


def test_empty_files_are_left_and_named(folder: Path) -> None:
    put(folder / "drive/a.log", 0)
    put(folder / "b.log", 0)
    look = spool(folder).look({})
    assert (look.candidates, look.growing, sorted(look.empty)) == ((), 0, ["b.log", "drive/a.log"])


def test_sent_files_and_the_state_are_not_recordings(folder: Path) -> None:
    put(folder / "sent/a.log")
    put(folder / "state/b.log")
    assert spool(folder, state=str(folder / "state"), after="move").look({}).candidates == ()


def test_metadata_that_cannot_be_read_are_a_file_like_others(folder: Path) -> None:
    put(folder / "drive/a.log")
    (folder / "drive/metadata.json").write_text("{not json")
    assert shown(spool(folder).look({})) == [("drive", ["drive/a.log", "drive/metadata.json"])]
    (folder / "drive/metadata.json").write_text('{"priority": 7, "priorities": {"b*": 9}, "kind": "can", "reason": 5, "other": true}')
    put(folder / "drive/b.log")
    [candidate] = spool(folder, software={"logger": "1"}).look({}).candidates
    assert [(file.path, file.priority, file.kind) for file in candidate.files] == [("drive/a.log", 7, "can"), ("drive/b.log", 9, "can")]
    assert candidate.declaration == {"reason": 5, "software": {"logger": "1"}}


def test_names_are_unique_short_and_without_folders() -> None:
    called = names("drive", ["drive/a/b.log", "drive/a__b.log", "drive/" + "ü" * 130 + ".log", "drive/x\x1b[2J", "drive/\udcff.log"])
    assert list(called.values())[:2] == ["a__b.log", "a__b~2.log"]
    assert all(len(name.encode()) <= 255 for name in called.values())
    assert list(called.values())[2].endswith("ü.log")
    assert list(called.values())[3:] == ["x_[2J", "\ufffd.log"]
