"""The signal database of a log is recognised by its ids, and left alone when it is not clear which one it is."""

from __future__ import annotations

import pytest

from batches.models import Batch
from files.models import File
from tests import factories
from tests.queue import drain
from vehicles.recognition import recognise
from vehicles.signal_databases import add_signal_database

pytestmark = pytest.mark.django_db


def dbc(ids: list[int], length: int = 8, j1939: bool = False) -> bytes:
    lines = [f'BO_ {i} Message{i}: {length} X\n SG_ Value : 0|8@1+ (1,0) [0|0] "V" X\n' for i in ids]
    tail = ['BA_DEF_ "ProtocolType" STRING ;\nBA_DEF_DEF_ "ProtocolType" "";\nBA_ "ProtocolType" "J1939";\n'] if j1939 else []
    tail += (
        ['BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";\nBA_DEF_DEF_ "VFrameFormat" "J1939PG";\n']
        if j1939
        else []
    )
    return ('VERSION ""\nBS_:\nBU_: X\n' + "\n".join(lines + tail)).encode()


def log(*ids: int, extended: bool = False, length: int = 8, count: int = 10) -> dict:
    return {
        "arbitration_ids": [{"channel": "can0", "id": f"{i:x}", "extended": extended, "count": count, "length_max": length} for i in ids]
    }


def test_the_database_with_most_of_the_frames_is_chosen():
    add_signal_database(factories.platform(name="one"), "a", dbc([1, 2, 3, 4]), actor="x")
    right = add_signal_database(factories.platform(name="two"), "b", dbc([1, 10, 11, 12, 13]), actor="x")
    found = recognise(log(10, 11, 12, 13, 99))
    assert found is not None
    assert (found.database, found.share) == (right, 0.8)


@pytest.mark.parametrize(
    "summary",
    [
        log(),
        log(1, 2),
        log(1, 2, 3, 50, 51, 52, 53),
        log(1, 2, 3, 4, length=9),
        log(1, 2, 3, 4, extended=True),
        {"arbitration_ids": [{"channel": "", "id": "1", "extended": False, "count": 0, "length_max": 0}]},
    ],
    ids=["no ids", "too few", "less than half", "longer frames", "29-bit ids", "no frames"],
)
def test_what_does_not_fit_is_not_chosen(summary):
    add_signal_database(factories.platform(), "a", dbc([1, 2, 3, 4]), actor="x")
    assert recognise(summary) is None


def test_of_two_that_fit_equally_none_is_chosen_unless_they_are_the_same():
    add_signal_database(factories.platform(name="one"), "a", dbc([1, 2, 3, 4]), actor="x")
    add_signal_database(factories.platform(name="two"), "a", dbc([1, 2, 3, 4, 5]), actor="x")
    assert recognise(log(1, 2, 3, 4)) is None
    assert recognise(log(1, 2, 3, 5, 5)) is not None
    add_signal_database(factories.platform(name="two"), "a", dbc([1, 2, 3, 4]), actor="x")
    assert recognise(log(1, 2, 3, 4)) is not None


def test_j1939_messages_are_recognised_by_their_group_whoever_sends_them():
    truck = add_signal_database(
        factories.platform(), "j1939", dbc([0x8CF00400 + 0xFE, 0x98FEF100 + 0xFE, 0x98FEEE00 + 0xFE], j1939=True), actor="x"
    )
    found = recognise(log(0x0CF00400, 0x18FEF117, 0x18FEEE00, *range(0x18FF0000, 0x18FF0A00, 0x100), extended=True))
    assert found is not None
    assert found.database == truck


def test_retired_databases_are_not_chosen():
    platform = factories.platform()
    add_signal_database(platform, "a", dbc([1, 2, 3]), actor="x")
    add_signal_database(platform, "a", dbc([21, 22, 23]), actor="x")
    assert recognise(log(1, 2, 3)) is None


def test_a_vehicle_without_database_is_decoded_with_the_one_that_fits_and_told_so():
    add_signal_database(factories.platform(name="Van"), "powertrain", dbc([0x101, 0x102, 0x103]), actor="x")
    vehicle = factories.vehicle(platform=factories.platform(name="Unknown"))
    lines = "".join(f"({1_700_000_000 + i / 10:.6f}) can0 {0x101 + i % 3:03X}#{i % 256:02X}00000000000000\n" for i in range(300))
    batch = factories.uploaded({"drive.log": lines.encode()}, vehicle)
    drain()
    batch = Batch.objects.get(pk=batch.pk)
    file = File.objects.get(batch=batch)
    assert batch.state == "completed"
    assert (file.facts["signals"], file.facts["coverage"]["frames_known"]) == (3, 300)
    assert file.databases == ["powertrain v1 of Van, chosen: it has 100% of the frames"]
    (finding,) = batch.findings.filter(rule="coverage")
    assert "was chosen by the arbitration ids" in finding.sentence


def test_a_chosen_database_that_cannot_be_used_costs_no_file(monkeypatch):
    from parsers import sandbox

    add_signal_database(factories.platform(name="Van"), "powertrain", dbc([0x101, 0x102, 0x103]), actor="x")
    lines = "".join(f"({1_700_000_000 + i / 10:.6f}) can0 {0x101 + i % 3:03X}#{i % 256:02X}00000000000000\n" for i in range(300))
    batch = factories.uploaded({"drive.log": lines.encode()}, factories.vehicle(platform=factories.platform(name="Unknown")))
    run, walls = sandbox.run, []

    def only_once(fd, name, databases, folder, limits, on_progress):
        walls.append(limits.wall_seconds)
        return run(fd, name, databases, folder, limits, on_progress) if len(walls) == 1 else sandbox.Crashed("memory", "too much")

    monkeypatch.setattr(sandbox, "run", only_once)
    drain()
    file = File.objects.get(batch=batch)
    assert Batch.objects.get(pk=batch.pk).state == "completed"
    assert (file.attempt, file.databases, file.facts["frames"]["total"]) == (1, [], 300)
    assert walls[1] < walls[0]  # both runs share the time that the lease is renewed and the queue waits
