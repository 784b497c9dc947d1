"""Uploads of Argus beside its peers: `python -m bench.upload [--rounds 5] [--only put,tus,small,slow,large]`.

Each server alone on the first core, the client on the second; rounds interleaved, medians. Results go to bench/results/upload.json.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.report import FOLDER, Row, write
from bench.upload import servers, slow
from bench.upload.client import Answer, Link
from bench.upload.servers import Served

GIB = 1 << 30
SMALL, SMALL_BYTES, SMALL_LINKS = 200, 1 << 20, 4
SLOW, SLOW_BYTES_PER_SECOND, SLOW_SECONDS = 200, 50_000, 20
LARGE = 10 * GIB
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream", **TUS}
VEHICLES = 25  # of the slow ones: no more than eight uploads at once come from one vehicle


@dataclass
class Taken:
    """Seconds by the clock and of the server's CPU, of each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


class Fleet:
    """Vehicles that Argus knows, and their requests."""

    def __init__(self, folder: Path) -> None:
        self.env = os.environ | {
            "ARGUS_DATA_DIR": str(folder),
            "ARGUS_STORAGE_DIR": str(folder / "storage"),
            "ARGUS_MAX_FILE_BYTES": str(2 * LARGE),
            "ARGUS_LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "tests.live_settings",
        }
        os.environ.update(self.env)
        import django

        django.setup()
        from django.core.management import call_command

        from tests import factories

        call_command("migrate", verbosity=0)
        self.tokens = [factories.token(factories.vehicle()) for _ in range(VEHICLES)]
        self._count = 0

    def headers(self, vehicle: int = 0) -> dict[str, str]:
        """With every request of a vehicle."""
        return {"Authorization": f"Bearer {self.tokens[vehicle]}"}

    def batch(self, served: Served, vehicle: int = 0) -> str:
        """A new batch; its address."""
        return made(once(served, "POST", "/api/v1/batches", {**self.headers(vehicle), "Content-Type": "application/json"}))

    def name(self) -> str:
        """One that was not used before."""
        self._count += 1
        return f"file-{self._count}.blf"


def once(served: Served, method: str, path: str, headers: dict[str, str], size: int = 0) -> Answer:
    """A request on a connection of its own; its answer, which must be a good one."""
    link = Link(served.port)
    answer = link.send(method, path, headers, size)
    link.close()
    assert 200 <= answer.status < 300, (answer.status, answer.body)
    return answer


def metadata(name: str) -> dict[str, str]:
    """Upload-Metadata with a file name."""
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


def made(answer: Answer) -> str:
    """The path of what was created."""
    text = answer.headers["location"]
    return "/" + text.split("/", 3)[3] if "//" in text else text


def timed(served: Served, taken: Taken, act: Callable[[], object]) -> None:
    """One round."""
    cpu, wall = served.cpu(), time.perf_counter()
    act()
    taken.wall.append(time.perf_counter() - wall)
    taken.cpu.append(served.cpu() - cpu)
    served.clean()


# -- the tasks ---------------------------------------------------------------------------------------------------------


def put(rounds: int, folder: Path, fleet: Fleet) -> list[Row]:
    """One GiB by PUT."""
    taken: dict[str, Taken] = defaultdict(Taken)
    with ExitStack() as stack:
        dav, bare = stack.enter_context(servers.nginx(folder)), stack.enter_context(servers.floor(folder))
        ours = stack.enter_context(servers.argus(folder, fleet.env))
        batch = fleet.batch(ours)
        for _ in range(rounds):
            timed(dav, taken["nginx"], lambda: once(dav, "PUT", "/file", {}, GIB))
            timed(bare, taken["floor"], lambda: once(bare, "PUT", "/file", {}, GIB))
            timed(ours, taken["argus"], lambda: once(ours, "PUT", f"{batch}/files/{fleet.name()}", fleet.headers(), GIB))
    wall = {name: statistics.median(one.wall) for name, one in taken.items()}
    cpu = {name: statistics.median(one.cpu) for name, one in taken.items()}
    speed, times = wall["nginx"] / wall["argus"], cpu["argus"] / cpu["floor"]
    return [
        Row("1 GiB by PUT with SHA-256: wall time", r3(wall["argus"]), "s", "nginx DAV, no hash", r3(wall["nginx"]), r3(speed), 0.5, speed >= 0.5),
        Row(
            "1 GiB by PUT with SHA-256: CPU time", r3(cpu["argus"]), "s",
            "bare Python loop with SHA-256", r3(cpu["floor"]), r3(times), 1.6, times <= 1.6,
        ),
        Row("1 GiB by PUT: wall time of the bare Python loop", r3(wall["floor"]), "s"),
    ]  # fmt: skip


