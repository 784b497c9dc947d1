"""The demo fleet brings every byte up by the vehicle's program, goes on where it stopped, and says in words what went wrong."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from batches.models import Batch as BatchRow
from demo import upload
from demo.__main__ import main
from demo.files import prepare
from demo.fleet import BLF, CANDUMP, VEHICLES, Batch, Vehicle
from events.models import Event
from files.models import File, Upload, Way
from tests import factories
from tests.flows.live import Live, running

DAY = date(2026, 11, 20)
GOOD = Batch("good", "test", BLF, 1, 2, 91, 2, 8.0, broken_off=True)
MIXED = Batch("mixed", "test", CANDUMP, 1, 1, 92, 1, 8.0, garbage=True)
BAD = Batch("bad", "test", BLF, 1, 1, 93, 1, 10.0, unreadable=True)
HERON = replace(VEHICLES[0], batches=(GOOD, BAD))
LAPWING = replace(VEHICLES[2], batches=(MIXED,))

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def live(django_db_setup: None, django_db_blocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running Argus with workers."""
    with django_db_blocker.unblock(), running(tmp_path_factory.mktemp("live")) as argus:
        yield argus


@pytest.fixture
def tokens(transactional_db: None) -> dict[str, str]:
    return {each.vin: factories.token(factories.vehicle(vin=each.vin)) for each in (HERON, LAPWING)}


def run(url: str, folder: Path, vehicles: tuple[Vehicle, ...], tokens: dict[str, str]) -> tuple[list[str], list[upload.Outcome]]:
    lines: list[str] = []
    outcomes = upload.run(url, tokens, folder, lines.append, vehicles=vehicles, today=DAY, timeout_s=90.0)
    return lines, outcomes


def test_every_batch_ends_with_one_line_that_says_how_and_a_second_start_uploads_nothing(
    live: Live, tokens: dict[str, str], tmp_path: Path
):
    lines, outcomes = run(live.url, tmp_path, (HERON, LAPWING), tokens)
    by_key = {outcome.key: outcome for outcome in outcomes}
    pattern = r"demo  {}  {}  {}  \d+\.\d s  http://127\.0\.0\.1:\d+/admin/batches/batch/{}/change/"
    expected = [
        ("Heron", "completed", "2 files", "good"),
        ("Heron", "failed", "2 files", "bad"),
        ("Lapwing", "completed with issues", "2 files", "mixed"),
    ]
    assert len(lines) == len(outcomes) == 3
    for name, status, files, key in expected:
        wanted = pattern.format(name, status, files, by_key[key].batch_id)
        assert sum(re.fullmatch(wanted, line) is not None for line in lines) == 1, (wanted, lines)
    for vehicle, batch in ((HERON, GOOD), (HERON, BAD), (LAPWING, MIXED)):
        written = prepare(vehicle, batch, DAY, upload.spool_of(tmp_path, vehicle))
        stored = File.objects.filter(batch_id=by_key[batch.key].batch_id).values_list("name", "size", "sha256")
        assert sorted(stored) == sorted((file.name, file.size, file.sha256) for file in written.files)
        assert all(hashlib.sha256(written.path(file).read_bytes()).hexdigest() == file.sha256 for file in written.files)
    mixed = BatchRow.objects.get(pk=by_key["mixed"].batch_id)
    assert (mixed.reason, mixed.software, mixed.clock) == ("test", LAPWING.software, {"source": "gnss", "synced": True})
    assert mixed.declared_from.isoformat() == "2026-11-19T08:00:00+00:00"

    events = Event.objects.count()
    _, second = run(live.url, tmp_path, (HERON, LAPWING), tokens)
    assert {outcome.batch_id for outcome in second} == {outcome.batch_id for outcome in outcomes}
    assert Event.objects.count() == events

    BatchRow.objects.filter(pk=by_key["mixed"].batch_id).delete()
    _, [anew] = run(live.url, tmp_path, (LAPWING,), tokens)
    assert anew.status == "completed"
    assert anew.batch_id != by_key["mixed"].batch_id


def test_one_vehicle_sends_forms_and_one_loses_power_in_the_middle(live: Live, tokens: dict[str, str], tmp_path: Path):
    _, outcomes = run(live.url, tmp_path, (replace(HERON, batches=(GOOD,)), LAPWING), tokens)
    assert {outcome.status for outcome in outcomes} == {"completed"}
    ids = {outcome.key: outcome.batch_id for outcome in outcomes}
    assert {row.way for row in Upload.objects.filter(batch_id=ids["mixed"])} == {Way.FORM}
    good = Upload.objects.filter(batch_id=ids["good"])
    assert {row.way for row in good} == {Way.TUS}
    assert max(row.generation for row in good) > 1, "nothing was begun twice"


def test_a_lost_folder_is_written_and_its_journal_found_again(live: Live, tokens: dict[str, str], tmp_path: Path):
    vehicle = replace(HERON, batches=(GOOD,))
    _, [first] = run(live.url, tmp_path, (vehicle,), tokens)
    shutil.rmtree(tmp_path / "state")
    _, [second] = run(live.url, tmp_path, (vehicle,), tokens)
    assert second.batch_id == first.batch_id


def test_a_refused_token_a_missing_one_and_a_batch_that_does_not_end_are_said_in_a_line(live: Live, tokens: dict[str, str], tmp_path: Path):
    lines, _ = run(live.url, tmp_path, (LAPWING, HERON), {LAPWING.vin: "lapwing"})
    assert any(line.startswith("demo  Lapwing  mixed not uploaded: the server does not accept the token: ") for line in lines)
    assert f"demo  Heron  everything not uploaded: there is no token for {HERON.vin}" in lines
    lines = []
    upload.run(live.url, tokens, tmp_path, lines.append, vehicles=(LAPWING,), today=DAY, timeout_s=0.0)
    assert re.fullmatch(r"demo  Lapwing  mixed not uploaded: still \w+ after 0 s", lines[0]), lines


def test_a_server_that_is_not_there_and_an_address_that_is_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PATIENCE_S", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    [line], _ = run(f"http://127.0.0.1:{port}", tmp_path, (LAPWING,), {LAPWING.vin: "token"})
    assert re.search(f"127.0.0.1:{port} does not answer: .*refused", line)
    [line], _ = run("localhost:8000", tmp_path, (LAPWING,), {LAPWING.vin: "token"})
    assert "is no address of a server" in line


def test_the_command_line_needs_tokens_for_the_whole_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({}))
    status = main(["upload", "--url", "http://127.0.0.1:9", "--tokens", str(tokens), "--folder", str(tmp_path / "files")])
    assert status == 1
    assert capsys.readouterr().out.count("there is no token for") == len(VEHICLES)
