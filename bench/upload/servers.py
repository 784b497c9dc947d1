"""The servers that are measured: each with its processes pinned to one core, and what they have used so far."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).resolve().parent / "node"
SERVER_CORE, CLIENT_CORE = "0", 1
TICKS = os.sysconf("SC_CLK_TCK")
STARTS_WITHIN_S = 60


@dataclass
class Served:
    """A running server."""

    port: int
    pid: int
    folder: Path  # where the files end up

    def cpu(self) -> float:
        """Seconds of CPU time of all its processes."""
        return sum(sum(map(int, _stat(pid)[11:15])) for pid in self._processes()) / TICKS

    def memory(self) -> float:
        """Resident MB of all its processes; what they share counts once."""
        return sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in self._processes()) * 1024 / 1e6

    def peak(self) -> float:
        """The most resident MB that the largest of its processes has had."""
        return max(_kilobytes(f"/proc/{pid}/status", "VmHWM:") for pid in self._processes()) * 1024 / 1e6

    def clean(self) -> None:
        """Remove what was stored, and let the disk come to rest."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(exist_ok=True)
        os.sync()

    def _processes(self) -> list[int]:
        found = [self.pid]
        parents = {
            int(path.name): int(_stat(int(path.name))[1]) for path in Path("/proc").iterdir() if path.name.isdigit() and _alive(path)
        }
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found


def _alive(path: Path) -> bool:
    try:
        return bool((path / "stat").read_text())
    except OSError:
        return False


def _kilobytes(path: str, name: str) -> int:
    return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(name))


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; zeros for a process that has just ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ["0"] * 50


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int, folder: Path, path: str = "/healthz", env: Mapping[str, str] | None = None) -> Iterator[Served]:
    folder.mkdir(exist_ok=True)
    log = folder.with_suffix(".log").open("wb")
    process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], cwd=ROOT, stdout=log, stderr=log, env=dict(env or os.environ))
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            try:
                connection.request("GET", path)
                connection.getresponse().read()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{command[0]} does not start:\n{folder.with_suffix('.log').read_text()[-2000:]}") from None
                time.sleep(0.1)
            finally:
                connection.close()
        yield Served(port, process.pid, folder)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


@contextmanager
def nginx(folder: Path) -> Iterator[Served]:
    """nginx with its DAV module: PUT into a temporary file, then renamed."""
    port, home = _free_port(), folder / "nginx"
    home.mkdir()
    config = home / "nginx.conf"
    spools = "".join(
        f"  {name}_temp_path {home}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )  # fmt: skip
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; sendfile on; client_max_body_size 0;\n{spools}"
        f"  server {{ listen 127.0.0.1:{port}; root {home}/files; location / {{ dav_methods PUT; create_full_put_path on; }} }}\n}}\n"
    )
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with _running([binary, "-p", str(home), "-c", str(config), "-e", f"{home}/error.log", *user], port, home / "files") as served:
        yield served


@contextmanager
def floor(folder: Path) -> Iterator[Served]:
    """The bare loop of bench.upload.floor."""
    port = _free_port()
    with _running([sys.executable, "-m", "bench.upload.floor", str(folder / "floor"), str(port)], port, folder / "floor") as served:
        yield served


@contextmanager
def tus_node(folder: Path) -> Iterator[Served]:
    """@tus/server with its FileStore."""
    port = _free_port()
    with _running(["node", str(NODE / "server.mjs"), str(folder / "tus"), str(port)], port, folder / "tus") as served:
        yield served


@contextmanager
def argus(folder: Path, env: Mapping[str, str]) -> Iterator[Served]:
    """Argus as it is deployed, one web process."""
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:argus_site.gunicorn_conf", "argus_site.wsgi"]
    command += ["--bind", f"127.0.0.1:{port}", "--graceful-timeout", "3"]
    with _running(command, port, Path(env["ARGUS_STORAGE_DIR"]), env=env) as served:
        yield served
