"""Whatever breaks (the program, its journal, the server, the link), every file arrives once and whole."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
from argus_uploader.errors import Exit, Stopped
from argus_uploader.journal import Journal

from argus_site.processes import Process, stop_all
from tests.flows.live import ROOT, Live, environment
from tests.torture.proxy import End, Fault, Proxy
from tests.uploader.vehicle import Told, Vehicle, noise, until

MIB = 1024 * 1024


class Stopping(Told):
    """Stops the uploader after so many bytes."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.stop = threading.Event()
        self._left = after

    def moved(self, count: int) -> None:
        super().moved(count)
        self._left -= count
        if self._left <= 0:
            self.stop.set()


def fill(car: Vehicle, sizes: dict[str, int]) -> list[tuple[str, str]]:
    """Records files of these sizes; name and SHA-256 of each, as the server should have them."""
    expected = []
    for number, (path, size) in enumerate(sizes.items()):
        content = noise(size, number)
        car.record(path, content)
        expected.append((path.rpartition("/")[2], hashlib.sha256(content).hexdigest()))
    return sorted(expected)


def send_partly(car: Vehicle, after: int, **options: object) -> None:
    told = Stopping(after)
    with pytest.raises(Stopped):
        car.uploader(told, told.stop, **options).run(once=True)