def tus(rounds: int, folder: Path, fleet: Fleet) -> list[Row]:
    """One GiB by a tus PATCH."""
    taken: dict[str, Taken] = defaultdict(Taken)
    with servers.tus_node(folder) as peer, servers.argus(folder, fleet.env) as ours:
        batch = fleet.batch(ours)
        for _ in range(rounds):
            at = made(once(peer, "POST", "/files", {**TUS, "Upload-Length": str(GIB), **metadata("file.blf")}))
            timed(peer, taken["peer"], partial(once, peer, "PATCH", at, {**BYTES, "Upload-Offset": "0"}, GIB))
            headers = {**fleet.headers(), **TUS, "Upload-Length": str(GIB), **metadata(fleet.name())}
            at = made(once(ours, "POST", f"{batch}/uploads", headers))
            headers = {**fleet.headers(), **BYTES, "Upload-Offset": "0"}
            timed(ours, taken["argus"], partial(once, ours, "PATCH", at, headers, GIB))
    wall = {name: statistics.median(one.wall) for name, one in taken.items()}
    cpu = {name: statistics.median(one.cpu) for name, one in taken.items()}
    speed, times = wall["peer"] / wall["argus"], cpu["argus"] / cpu["peer"]
    name, peer_name = "1 GiB by tus PATCH with SHA-256", "@tus/server FileStore, no hash"
    return [
        Row(f"{name}: wall time", r3(wall["argus"]), "s", peer_name, r3(wall["peer"]), r3(speed), 1.2, speed >= 1.2),
        Row(f"{name}: CPU time", r3(cpu["argus"]), "s", peer_name, r3(cpu["peer"]), r3(times), 0.8, times <= 0.8),
    ]


