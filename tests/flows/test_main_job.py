"""The main job through running processes: a vehicle uploads, workers parse, a support engineer sees what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import requests

from batches.models import Batch, BatchState
from diagnosis.models import Finding, SignalLimit
from files import storage
from tests import factories
from tests.flows.live import Live
from vehicles.signal_databases import add_signal_database

pytestmark = pytest.mark.cluster

DBC = b'VERSION ""\nBS_:\nBU_: X\nBO_ 496 Engine: 8 X\n SG_ Coolant : 0|16@1+ (0.1,-40) [-40|200] "degC" X\n'


def drive(hot: bool, frames: int = 3000) -> bytes:
    """30 s of one message at 100 Hz; hot: 130 °C between 10 s and 20 s."""
    lines = []
    for i in range(frames):
        celsius = 130 if hot and 1000 <= i < 2000 else 90
        raw = (celsius + 40) * 10
        lines.append(f"({1_700_000_000 + i / 100:.6f}) can0 1F0#{raw & 255:02X}{raw >> 8:02X}000000000000\n")
    return "".join(lines).encode()


def test_from_upload_to_the_finding_in_the_admin(live: Live):
    vehicle = factories.vehicle(name="Overheated")
    add_signal_database(vehicle.platform, "engine", DBC, actor="test")
    SignalLimit.objects.create(signal="Coolant", high=115, duration_s=5, severity="critical", action="Let it cool.")
    token = factories.token(vehicle)
    batch_id = live.send(
        token,
        {"cool.log": drive(hot=False), "hot.log": drive(hot=True).replace(b"(17000000", b"(17000100"), "broken.blf": b"not a log" * 50},
    )
    ended = live.ended(token, batch_id)

    assert (ended["status"], ended["processed_files"], ended["failed_files"], ended["worst_severity"]) == ("completed", 2, 1, "critical")
    broken = next(file for file in ended["files"] if file["name"] == "broken.blf")
    assert (broken["state"], broken["error"]["code"]) == ("failed", "unknown_format")

    batch = Batch.objects.get(pk=batch_id)
    statistics = json.loads(storage.read_bytes(f"{batch.result_key}/statistics.json", 2**24))
    (coolant,) = [signal for signal in statistics["signals"] if signal["signal"] == "Coolant"]
    assert (coolant["count"], coolant["min"], coolant["max"], coolant["p50"]) == (6000, 90.0, 130.0, 90.0)
    assert coolant["mean"] == pytest.approx((5000 * 90 + 1000 * 130) / 6000)
    finding = Finding.objects.get(batch=batch, rule="limits")
    assert (finding.signal, finding.severity, finding.to_ns - finding.from_ns) == ("Coolant", "critical", pytest.approx(10e9, rel=0.01))

    factories.user("helper", "support")
    page = admin(live, "helper").get(f"{live.url}/admin/batches/batch/{batch_id}/change/", timeout=30)
    assert page.status_code == 200
    assert "Coolant was above its limit of 115" in page.text
    assert "Retry failed files" not in page.text


def test_a_killed_parser_child_is_tried_again_and_the_batch_ends(live: Live):
    token = factories.token(factories.vehicle())
    # Each worker has begun to parse, and so has its template.
    live.ended(token, live.send(token, {f"{number}.log": drive(hot=False) for number in range(8)}))
    batch_id = live.send(token, {"long.log": drive(hot=False, frames=400_000)})
    assert kill_child(live), live.tail()
    until = time.monotonic() + 30
    while not Batch.objects.get(pk=batch_id).events.filter(type="FileReleased").exists():
        assert time.monotonic() < until, live.tail()
        time.sleep(0.1)
    assert Batch.objects.get(pk=batch_id).state == BatchState.SCATTERING
    ended = live.ended(token, batch_id)
    assert (ended["status"], ended["processed_files"]) == ("completed", 1)
    file = Batch.objects.get(pk=batch_id).files.get()
    assert (file.crash_count, file.attempt) == (1, 2)


def kill_child(live: Live) -> bool:
    """SIGKILL the first parser child of this Argus that appears."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for template in templates_of(live) * 100:  # children live for a tenth of a second: looking for templates takes as long
            if children := Path(f"/proc/{template}/task/{template}/children").read_text().split():
                os.kill(int(children[0]), signal.SIGKILL)
                return True
    return False


def templates_of(live: Live) -> list[int]:
    """The processes of this Argus that parser children are forked from; they live as long as their worker."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_template(pid) and live.worker in ancestors(pid)]


def is_template(pid: int) -> bool:
    try:
        return b"parsers.template" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(re.search(r"^PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])
        except OSError:
            return found
        found.append(pid)
    return found


def admin(live: Live, name: str) -> requests.Session:
    """A browser session of a person."""
    session = requests.Session()
    form = session.get(f"{live.url}/admin/login/", timeout=30)
    crumb = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)[1]
    answer = session.post(
        f"{live.url}/admin/login/",
        data={"username": name, "password": "a long password", "csrfmiddlewaretoken": crumb},
        timeout=30,
        allow_redirects=False,
    )
    assert answer.status_code == 302, answer.text
    return session
