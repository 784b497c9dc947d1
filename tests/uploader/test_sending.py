"""What lies in the spool arrives, the important first; what the server has proved goes, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

import pytest
from argus_uploader.cli import main
from argus_uploader.errors import Exit

from tests.uploader.vehicle import LARGEST_FILE, Told, Vehicle, noise


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_folder_becomes_a_batch_as_its_metadata_say_and_is_gone_when_it_is_proved(car: Vehicle) -> None:
    car.record("drive/big.blf", noise(700_000, 1))
    car.record("drive/small.blf", noise(2_000, 2))
    car.record("drive/computer/system.log", noise(90_000, 3))
    car.describe(
        "drive",
        reason="driver report",
        software={"logger": "1.6"},
        clock={"source": "gnss", "synced": True},
        recorded_from="2026-11-20T08:00:00Z",
        priorities={"*.log": 9},
        kinds={"*.blf": "can"},
    )
    car.record("loose.log", noise(100, 4))
    told = Told()
    assert car.send(told) == Exit.OK
    assert [facts["name"] for facts in told.named("file_sent")] == ["computer__system.log", "small.blf", "big.blf", "loose.log"]
    drive, loose = car.batches()
    assert {file["name"]: file["kind"] for file in drive["files"]} == {"computer__system.log": "", "small.blf": "can", "big.blf": "can"}
    assert (drive["status"], drive["reason"], drive["software"]) == ("uploaded", "driver report", {"logger": "1.6"})
    assert drive["clock"] == {"source": "gnss", "synced": True}
    assert drive["recorded_from"].startswith("2026-11-20T08:00:00")
    assert [file["sha256"] for file in loose["files"]] == [digest(noise(100, 4))]
    assert list(car.spool.iterdir()) == []
    assert list((car.state / "journal").glob("*.json")) == []


def test_what_is_kept_or_moved_is_not_sent_twice(car: Vehicle) -> None:
    car.record("a.log", noise(1000, 1))
    car.record("drive/b.log", noise(1000, 2))
    car.describe("drive", reason="test")
    for _ in range(2):
        assert car.send(after="keep") == Exit.OK
        assert (len(car.batches()), len(list(car.spool.rglob("*.log")))) == (2, 2)
    car.record("a.log", noise(1001, 3))
    assert car.send(after="move") == Exit.OK
    assert (car.spool / "sent" / "a.log").read_bytes() == noise(1001, 3)
    car.record("a.log", noise(1002, 4))
    car.record("new/c.log", noise(1002, 5))
    car.describe("new", reason="test")
    assert car.send(after="move") == Exit.OK
    assert (car.spool / "sent" / "a~2.log").read_bytes() == noise(1002, 4)
    assert sorted(path.name for path in (car.spool / "sent" / "new").iterdir()) == ["c.log", "metadata.json"]
    assert len(car.stored()) == 5


def test_a_file_that_the_server_does_not_list_after_complete_stays_and_is_sent_again(car: Vehicle) -> None:
    car.record("drive/a.log", noise(1000, 1))
    lost = car.record("drive/b.log", noise(2000, 2))
    told = Told()
    uploader = car.uploader(told)
    ask = uploader.api.get_batch
    there_when_asked: list[bool] = []

    def forgetful(batch_id: str) -> dict[str, Any]:
        answer = ask(batch_id)
        if not there_when_asked:
            answer["files"] = [file for file in answer["files"] if file["name"] != "b.log"]
        there_when_asked.append(lost.exists())
        return answer

    uploader.api.get_batch = forgetful  # type: ignore[method-assign]
    assert uploader.run(once=True) == Exit.OK
    assert there_when_asked == [True, True]
    assert [facts["path"] for facts in told.named("not_proved")] == ["drive/b.log"]
    assert [len(batch["files"]) for batch in car.batches()] == [2, 1]
    assert not lost.exists()


def test_nothing_goes_before_complete_was_accepted(car: Vehicle) -> None:
    kept = [car.record(f"drive/{name}.log", noise(1000, number)) for number, name in enumerate("abc")]
    there = []
    uploader = car.uploader()
    complete = uploader.api.complete

    def watched(batch_id: str, manifest: list[dict[str, Any]]) -> dict[str, Any]:
        there.append(all(path.exists() for path in kept))
        return complete(batch_id, manifest)

    uploader.api.complete = watched  # type: ignore[method-assign]
    assert uploader.run(once=True) == Exit.OK
    assert there == [True]
    assert not any(path.exists() for path in kept)


def test_a_file_that_changes_while_it_is_sent_goes_into_another_batch(car: Vehicle) -> None:
    growing = car.record("drive/growing.blf", noise(300_000, 1))
    other = noise(400_000, 2)
    car.record("drive/other.blf", other)

    class Writer(Told):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.name == "growing.blf" and self.done > 100_000 and growing.stat().st_size == 300_000:
                with growing.open("ab") as file:
                    file.write(b"more")

    told = Writer()
    assert car.send(told, slice=65_536) == Exit.OK
    first, second = car.batches()
    assert [(file["name"], file["sha256"]) for file in first["files"]] == [("other.blf", digest(other))]
    assert [(file["name"], file["sha256"]) for file in second["files"]] == [("growing.blf", digest(noise(300_000, 1) + b"more"))]
    assert [facts["path"] for facts in told.named("file_changed")] == ["drive/growing.blf"]
    assert first["uploads"] == second["uploads"] == []


def test_a_file_that_changes_after_it_has_arrived_is_not_deleted(car: Vehicle) -> None:
    path = car.record("drive/a.log", noise(1000, 1))
    car.record("drive/b.log", noise(2000, 2))

    def rewrite(event: str, facts: dict[str, Any]) -> None:
        if event == "file_sent" and facts["name"] == "a.log" and path.stat().st_size == 1000:
            path.write_bytes(noise(1500, 3))

    assert car.send(Told(rewrite)) == Exit.OK
    assert car.stored() == sorted([("a.log", digest(noise(1000, 1))), ("b.log", digest(noise(2000, 2))), ("a.log", digest(noise(1500, 3)))])


def test_bytes_that_change_under_the_same_time_and_size_are_noticed(car: Vehicle) -> None:
    path = car.record("drive/a.log", noise(200_000, 1))

    def rewrite(event: str, facts: dict[str, Any]) -> None:
        if event == "batch_formed" and path.read_bytes() == noise(200_000, 1):
            before = path.stat()
            path.write_bytes(noise(200_000, 2))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    told = Told(rewrite)
    assert car.send(told) == Exit.OK
    assert car.stored() == [("a.log", digest(noise(200_000, 2)))]
    assert "same time and size" in told.named("file_changed")[0]["reason"]


def test_a_file_that_is_gone_leaves_the_others_their_batch(car: Vehicle) -> None:
    car.record("drive/a.log", noise(1000, 1))
    car.record("drive/b.log", noise(2000, 2))
    told = Told(lambda event, facts: (car.spool / "drive/b.log").unlink() if event == "batch_formed" else None)
    assert car.send(told) == Exit.OK
    assert [name for name, _ in car.stored()] == ["a.log"]


def test_a_batch_whose_files_are_all_gone_is_abandoned(car: Vehicle) -> None:
    car.record("a.log", noise(1000, 1))
    told = Told(lambda event, facts: (car.spool / "a.log").unlink() if event == "batch_opened" else None)
    assert car.send(told) == Exit.OK
    assert [batch["status"] for batch in car.batches()] == ["abandoned"]


def test_a_file_that_the_server_refuses_stays_and_is_named_while_the_others_go_on(car: Vehicle, capsys: pytest.CaptureFixture[str]) -> None:
    large = car.record("drive/large.blf", bytes(LARGEST_FILE + 1))
    car.record("drive/small.log", noise(1000, 1))
    told = Told()
    assert car.send(told) == Exit.REFUSED
    assert [name for name, _ in car.stored()] == ["small.log"]
    assert large.exists()
    assert "file_too_large" in told.named("file_refused")[0]["reason"]
    again = Told()
    assert car.send(again) == Exit.REFUSED
    assert again.events == []
    assert main(["status", "--spool", str(car.spool), "--state", str(car.state)]) == Exit.OK
    [known] = json.loads(capsys.readouterr().out)
    assert list(known["refused"]) == ["drive/large.blf"]
    large.write_bytes(noise(3000, 2))
    assert car.send() == Exit.OK
    assert len(car.stored()) == 2


def test_metadata_that_the_server_refuses_hold_no_recording_back(car: Vehicle) -> None:
    car.record("drive/a.log", noise(1000, 1))
    car.describe("drive", reason="x" * 500, software={"logger": ["no", "text"]})
    told = Told()
    assert car.send(told) == Exit.OK
    assert len(told.named("opening_refused")) == 2
    [batch] = car.batches()
    assert (batch["status"], batch["reason"], len(batch["files"])) == ("uploaded", "", 1)


def test_strange_names_arrive_as_names_that_the_server_takes(car: Vehicle) -> None:
    names = ["ü berlin.log", "back\\slash.log", "new\nline.log", "x" * 250 + ".log", "-rf", "%2e%2e"]
    for number, name in enumerate(names):
        car.record(f"drive/{name}" if len(name) < 200 else f"drive/{name[5:]}", noise(100 + number, number))
    raw = os.fsencode(car.spool) + b"/drive/not-utf8-\xff.log"
    with open(raw, "wb") as file:
        file.write(noise(500, 99))
    assert car.send() == Exit.OK
    stored = [name for name, _ in car.stored()]
    assert len(stored) == len(names) + 1
    assert {"ü berlin.log", "back_slash.log", "new_line.log", "-rf", "%2e%2e"} <= set(stored)
    assert list(car.spool.iterdir()) == []


def test_something_more_important_goes_before_the_rest_of_a_large_file(car: Vehicle) -> None:
    car.record("large/drive.blf", noise(1_500_000, 1))

    class Driver(Told):
        def moved(self, count: int) -> None:
            super().moved(count)
            if self.name == "drive.blf" and self.done > 300_000 and not (car.spool / "urgent").exists() and not self.named("preempted"):
                car.record("urgent/alarm.log", noise(1000, 2))
                car.describe("urgent", priority=100)

    told = Driver()
    assert car.send(told, slice=65_536, bandwidth=1_500_000, poll=0.05) == Exit.OK
    assert [facts["name"] for facts in told.named("file_sent")] == ["alarm.log", "drive.blf"]
    assert len(told.named("preempted")) == 1
    assert len(car.stored()) == 2


def test_a_bandwidth_cap_is_held(car: Vehicle) -> None:
    car.record("a.blf", noise(1_000_000, 1))
    rate = 500_000
    at: dict[str, float] = {}
    assert car.send(Told(lambda event, facts: at.__setitem__(event, time.monotonic())), bandwidth=rate, slice=200_000) == Exit.OK
    took = at["file_sent"] - at["file_begun"]
    # What the bucket holds in advance goes at once; the rest at the rate.
    assert 1_000_000 / rate * 0.8 <= took <= 1_000_000 / rate * 1.5


@pytest.mark.parametrize("checksums", [False, True])
def test_slices_of_any_size_add_up(car: Vehicle, checksums: bool) -> None:
    content = noise(1_000_003, 5)
    car.record("a.blf", content)
    assert car.send(slice=99_991, checksums=checksums) == Exit.OK
    assert car.stored() == [("a.blf", digest(content))]


def test_a_dry_run_says_what_would_go_and_changes_nothing(car: Vehicle) -> None:
    car.record("drive/a.blf", noise(2000, 1))
    car.record("drive/b.log", noise(9000, 2))
    car.describe("drive", priorities={"*.log": 3})
    car.record("loose.log", noise(10, 3))
    ended = car.run("--dry-run", url="http://127.0.0.1:9")
    assert ended.returncode == Exit.OK, ended.stderr
    assert ended.stdout.splitlines() == [
        "batch  drive  priority 3  11.0 kB",
        "  b.log  9.0 kB  priority 3",
        "  a.blf  2.0 kB  priority 0",
        "batch  loose files  priority 0  10 B",
        "  loose.log  10 B  priority 0",
    ]
    assert car.batches() == []
    assert not car.state.exists()


def test_without_a_terminal_each_event_is_a_line_of_json(car: Vehicle) -> None:
    car.record("a.log", noise(1000, 1))
    ended = car.run("--once")
    assert (ended.returncode, ended.stderr) == (Exit.OK, "")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [event["event"] for event in events][-2:] == ["file_sent", "batch_sent"]
    assert events[-1]["batch"] == car.batches()[0]["id"]


def test_a_spool_that_is_not_there_is_no_reason_to_stay_down_for_good(car: Vehicle) -> None:
    car.spool.rmdir()
    told = car.run("--once")
    assert told.returncode == Exit.LOCAL
    assert "its disk is not there" in told.stderr