def test_killed_at_random_moments_it_loses_nothing_and_sends_nothing_twice(car: Vehicle) -> None:
    chance = random.Random(7)
    expected = fill(car, {"drive/a.blf": MIB, "drive/b.log": 50_000, "other/c.blf": MIB // 2, "d.log": 1000, "e.log": 200_000})
    kills = 0
    until_done = time.monotonic() + 60
    while True:
        process = car.start("--once", out=subprocess.PIPE, slice="256K", bandwidth="1500K")
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()  # it is under way: how long a start takes is no matter here
            try:
                process.wait(chance.uniform(0.05, 0.6))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                assert time.monotonic() < until_done
                continue
        assert process.returncode == Exit.OK
        break
    assert kills >= 2
    assert car.stored() == expected
    assert sorted(len(batch["files"]) for batch in car.batches()) == [1, 2, 2]
    assert {batch["status"] for batch in car.batches()} == {"uploaded"}
    assert list(car.spool.iterdir()) == []


def test_a_lost_journal_is_found_again_at_the_server(car: Vehicle) -> None:
    expected = fill(car, {"drive/a.blf": MIB, "drive/b.log": 50_000})
    send_partly(car, 600_000, slice=200_000)
    [before] = car.batches()
    assert before["uploads"][0]["offset"] >= 200_000
    shutil.rmtree(car.state)
    told = Told()
    assert car.send(told) == Exit.OK
    [after] = car.batches()
    assert after["id"] == before["id"]
    assert car.stored() == expected
    assert [facts["batch"] for facts in told.named("batch_recovered")] == [before["id"]]
    assert [facts["offset"] for facts in told.named("file_begun")] == [before["uploads"][0]["offset"]]


def test_a_journal_that_is_lost_after_complete_sends_nothing_again(car: Vehicle) -> None:
    fill(car, {"drive/a.blf": 100_000, "b.log": 1000})
    assert car.send(after="keep") == Exit.OK
    shutil.rmtree(car.state)
    assert car.send() == Exit.OK
    assert len(car.stored()) == 2
    assert list(car.spool.iterdir()) == []


def test_a_damaged_record_is_set_aside_and_found_again_at_the_server(car: Vehicle) -> None:
    expected = fill(car, {"drive/a.blf": MIB})
    send_partly(car, 400_000, slice=100_000)
    [path] = (car.state / "journal").glob("*.json")
    path.write_bytes(path.read_bytes()[:200])
    told = Told()
    assert car.send(told) == Exit.OK
    assert [event for event, _ in told.events][:2] == ["journal_damaged", "batch_recovered"]
    assert car.stored() == expected


def test_a_batch_that_the_server_has_lost_is_sent_anew(car: Vehicle, live: Live) -> None:
    expected = fill(car, {"drive/a.blf": MIB})
    send_partly(car, 400_000, slice=100_000)
    from batches.models import Batch

    Batch.objects.filter(pk=car.batches()[0]["id"]).delete()
    told = Told()
    assert car.send(told) == Exit.OK
    assert car.stored() == expected
    assert len(told.named("batch_renewed")) == 1


def test_a_batch_that_somebody_has_deleted_is_not_sent_again(car: Vehicle, live: Live) -> None:
    fill(car, {"drive/a.blf": MIB})
    send_partly(car, 400_000, slice=100_000)
    from tests import factories
    from vehicles.models import Scope

    token = factories.token(None, [Scope.BATCH_DELETE])
    [batch] = car.batches()
    answer = requests.delete(f"{live.url}/api/v1/batches/{batch['id']}", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 204
    told = Told()
    assert car.send(told) == Exit.REFUSED
    assert told.named("batch_refused")[0]["code"] == "batch_deleted"
    assert (car.spool / "drive/a.blf").exists()
    assert car.batches() == []


def test_an_upload_that_was_terminated_begins_anew(car: Vehicle, live: Live) -> None:
    expected = fill(car, {"drive/a.blf": MIB})
    send_partly(car, 400_000, slice=100_000)
    [batch] = car.batches()
    headers = {"Authorization": f"Bearer {car.token}", "Tus-Resumable": "1.0.0"}
    assert requests.delete(batch["uploads"][0]["url"], headers=headers, timeout=30).status_code == 204
    assert car.send() == Exit.OK
    assert car.stored() == expected


def test_an_abandoned_batch_is_sent_as_another_one(car: Vehicle) -> None:
    expected = fill(car, {"drive/a.blf": MIB})
    send_partly(car, 400_000, slice=100_000)
    uploader = car.uploader()
    uploader.api.abandon(car.batches()[0]["id"], "test")
    assert car.send() == Exit.OK
    assert [batch["status"] for batch in car.batches()] == ["abandoned", "uploaded"]
    assert car.stored() == expected


def test_a_road_with_cuts_costs_little_more_than_the_file(car: Vehicle) -> None:
    expected = fill(car, {"drive/a.blf": 5 * MIB})
    chance = random.Random(3)
    ends = [End.RESET, End.CLOSE, End.LOSE_ANSWER, End.RESET, End.CLOSE, End.LOSE_ANSWER, End.FREEZE]
    faults = [Fault(end, chance.randrange(1, 700_000)) for end in ends]
    with Proxy(car.url, faults) as road:
        car.url = road.url
        told = Told()
        assert car.send(told, stall_timeout=1.0, answer_timeout=6.0, slice=MIB) == Exit.OK
        assert len(road.happened) == len(faults)
        assert road.sent <= 5 * MIB + len(faults) * MIB
    assert car.stored() == expected


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_lost_answers_to_opening_and_complete_are_asked_for_again(car: Vehicle, method: str) -> None:
    expected = fill(car, {"drive/a.blf": 10_000})
    with Proxy(car.url, [Fault(End.LOSE_ANSWER, method=method)]) as road:
        car.url = road.url
        assert car.send() == Exit.OK
        assert len(road.happened) == 1
    assert car.stored() == expected
    assert len(car.batches()) == 1


def test_a_server_that_is_killed_and_comes_back_gets_the_rest(car: Vehicle, live: Live, tmp_path: Path) -> None:
    expected = fill(car, {"drive/a.blf": 3 * MIB, "drive/b.log": 1000})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "argus_site.wsgi", "--chdir", str(ROOT), "--bind", f"127.0.0.1:{port}", "--threads", "4"]

    def serve() -> Process:
        storage = live.logs.parent / "storage"
        return Process("web", [*command, "--no-control-socket"], log=tmp_path / "web.log", env=environment(storage))

    servers = [serve()]
    car.url = f"http://127.0.0.1:{port}"
    try:
        process = car.start("--once", slice="256K", bandwidth="1M")
        until(lambda: _arrived(car) > 500_000)
        os.killpg(servers[-1].pid, signal.SIGKILL)
        servers[-1].stop(time.monotonic() + 1)
        servers.append(serve())
        assert process.wait(60) == Exit.OK
    finally:
        stop_all(servers)
    assert car.stored() == expected
    assert len(car.batches()) == 1


def _arrived(car: Vehicle) -> int:
    return sum(entry.get("offset", entry["size"]) for batch in car.batches() for entry in [*batch["files"], *batch["uploads"]])


def test_it_watches_until_it_is_told_to_stop_and_the_next_one_goes_on(car: Vehicle) -> None:
    process = car.start(session_gap=0)
    try:
        car.record("a.log", noise(1000, 1))
        until(lambda: not (car.spool / "a.log").exists())
        car.record("b.blf", noise(4 * MIB, 2))
        until(lambda: Journal(car.state).records)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == Exit.OK
    finally:
        process.kill()
        process.wait()
    assert car.send() == Exit.OK
    assert len(car.stored()) == 2


def test_a_second_uploader_on_the_spool_is_refused(car: Vehicle, tmp_path: Path) -> None:
    process = car.start()
    try:
        until(lambda: (car.state / "lock").exists())
        time.sleep(0.2)
        for state in (car.state, tmp_path / "other"):
            second = car.run("--once", state=state)
            assert second.returncode == Exit.LOCKED
            assert "another uploader works on" in second.stderr
    finally:
        process.kill()
        process.wait()
    assert car.run("--once").returncode == Exit.OK
