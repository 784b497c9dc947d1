"""The sandbox: what a good child gives, and that every way a bad one ends is told apart and believed in nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from parsers import sandbox
from parsers.can.database import Database
from parsers.errors import Corrupt
from parsers.sandbox import Crashed, Outcome, Parsed, Refused, SandboxCrash, SandboxLimits

LOG = "".join(f"(1700000000.{i:06d}) can0 100#{i & 255:02X}00000000000000\n" for i in range(1000))
DBC = b'VERSION ""\nBS_:\nBU_: X\nBO_ 256 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "V" X\n'


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "input.log"
    path.write_text(LOG)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def databases() -> bytes:
    return sandbox.join_databases([(Database.load_dbc(DBC, "test.dbc").to_json(), None)])


def hostile(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Puts another program in the child's place; `job` and `send` are what a child has."""
    prelude = """
        import json, os, sys, time, signal
        job = json.loads(os.fdopen(0, "rb", closefd=False).readline())
        def send(text):
            os.write(job["report_fd"], text.encode() + b"\\n")
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code)
    monkeypatch.setattr(sandbox, "BOOT", program.replace("{", "{{").replace("}", "}}"))


def trusted(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Runs code in the real child after it has locked itself down."""
    body = textwrap.indent(textwrap.dedent(code), "    ")
    start = f"import sys; sys.path[:0] = {{path!r}}\nfrom parsers import child\ndef task(job, payload, report):\n{body}\n"
    monkeypatch.setattr(sandbox, "BOOT", start + "child.TASKS['decode'] = task\nchild.main()\n")


def run(log: int, out: Path, **limits: object) -> Outcome:
    return sandbox.run(log, "input.log", databases(), out, SandboxLimits(**limits))  # type: ignore[arg-type]


def test_a_file_is_decoded_and_the_checked_summary_comes_back(log: int, out: Path) -> None:
    outcome = run(log, out)
    assert isinstance(outcome, Parsed), outcome
    assert outcome.summary["frames"]["total"] == 1000
    assert outcome.summary["streams"][0]["signals"][0]["max"] == 255
    assert outcome.cpu_seconds > 0
    assert 10 << 20 < outcome.peak_bytes < 256 << 20
    assert sorted(os.listdir(out)) == ["overview.parquet", "streams", "summary.json"]


