"""Fuzzes one parser: `python -m fuzz blf --minutes 30`. Builds instrumented modules, starts the fuzzer, keeps findings and figures."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fuzz import seeds
from parsers.nursery import ENVIRONMENT
from parsers.registry import parsers

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "fuzz"
PYTHON = ROOT / ".venv-fuzz" / "bin" / "python"
SOURCES = (".py", ".pyx", ".pxd")
RESTARTS = 50  # the fuzzer ends with a crash, a hang or too much memory; then it goes on without that input
MEMORY_MB = 1024  # of the process: the sanitizer's and the fuzzer's own grow to some 500
LARGEST_MB = 256  # of one allocation; target.py looks at what one input needs
LONGEST_SECONDS = 10
LONGEST_INPUT = 32_768
SANITIZERS = "-fsanitize=fuzzer-no-link,address,signed-integer-overflow,float-cast-overflow,shift,integer-divide-by-zero,bounds"


def build() -> Path:
    """The package with every C module compiled for the fuzzer, below build/; only what changed is compiled anew."""
    compiler = next((found for name in ("clang", *(f"clang-{n}" for n in range(30, 13, -1))) if (found := shutil.which(name))), None)
    if compiler is None:
        sys.exit("fuzzing needs clang (Debian: apt-get install clang libclang-rt-dev)")
    tree = WORK / "tree"
    sources = [ROOT / "setup.py", *(path for path in (ROOT / "parsers").rglob("*") if path.suffix in SOURCES)]
    copies = {tree / path.relative_to(ROOT): path for path in sources}
    for copy in [path for path in tree.rglob("*") if path.suffix in SOURCES and path not in copies]:
        copy.unlink()
    for copy, path in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copy(path, copy)
    environment = os.environ | {
        "CC": compiler,
        "LDSHARED": f"{compiler} -shared",
        "CFLAGS": f"{SANITIZERS} -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-unused-command-line-argument",
        "ARGUS_DEBUG": "1",
    }
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-10_000:])
    return tree


def fuzz(name: str, seconds: float) -> dict[str, Any]:
    """Runs the fuzzer for so many seconds of CPU time; returns the figures."""
    tree = build()
    folders = {kind: WORK / kind / name for kind in ("corpus", "seeds", "findings")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    seeds.write(name, folders["seeds"])
    total: dict[str, Any] = {"format": name, "executions": 0, "cpu_seconds": 0.0, "coverage": 0, "stopped": 0, "findings": {}}
    for _ in range(RESTARTS):
        left = seconds - total["cpu_seconds"]
        if left < 5:
            break
        ended = run(name, tree, folders, left)
        if not ended["executions"] and ended["status"]:
            sys.exit(f"the fuzzer did not start, see {ended['log']}")
        total["executions"] += ended["executions"]
        total["cpu_seconds"] += ended["cpu_seconds"]
        total["coverage"] = max(total["coverage"], ended["coverage"])
        total["stopped"] += ended["status"] != 0
        for kind, count in ended["findings"].items():
            total["findings"][kind] = total["findings"].get(kind, 0) + count
    return total


def run(name: str, tree: Path, folders: dict[str, Path], seconds: float) -> dict[str, Any]:
    """One process of the fuzzer."""
    progress = folders["findings"] / "progress.json"
    progress.unlink(missing_ok=True)
    runtime = next(PYTHON.parent.parent.glob("lib/python*/site-packages/asan_with_fuzzer.so"))
    options = {
        "artifact_prefix": f"{folders['findings']}/stop-",
        "timeout": LONGEST_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "malloc_limit_mb": LARGEST_MB,
        "max_len": LONGEST_INPUT,
        "use_value_profile": 1,
        "print_final_stats": 1,
        "reload": 0,
    }
    command = [str(PYTHON), str(ROOT / "fuzz" / "target.py"), name, str(tree), str(ROOT), str(folders["findings"]), str(seconds)]
    command += [str(folders["corpus"]), str(folders["seeds"]), *(f"-{key}={value}" for key, value in options.items())]
    environment = ENVIRONMENT | {
        "PATH": os.environ["PATH"],
        "LD_PRELOAD": str(runtime),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=8:malloc_context_size=4:symbolize=1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    before = os.times()
    log = folders["findings"] / f"log-{int(time.time())}.txt"
    with log.open("wb") as output:
        done = subprocess.run(command, cwd=WORK, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    after = os.times()
    ended: dict[str, Any] = {"executions": 0, "findings": {}}
    if progress.exists():
        ended |= json.loads(progress.read_text())
    ended["cpu_seconds"] = after.children_user + after.children_system - before.children_user - before.children_system
    ended["coverage"] = max((int(found) for found in re.findall(rb"cov: (\d+)", log.read_bytes())), default=0)
    ended |= {"status": done.returncode, "log": log}
    if done.returncode:
        sys.stderr.write(f"{name}: stopped with status {done.returncode}, see {log}\n")
    return ended


def main() -> None:
    """Fuzzes and appends the figures to build/fuzz/runs.jsonl. Ends with 1 when there was a finding."""
    arguments = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    arguments.add_argument("format", choices=sorted(parsers()))
    arguments.add_argument("--minutes", type=float, default=30, help="of CPU time")
    options = arguments.parse_args()
    total = fuzz(options.format, options.minutes * 60)
    with (WORK / "runs.jsonl").open("a") as file:
        file.write(json.dumps(total) + "\n")
    sys.stdout.write(
        f"{total['format']}: {total['executions']} executions in {total['cpu_seconds']:.0f} s of CPU, "
        f"{total['coverage']} edges, {total['stopped']} stops, findings: {total['findings'] or 'none'}\n"
    )
    sys.exit(1 if total["stopped"] or total["findings"] else 0)


if __name__ == "__main__":
    main()
