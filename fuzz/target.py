"""The process that fuzzes one parser: runs in the environment of the fuzzer, on instrumented modules. Started by `python -m fuzz`."""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

SLOW_SECONDS = 4.0  # of CPU for one input; the instrumented modules are several times slower than the real ones
GREW_BYTES = 256 << 20
KEPT = 2  # inputs of one finding


class Findings:
    """Inputs that broke a rule, by the place where they did, so that one fault does not end the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: dict[str, int] = {}

    def add(self, kind: str, detail: str, data: bytes) -> None:
        """Keeps the input and the trace while there are few of this kind."""
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if self.seen[kind] <= KEPT:
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", kind)[:120] + f"-{self.seen[kind]}"
            (self.folder / name).write_bytes(data)
            (self.folder / f"{name}.txt").write_text(detail)
            sys.stderr.write(f"FINDING {name}\n{detail}\n")


def kind_of(error: BaseException) -> str:
    """What and where: two inputs of one kind have one cause."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/parsers/" in frame.filename or "/fuzz/" in frame.filename]
    place = f"{Path(frames[-1].filename).name}_{frames[-1].lineno}" if frames else "nowhere"
    words = re.sub(r"\d+|'.*'|b'.*", "", str(error))[:50]
    return f"{type(error).__name__}_{place}_{words}"


def main() -> None:
    """argv: format, folder of the instrumented package, root, folder for findings, seconds of CPU; the rest is libFuzzer's."""
    name, built, root, folder, seconds = sys.argv[1:6]
    sys.path[:0] = [built, root]
    import atheris

    with atheris.instrument_imports(include=["parsers"]):
        from fuzz.check import examine
        from parsers.registry import parsers
    parser = parsers()[name]
    findings = Findings(Path(folder))
    progress: dict[str, Any] = {"executions": 0}

    def unraisable(hook: Any) -> None:
        progress["unraisable"] = hook

    sys.unraisablehook = unraisable

    def save() -> None:
        progress["cpu_seconds"] = time.process_time()
        report = {"executions": progress["executions"], "cpu_seconds": progress["cpu_seconds"], "findings": findings.seen}
        Path(folder, "progress.json").write_text(json.dumps(report))

    def one_input(data: bytes) -> None:
        began, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            examine(parser, data)
        except Exception as error:
            findings.add(kind_of(error), traceback.format_exc(), data)
        ended, holds = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if ended - began > SLOW_SECONDS:
            findings.add("slow", f"{ended - began:.1f} s of CPU", data)
        if (holds - held) << 10 > GREW_BYTES:
            findings.add("memory", f"{(holds - held) >> 10} MiB more", data)
        if "unraisable" in progress:
            hook = progress.pop("unraisable")
            findings.add(f"unraisable_{kind_of(hook.exc_value)}", f"{hook.exc_value!r} in {hook.object!r}", data)
        progress["executions"] += 1
        if progress["executions"] % 200 == 0:
            save()
            if ended > float(seconds):
                os._exit(0)

    atheris.Setup([sys.argv[0], *sys.argv[6:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