def test_progress_is_told_at_least_each_second_and_false_ends_the_child(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(monkeypatch, "for i in range(1000): send(json.dumps({'bytes': i, 'tick': i})); time.sleep(0.05)")
    calls: list[tuple[float, int]] = []

    def progress(read: int) -> bool:
        calls.append((time.monotonic(), read))
        return len(calls) < 3

    outcome = sandbox.run(log, "x", b"[]", out, SandboxLimits(), progress)
    assert isinstance(outcome, Crashed)
    assert outcome.kind == "cancelled"
    assert len(calls) == 3
    assert all(later[0] - earlier[0] < 1.05 for earlier, later in pairwise(calls))
    assert calls[-1][1] > calls[0][1] > 0


def test_the_child_is_killed_when_progress_raises(log: int, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hostile(monkeypatch, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")

    def progress(_read: int) -> bool:
        raise LookupError("lease lost")

    with pytest.raises(LookupError):
        sandbox.run(log, "x", b"[]", out, SandboxLimits(), progress)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(("content", "code"), [(b"", "empty_file"), (b"%PDF-1.7 hello", "unknown_format"), (b"LOGG" + bytes(200), None)])
def test_a_bad_file_is_refused_with_code_and_reason(content: bytes, code: str | None, out: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        outcome = run(fd, out)
    finally:
        os.close(fd)
    assert isinstance(outcome, Refused), outcome
    assert outcome.code == (code or outcome.code)
    assert outcome.reason


def test_a_pipe_is_no_input(out: Path) -> None:
    reader, writer = os.pipe()
    try:
        outcome = run(reader, out)
    finally:
        os.close(reader)
        os.close(writer)
    assert isinstance(outcome, Refused)
    assert outcome.code == "unsupported"


@pytest.mark.parametrize(
    ("code", "kind", "detail"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal", "SIGSEGV"),
        ("os.abort()", "signal", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "memory", "killed from outside"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "cpu", "CPU time"),
        ("sys.exit(3)", "exit", "status 3"),
        ("pass", "exit", "before it was done"),
        ("raise ValueError('boom')", "exit", "status 1"),
        ("os.write(2, b'x' * 100_000); time.sleep(60)", "stderr", "65536 bytes"),
        ("send('x' * 5000); time.sleep(60)", "protocol", "too long"),
        ("os.write(job['report_fd'], b'x' * 5000); time.sleep(60)", "protocol", "too long"),
        ("send('not json'); time.sleep(60)", "protocol", "malformed"),
        ("send('[' * 4000); time.sleep(60)", "protocol", "malformed"),
        ("send('5'); time.sleep(60)", "protocol", "malformed"),
        ('send(\'{"bytes": -1, "tick": 1}\'); time.sleep(60)', "protocol", "malformed"),
        ('send(\'{"bytes": true, "tick": 1}\'); time.sleep(60)', "protocol", "malformed"),
        ('send(\'{"crash": {"kind": "cancelled", "detail": "x"}}\'); time.sleep(60)', "protocol", "x"),
        ('send(\'{"error": {"code": 5, "reason": "", "offset": null}}\'); time.sleep(60)', "protocol", "malformed"),
        ("send('{\"done\": true}')", "protocol", "summary.json"),
    ],
)
def test_each_way_to_fail_has_its_kind(code: str, kind: str, detail: str, log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(monkeypatch, code)
    outcome = run(log, out)
    assert isinstance(outcome, Crashed), outcome
    assert (outcome.kind, detail in outcome.detail) == (kind, True), outcome


def test_a_child_that_does_nothing_is_stalled_and_one_that_only_talks_meets_the_wall(
    log: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(monkeypatch, "time.sleep(60)")
    outcome = run(log, out, stall_seconds=0.5)
    assert isinstance(outcome, Crashed)
    assert outcome.kind == "stall"
    hostile(monkeypatch, "for i in range(10**6): send(json.dumps({'bytes': 0, 'tick': i})); time.sleep(0.05)")
    outcome = run(log, out, stall_seconds=5, wall_seconds=1)
    assert isinstance(outcome, Crashed)
    assert outcome.kind == "wall"


def test_a_child_that_closes_its_pipes_and_lives_on_is_killed(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(monkeypatch, "send('{\"done\": true}'); os.close(job['report_fd']); os.close(2); time.sleep(60)")
    started = time.monotonic()
    outcome = run(log, out)
    assert isinstance(outcome, Crashed)
    assert time.monotonic() - started < 10


def test_nothing_of_the_childs_session_is_left(log: int, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hostile(
        monkeypatch,
        f"""
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
        open({str(tmp_path / "pid")!r}, "w").write(str(pid))
        send("x" * 5000)
        time.sleep(60)
        """,
    )
    run(log, out)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if _state(pid) in ("", "Z"):
            return
        time.sleep(0.02)
    pytest.fail("the grandchild lives")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def test_memory_beyond_the_limit_is_a_memory_crash(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted(monkeypatch, "x = bytearray(1 << 30)")
    outcome = run(log, out, memory=512 << 20)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "memory"


def test_cpu_time_beyond_the_limit_is_a_cpu_crash(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted(monkeypatch, "while True: pass")
    outcome = run(log, out, cpu_seconds=1)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "cpu"


def test_a_full_disk_is_not_the_files_fault(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted(monkeypatch, "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))")
    outcome = run(log, out)
    assert isinstance(outcome, Crashed)
    assert (outcome.kind, outcome.detail) == ("storage", "No space left on device")


def test_the_child_is_locked_down(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "do not tell")
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    trusted(
        monkeypatch,
        """
        import json, os, resource
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        found = dict(
            environment=sorted(os.environ), fds=sorted(int(fd) for fd in os.listdir("/proc/self/fd")), session=os.getsid(0) == os.getpid(),
            privileges=status["NoNewPrivs"].strip(), oom=open("/proc/self/oom_score_adj").read().strip(), cwd=os.getcwd(),
            limits=[resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)],
            expected=[0, 1, 2, job["report_fd"], job["input_fd"]],
            networks=sorted(line.split(":")[0].strip() for line in open("/proc/self/net/dev") if ":" in line),
        )
        raise child.ParseError(json.dumps(found))
        """,
    )
    outcome = run(log, out)
    os.close(secret)
    assert isinstance(outcome, Refused), outcome
    found = json.loads(outcome.reason)
    assert found["environment"] == sorted(sandbox.ENVIRONMENT)
    assert "SECRET_KEY" not in sandbox.ENVIRONMENT
    listing = set(found["fds"]) - set(found["expected"])
    assert len(listing) <= 1  # the descriptor that listed the others
    assert (found["session"], found["privileges"], found["oom"], found["cwd"]) == (True, "1", "1000", str(out))
    assert found["limits"] == [2048 << 20, 0, 1024]
    if subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0:
        assert found["networks"] == ["lo"]


def test_the_child_dies_with_its_parent(tmp_path: Path, log: int, out: Path) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {sandbox.ROOT!r})
from parsers import sandbox
sandbox.BOOT = '''import sys; sys.path[:0] = {{path!r}}
from parsers import child
import os, time
def task(job, payload, report):
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    time.sleep(60)
child.TASKS["decode"] = task
child.main()'''
sandbox.run(os.open({str(tmp_path / "input.log")!r}, os.O_RDONLY), "x", b"[]", {str(out)!r})
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    pid_file = tmp_path / "pid"
    for _ in range(500):
        if pid_file.exists() and pid_file.read_text():
            break
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(250):
        if _state(pid) in ("", "Z"):
            return
        time.sleep(0.02)
    pytest.fail("the child lives")


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("os.symlink('/etc/passwd', 'summary.json')", "summary.json"),
        ("os.mkfifo('summary.json')", "not a regular file"),
        ("open('summary.json', 'w').write('[' * 100000)", "not JSON"),
        ("open('summary.json', 'w').write('{}')", "missing or unknown keys"),
        ("f = open('summary.json', 'wb'); f.truncate(1 << 30)", "at most"),
    ],
)
def test_a_summary_that_is_not_one_is_never_followed(code: str, detail: str, log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(monkeypatch, code + "\nsend('{\"done\": true}')")
    outcome = run(log, out)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "protocol"
    assert detail in outcome.detail or "Too many levels" in outcome.detail


@pytest.mark.parametrize(
    "code",
    ["os.symlink('/etc/passwd', 'streams/x.parquet')", "open('more', 'w')", "os.unlink('overview.parquet')", "os.mkdir('streams/d')"],
)
def test_a_directory_with_other_files_than_the_summary_names_is_refused(
    code: str, log: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted(monkeypatch, f"child._decode(job, payload, report)\nimport os\n{code}")
    outcome = run(log, out)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "protocol"


def test_control_characters_in_a_reason_do_not_reach_the_caller(log: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted(monkeypatch, "raise child.ParseError('red \\x1b[31m \\u202e text', 7)")
    assert run(log, out) == Refused("parse_error", "red \ufffd[31m \ufffd text", 7)


def test_a_database_is_compiled_in_a_child_of_its_own() -> None:
    compiled, warnings, counts = sandbox.compile_database(DBC, "test.dbc")
    assert Database.from_json(compiled) == Database.load_dbc(DBC, "test.dbc")
    assert (warnings, counts) == ([], {"messages": 1, "signals": 1})


def test_a_bad_database_raises_what_the_parser_raised() -> None:
    with pytest.raises(Corrupt, match="no message can be read"):
        sandbox.compile_database(b"%PDF", "x")


def test_a_database_that_eats_memory_does_not_hurt_the_caller() -> None:
    bomb = DBC + b' SG_ B M : 8|8@1+ (1,0) [0|0] "" X\n SG_ C m1 : 16|8@1+ (1,0) [0|0] "" X\nSG_MUL_VAL_ 256 C B 0-4294967295;\n'
    with pytest.raises(SandboxCrash) as caught:
        sandbox.compile_database(bomb, "x", SandboxLimits(memory=400 << 20, cpu_seconds=20))
    assert caught.value.outcome.kind in ("memory", "cpu")


def test_the_command_line_decodes_and_checks(tmp_path: Path, log: int) -> None:
    (tmp_path / "test.dbc").write_bytes(DBC)
    command = [sys.executable, "-m", "parsers"]
    decoded = subprocess.run(
        [*command, "decode", str(tmp_path / "input.log"), "--dbc", f"{tmp_path / 'test.dbc'}@can0", "--out", str(tmp_path / "result")],
        capture_output=True, text=True, cwd=sandbox.ROOT, check=False,
    )  # fmt: skip
    assert (decoded.returncode, decoded.stderr) == (0, "")
    assert "1000 frames, 1000 of them in the databases" in decoded.stdout
    checked = subprocess.run(
        [*command, "check-dbc", str(tmp_path / "test.dbc"), "--json"], capture_output=True, text=True, cwd=sandbox.ROOT, check=False
    )
    assert json.loads(checked.stdout) == {"messages": 1, "signals": 1, "warnings": []}
    refused = subprocess.run(
        [*command, "check-dbc", str(tmp_path / "input.log")], capture_output=True, text=True, cwd=sandbox.ROOT, check=False
    )
    assert (refused.returncode, refused.stderr[:8]) == (1, "corrupt:")
