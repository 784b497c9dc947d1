"""The demo client brings every byte up, goes on where it stopped, and says in words what went wrong."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from demo import upload
from demo.__main__ import main
from demo.files import prepare
from demo.fleet import BLF, CANDUMP, VEHICLES, Batch, Vehicle
from tests.demo.server import Kept, serving

DAY = date(2026, 11, 20)
GOOD = Batch("good", "test", BLF, 1, 2, 91, 2, 8.0)
MIXED = Batch("mixed", "test", CANDUMP, 1, 1, 92, 1, 8.0, garbage=True)
BAD = Batch("bad", "test", BLF, 1, 1, 93, 1, 10.0, unreadable=True)
HERON = replace(VEHICLES[0], batches=(GOOD, BAD))
LAPWING = replace(VEHICLES[2], batches=(MIXED,))
TOKENS = {HERON.vin: "heron", LAPWING.vin: "lapwing"}


@pytest.fixture
def server() -> Iterator[tuple[str, Kept]]:
    with serving() as pair:
        yield pair


def run(url: str, folder: Path, vehicles: tuple[Vehicle, ...], tokens: dict[str, str] = TOKENS) -> tuple[list[str], list[upload.Outcome]]:
    lines: list[str] = []
    outcomes = upload.run(url, tokens, folder, lines.append, vehicles=vehicles, today=DAY, timeout_s=30.0)
    return lines, outcomes


def test_every_batch_ends_with_one_line_that_says_how(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    lines, outcomes = run(url, tmp_path, (HERON, LAPWING))
    assert len(lines) == len(outcomes) == 3
    by_key = {outcome.key: outcome for outcome in outcomes}
    pattern = r"demo  {}  {}  {}  \d+\.\d s  http://127\.0\.0\.1:\d+/admin/batches/batch/{}/change/"
    expected = [
        ("Heron", "completed", "2 files", "good"),
        ("Heron", "failed", "2 files", "bad"),
        ("Lapwing", "completed with issues", "2 files", "mixed"),
    ]
    for name, status, files, key in expected:
        wanted = pattern.format(name, status, files, by_key[key].batch_id)
        assert sum(re.fullmatch(wanted, line) is not None for line in lines) == 1, (wanted, lines)
    assert len(kept.batches) == 3


def test_the_server_holds_the_same_bytes_by_either_way_of_uploading(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    _, outcomes = run(url, tmp_path, (HERON, LAPWING))
    for vehicle, batch in ((HERON, GOOD), (LAPWING, MIXED)):
        [outcome] = [outcome for outcome in outcomes if outcome.key == batch.key]
        written = prepare(vehicle, batch, DAY, tmp_path)
        assert kept.files[outcome.batch_id] == {file.name: written.path(file).read_bytes() for file in written.files}
    methods = {(method, token) for method, path, token in kept.requests if "/files" in path}
    assert methods == {("PUT", "heron"), ("POST", "lapwing")}


def test_a_batch_declares_when_and_with_what_it_was_recorded(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    run(url, tmp_path, (LAPWING,))
    [batch] = kept.batches.values()
    assert batch["declared"] == {
        "recorded_from": "2026-11-19T08:00:00.000Z",
        "recorded_to": "2026-11-19T08:00:59.947Z",
        "clock": {"source": "gnss", "synced": True},
        "software": LAPWING.software,
        "reason": "test",
    }


def test_a_second_start_uploads_nothing_again(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    _, first = run(url, tmp_path, (HERON,))
    kept.requests.clear()
    lines, second = run(url, tmp_path, (HERON,))
    assert {outcome.batch_id for outcome in second} == {outcome.batch_id for outcome in first}
    assert {method for method, _, _ in kept.requests} == {"GET"}
    assert any("completed" in line for line in lines)


def test_a_new_database_gets_the_batches_anew(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    _, first = run(url, tmp_path, (HERON,))
    kept.batches.clear()
    kept.files.clear()
    _, second = run(url, tmp_path, (HERON,))
    assert {outcome.batch_id for outcome in second}.isdisjoint({outcome.batch_id for outcome in first})
    assert {outcome.status for outcome in second} == {"completed", "failed"}


def test_an_interrupted_upload_goes_on_with_the_files_that_are_missing(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    refused = (422, {"status": 422, "code": "digest_mismatch", "detail": "The bytes differ.", "action": "Send the file again."}, {})
    vehicle = replace(HERON, batches=(replace(GOOD, parts=1),))
    kept.refusals = [refused]
    lines, [stopped] = run(url, tmp_path, (vehicle,))
    assert lines == ["demo  Heron  good not uploaded: 422 digest_mismatch: The bytes differ. (Send the file again.)"]
    assert stopped.error
    _, [done] = run(url, tmp_path, (vehicle,))
    assert done.status == "completed"
    assert len(kept.batches) == 1


def test_files_that_the_server_has_are_not_sent_twice(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    vehicle = replace(HERON, batches=(GOOD,))
    written = prepare(vehicle, GOOD, DAY, tmp_path)
    client = upload.Client(url, "heron")
    batch_id = client.call("POST", "/api/v1/batches", {})["id"]
    upload.put_file(client, batch_id, written.files[0], written.path(written.files[0]))

    class Known(upload.UploadNote):
        def get(self, key: str) -> str | None:
            return batch_id

    kept.requests.clear()
    outcome = upload.upload_batch(client, vehicle, GOOD, written, Known(tmp_path), 30.0)
    assert outcome.status == "completed"
    assert [path for method, path, _ in kept.requests if method == "PUT"] == [f"/api/v1/batches/{batch_id}/files/drive_002.blf"]


def test_a_busy_server_is_asked_again(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    busy = {"status": 503, "code": "busy", "detail": "Too many uploads.", "retryable": True}
    kept.refusals = [(503, busy, {"Retry-After": "0"}), (429, {**busy, "status": 429}, {"Retry-After": "0"})]
    _, [outcome] = run(url, tmp_path, (replace(HERON, batches=(GOOD,)),))
    assert (outcome.status, outcome.error) == ("completed", "")
    assert sum(method == "PUT" for method, _, _ in kept.requests) == 4


def test_an_early_answer_to_a_large_body_is_still_heard(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    kept.refusals = [(413, {"status": 413, "code": "file_too_large", "detail": "At most 1 MB.", "action": "Split the file."}, {})]
    path = tmp_path / "big.blf"
    path.write_bytes(bytes(30_000_000))
    file = upload.WrittenFile("big.blf", 30_000_000, "00" * 32)
    with pytest.raises(upload.UploadError, match=r"^413 file_too_large: At most 1 MB\. \(Split the file\.\)$"):
        upload.put_file(upload.Client(url, "heron", patience_s=0), "some-id", file, path)


def test_a_refused_token_and_a_missing_one_are_said_in_a_line(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    kept.tokens = {"other"}
    lines, _ = run(url, tmp_path, (LAPWING, HERON), {LAPWING.vin: "lapwing"})
    assert "demo  Lapwing  mixed not uploaded: 401 unauthenticated: The token is not known. (Issue a new token.)" in lines
    assert f"demo  Heron  everything not uploaded: there is no token for {HERON.vin}" in lines


def test_a_manifest_that_does_not_fit_names_the_missing_files(server: tuple[str, Kept]) -> None:
    url, _ = server
    client = upload.Client(url, "heron")
    batch_id = client.call("POST", "/api/v1/batches", {})["id"]
    manifest = {"files": [{"name": "drive_001.blf", "size": 3, "sha256": "00"}]}
    with pytest.raises(upload.ProblemError, match=r"409 files_pending: .*missing: \['drive_001.blf'\]") as caught:
        client.call("POST", f"/api/v1/batches/{batch_id}/complete", manifest)
    assert caught.value.code == "files_pending"


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = upload.Client(f"http://127.0.0.1:{port}", "heron", patience_s=0)
    with pytest.raises(upload.UploadError, match=f"127.0.0.1:{port} does not answer: .*refused"):
        client.call("GET", "/api/v1/batches/x")


def test_a_batch_that_never_ends_is_given_up(server: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = server
    kept.polls_until_end = 10**9
    lines: list[str] = []
    upload.run(url, TOKENS, tmp_path, lines.append, vehicles=(LAPWING,), today=DAY, timeout_s=0.3)
    assert lines == ["demo  Lapwing  mixed not uploaded: still scattering after 0 s"]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(upload.UploadError, match="no address"):
        upload.Client("localhost:8000", "token")


def test_the_command_line_needs_tokens_for_the_whole_fleet(
    server: tuple[str, Kept], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = server
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({}))
    status = main(["upload", "--url", url, "--tokens", str(tokens), "--folder", str(tmp_path / "files")])
    assert status == 1
    assert capsys.readouterr().out.count("there is no token for") == len(VEHICLES)