def small(rounds: int, folder: Path, fleet: Fleet) -> list[Row]:
    """200 files of 1 MiB, each created with its bytes, on a few kept connections; the peer also by POST and PATCH, whichever is faster."""
    taken: dict[str, Taken] = defaultdict(Taken)

    def create(served: Served, path: str, headers: dict[str, str]) -> None:
        def some() -> None:
            link = Link(served.port)
            for _ in range(SMALL // SMALL_LINKS):
                answer = link.send(
                    "POST", path, {**headers, **BYTES, "Upload-Length": str(SMALL_BYTES), **metadata(fleet.name())}, SMALL_BYTES
                )
                assert answer.status == 201, (answer.status, answer.body)
                assert answer.headers["upload-offset"] == str(SMALL_BYTES), answer.headers
            link.close()

        side_by_side(some)

    def create_then_patch(served: Served) -> None:
        def some() -> None:
            link = Link(served.port)
            for _ in range(SMALL // SMALL_LINKS):
                created = link.send("POST", "/files", {**TUS, "Upload-Length": str(SMALL_BYTES), **metadata("file.blf")})
                at = made(created)
                assert link.send("PATCH", at, {**BYTES, "Upload-Offset": "0"}, SMALL_BYTES).status == 204
            link.close()

        side_by_side(some)

    with servers.argus(folder, fleet.env) as ours:
        create(ours, f"{fleet.batch(ours)}/uploads", fleet.headers())
        ours.clean()
        for _ in range(rounds):
            # Anew each time: under real-time scheduling on one core the peer takes three times as long from its fourth pass on,
            # and under ordinary scheduling it does not. Warmed up, its second and third pass are its best.
            with servers.tus_node(folder) as peer:
                create(peer, "/files", {})
                peer.clean()
                timed(peer, taken["peer, created with its bytes"], partial(create, peer, "/files", {}))
                timed(peer, taken["peer, POST then PATCH"], partial(create_then_patch, peer))
            timed(ours, taken["argus"], partial(create, ours, f"{fleet.batch(ours)}/uploads", fleet.headers()))
    wall = {name: statistics.median(one.wall) for name, one in taken.items()}
    cpu = {name: statistics.median(one.cpu) for name, one in taken.items()}
    best = min((name for name in wall if name != "argus"), key=lambda name: wall[name])
    name, peer_name = f"{SMALL} files of 1 MiB by tus on {SMALL_LINKS} connections", f"@tus/server: {best.removeprefix('peer, ')}"
    ratio = wall[best] / wall["argus"]
    return [
        Row(f"{name}: wall time", r3(wall["argus"]), "s", peer_name, r3(wall[best]), r3(ratio), 2.0, ratio >= 2),
        Row(f"{name}: CPU time", r3(cpu["argus"]), "s", peer_name, r3(cpu[best]), r3(cpu[best] / cpu["argus"])),
    ]


def side_by_side(act: Callable[[], None]) -> None:
    """On each connection in a thread of its own; the first error of any is raised."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(SMALL_LINKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def slow_clients(_rounds: int, folder: Path, fleet: Fleet) -> list[Row]:
    """200 clients with 50 KB/s each, and somebody who asks for /healthz."""
    size = SLOW_BYTES_PER_SECOND * SLOW_SECONDS * 3
    found: dict[str, slow.Quick] = {}
    rss: dict[str, float] = {}
    with servers.argus(folder, fleet.env) as ours:
        batches = [fleet.batch(ours, vehicle) for vehicle in range(VEHICLES)]
        heads = []
        for number in range(SLOW):
            vehicle = number % VEHICLES
            path = f"{batches[vehicle]}/files/slow-{number}.blf"
            heads.append(head("PUT", path, {**fleet.headers(vehicle), "Content-Length": str(size)}))
        found["argus"], rss["argus"] = dripped(ours, heads)
    with servers.tus_node(folder) as peer:
        heads = []
        for _ in range(SLOW):
            at = made(once(peer, "POST", "/files", {**TUS, "Upload-Length": str(size), **metadata("file.blf")}))
            heads.append(head("PATCH", at, {**BYTES, "Upload-Offset": "0", "Content-Length": str(size)}))
        found["peer"], rss["peer"] = dripped(peer, heads)
    p95 = {name: statistics.quantiles(quick.times, n=20)[-1] for name, quick in found.items()}
    worst = {name: max(quick.times) for name, quick in found.items()}
    name, peer_name = f"{SLOW} clients with 50 KB/s, GET /healthz meanwhile", "@tus/server"
    return [
        Row(
            f"{name}: 95th percentile", r3(p95["argus"]), "ms", peer_name, r3(p95["peer"]),
            r3(p95["peer"] / p95["argus"]), 20.0, p95["argus"] < 20 and not found["argus"].failed,
        ),
        Row(
            f"{name}: worst", r3(worst["argus"]), "ms", peer_name, r3(worst["peer"]), r3(worst["peer"] / worst["argus"]), 200.0,
            worst["argus"] < 200,
        ),
        Row(f"{SLOW} clients with 50 KB/s: memory", r3(rss["argus"]), "MB", peer_name, r3(rss["peer"]), None, 250.0, rss["argus"] < 250),
    ]  # fmt: skip


def dripped(served: Served, heads: list[bytes]) -> tuple[slow.Quick, float]:
    """What the quick requests took, and the memory of the server at the end."""
    quick = slow.drip(heads, served.port, per_second=SLOW_BYTES_PER_SECOND, seconds=SLOW_SECONDS)
    memory = served.memory()
    served.clean()
    return quick, memory


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    """Of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


def large(_rounds: int, folder: Path, fleet: Fleet) -> list[Row]:
    """One file of 10 GiB."""
    taken = Taken()
    with servers.argus(folder, fleet.env) as ours:
        batch = fleet.batch(ours)
        once(ours, "PUT", f"{batch}/files/{fleet.name()}", fleet.headers(), GIB // 16)
        before = ours.peak()
        timed(ours, taken, lambda: once(ours, "PUT", f"{batch}/files/{fleet.name()}", fleet.headers(), LARGE))
        peak = ours.peak()
    return [
        Row("one upload of 10 GiB: highest memory of the web process", r3(peak), "MB", goal=150.0, holds=peak < 150),
        Row("one upload of 10 GiB: more than one of 64 MiB takes", r3(peak - before), "MB"),
        Row("one upload of 10 GiB: wall time", r3(taken.wall[0]), "s"),
    ]


TASKS = {"put": put, "tus": tus, "small": small, "slow": slow_clients, "large": large}


def r3(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def main() -> None:
    """Measure and write; what was not measured this time keeps its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shared", action="store_true", help="ordinary scheduling beside whatever else runs; nothing is written")
    parser.add_argument("--only", default=",".join(TASKS))
    options = parser.parse_args()
    os.sched_setaffinity(0, {servers.CLIENT_CORE})
    # Whatever else runs here takes no part: with shares by session, a server of many threads would get more of a busy core than one of few.
    with suppress(PermissionError):
        if not options.shared:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if not (servers.NODE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=servers.NODE, check=True)
    path = FOLDER / "upload.json"
    rows = {row["name"]: Row(**row) for row in json.loads(path.read_text())} if path.exists() else {}
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        fleet = Fleet(Path(folder))
        for name in options.only.split(","):
            for row in TASKS[name](options.rounds, Path(folder), fleet):
                print(row, flush=True)
                rows[row.name] = row
    if not options.shared:
        write("upload", list(rows.values()))


if __name__ == "__main__":
    main()
