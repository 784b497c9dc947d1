"""The sandbox: what a good child gives, and that every way a bad one ends is told apart and believed in nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from parsers import landlock, nursery, sandbox
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
    return sandbox.join_databases([(Database.load(DBC, "test.dbc").to_json(), None)])


class Templates:
    """Templates with other code than the real one, each kept for the tests that use it again; the code of a child comes in a file."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code.py"
        self.kept: dict[str, nursery.Nursery | None] = {nursery.BOOT: None}

    def use(self, program: str) -> None:
        """Puts a program in the real template's place."""
        self.kept[nursery.BOOT] = nursery._current
        nursery.BOOT = program
        nursery._current = self.kept.get(program)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Templates]:
    real, made = nursery.BOOT, Templates(tmp_path_factory.mktemp("templates"))
    yield made
    for program in made.kept:
        if program != real:
            made.use(program)
            nursery.close()
    made.use(real)


@pytest.fixture(autouse=True)
def own_template(templates: Templates) -> Iterator[None]:
    """A test that puts another program in the template's place leaves none behind."""
    real = nursery.BOOT
    yield
    if real != nursery.BOOT:
        templates.use(real)


def boot(templates: Templates, program: str) -> None:
    """Puts a program in the template's place."""
    body = textwrap.dedent(program).replace("{", "{{").replace("}", "}}")
    templates.use("import sys; sys.path[:0] = {path!r}\n" + body)


def hostile(templates: Templates, code: str) -> None:
    """Puts another program in the child's place; `job` and `send` are what a child has."""
    templates.code.write_text(textwrap.dedent(code))
    boot(
        templates,
        f"""
import json, os, signal, time, traceback
from parsers import child, template
def main(fds, parent):
    job_fd, report_fd, stderr_fd, folder_fd, data_fd = fds
    child.ctypes.CDLL(None).prctl(child.PR_SET_DUMPABLE, 1, 0, 0, 0)
    os.setsid()
    os.dup2(stderr_fd, 2)
    os.fchdir(folder_fd)
    job, payload = os.fdopen(job_fd, "rb", closefd=False).read().split(b"\\n", 1)
    job = json.loads(job) | dict(data_fd=data_fd, report_fd=report_fd)
    child._close_others({{0, 1, 2, report_fd, data_fd}})
    def send(text):
        os.write(report_fd, text.encode() + b"\\n")
    try:
        exec(open({str(templates.code)!r}).read(), dict(globals(), job=job, send=send, payload=payload))
    except SystemExit as ending:
        os._exit(ending.code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
template.load = lambda: main
template.main()
""",
    )


def trusted(templates: Templates, code: str) -> None:
    """Runs code in the real child after it has locked itself down."""
    templates.code.write_text("def task(job, payload, report):\n" + textwrap.indent(textwrap.dedent(code), "    "))
    boot(
        templates,
        f"""
from parsers import template
template.isolate()
from parsers import child
def main(fds, parent, real=child.main):
    exec(open({str(templates.code)!r}).read(), globals())
    child.TASKS["decode"] = task
    real(fds, parent)
child.main = main
template.main()
""",
    )


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


def test_progress_is_told_at_least_each_second_and_false_ends_the_child(log: int, out: Path, templates: Templates) -> None:
    hostile(templates, "for i in range(1000): send(json.dumps({'bytes': i, 'tick': i})); time.sleep(0.05)")
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


def test_the_child_is_killed_when_progress_raises(log: int, out: Path, templates: Templates, tmp_path: Path) -> None:
    hostile(templates, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")

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
def test_each_way_to_fail_has_its_kind(code: str, kind: str, detail: str, log: int, out: Path, templates: Templates) -> None:
    hostile(templates, code)
    outcome = run(log, out)
    assert isinstance(outcome, Crashed), outcome
    assert (outcome.kind, detail in outcome.detail) == (kind, True), outcome


def test_a_child_that_does_nothing_is_stalled_and_one_that_only_talks_meets_the_wall(log: int, out: Path, templates: Templates) -> None:
    hostile(templates, "time.sleep(60)")
    outcome = run(log, out, stall_seconds=0.5)
    assert isinstance(outcome, Crashed)
    assert outcome.kind == "stall"
    hostile(templates, "for i in range(10**6): send(json.dumps({'bytes': 0, 'tick': i})); time.sleep(0.05)")
    outcome = run(log, out, stall_seconds=5, wall_seconds=1)
    assert isinstance(outcome, Crashed)
    assert outcome.kind == "wall"


def test_a_child_that_closes_its_pipes_and_lives_on_is_killed(log: int, out: Path, templates: Templates) -> None:
    hostile(templates, "send('{\"done\": true}'); os.close(job['report_fd']); os.close(2); time.sleep(60)")
    started = time.monotonic()
    outcome = run(log, out)
    assert isinstance(outcome, Crashed)
    assert time.monotonic() - started < 10


def test_nothing_of_the_childs_session_is_left(log: int, out: Path, templates: Templates, tmp_path: Path) -> None:
    hostile(
        templates,
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
    assert ends(int((tmp_path / "pid").read_text()))


def ends(pid: int) -> bool:
    """Whether the process is gone, or only waits to be reaped, within five seconds."""
    for _ in range(250):
        if _state(pid) in ("", "Z"):
            return True
        time.sleep(0.02)
    return False


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def test_memory_beyond_the_limit_is_a_memory_crash(log: int, out: Path, templates: Templates) -> None:
    trusted(templates, "x = bytearray(1 << 30)")
    outcome = run(log, out, memory=512 << 20)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "memory"


def test_cpu_time_beyond_the_limit_is_a_cpu_crash(log: int, out: Path, templates: Templates) -> None:
    trusted(templates, "while True: pass")
    outcome = run(log, out, cpu_seconds=1)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "cpu"


def test_a_full_disk_is_not_the_files_fault(log: int, out: Path, templates: Templates) -> None:
    trusted(templates, "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))")
    outcome = run(log, out)
    assert isinstance(outcome, Crashed)
    assert (outcome.kind, outcome.detail) == ("storage", "No space left on device")


def test_the_child_is_locked_down(log: int, out: Path, monkeypatch: pytest.MonkeyPatch, templates: Templates) -> None:
    monkeypatch.setenv("SECRET_KEY", "do not tell")
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    trusted(
        templates,
        """
        import json, os, resource
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        found = dict(
            environment=sorted(os.environ), fds=sorted(int(fd) for fd in os.listdir("/proc/self/fd")), session=os.getsid(0) == os.getpid(),
            privileges=status["NoNewPrivs"].strip(), capabilities=status["CapEff"].strip(), cwd=os.getcwd(),
            oom=open("/proc/self/oom_score_adj").read().strip(),
            limits=[resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)],
            memory=resource.getrlimit(resource.RLIMIT_AS)[0], expected=[0, 1, 2, report._fd, job["data_fd"]],
            networks=sorted(line.split(":")[0].strip() for line in open("/proc/self/net/dev") if ":" in line),
        )
        raise child.ParseError(json.dumps(found))
        """,
    )
    outcome = run(log, out)
    os.close(secret)
    assert isinstance(outcome, Refused), outcome
    found = json.loads(outcome.reason)
    assert found["environment"] == sorted(nursery.ENVIRONMENT)
    assert "SECRET_KEY" not in nursery.ENVIRONMENT
    listing = set(found["fds"]) - set(found["expected"])
    assert len(listing) <= 1  # the descriptor that listed the others
    assert (found["session"], found["privileges"], found["oom"], found["cwd"]) == (True, "1", "1000", str(out))
    assert int(found["capabilities"], 16) == 0
    assert found["limits"] == [0, 1024, 64]
    assert 2048 << 20 < found["memory"] < 4096 << 20  # what the parsers themselves map is not the job's
    if subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0:
        assert found["networks"] == ["lo"]


# What a child might try after it has been taken over; the error that it gets, or any.
ATTEMPTS = {
    "open('/etc/hostname')": "PermissionError",
    "open({secret!r})": "PermissionError",
    "os.listdir('/')": "PermissionError",
    "open('/proc/%d/mem' % os.getppid())": "PermissionError",
    "open('/proc/%d/environ' % os.getppid())": "PermissionError",
    "open('/proc/{worker}/environ')": "PermissionError",
    "open(job['name'] + '/../../input.log')": "FileNotFoundError",
    "open('../input.log')": "PermissionError",
    "open('../new', 'w')": "PermissionError",
    "os.symlink('/etc/passwd', 'link')": "PermissionError",
    "os.mkfifo('pipe')": "PermissionError",
    "os.kill(os.getppid(), 0)": "PermissionError",
    "os.kill({worker}, 0)": "PermissionError",
    "socket.create_connection(('127.0.0.1', {port}), timeout=1)": "",
    "socket.create_connection(('1.1.1.1', 53), timeout=1)": "",
}


@pytest.mark.skipif(landlock.version() < 6, reason="this kernel has no Landlock that knows signals (Linux 6.12)")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_child_reaches_nothing_but_its_own_folder(attempt: str, log: int, out: Path, templates: Templates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {"secret": str(Path(sandbox.__file__).parent.parent / "pyproject.toml"), "worker": os.getpid()}
        code = attempt.format(port=server.getsockname()[1], **names)
        trusted(
            templates,
            f"""
            import os, socket
            try:
                {code}
            except OSError as error:
                raise child.ParseError(type(error).__name__)
            """,
        )
        outcome = run(log, out)
    assert isinstance(outcome, Refused), outcome
    assert outcome.reason == ATTEMPTS[attempt] or not ATTEMPTS[attempt]


def test_the_child_dies_with_its_parent(tmp_path: Path, log: int, out: Path) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {nursery.ROOT!r})
from parsers import nursery, sandbox
nursery.BOOT = '''import sys; sys.path[:0] = {{path!r}}
from parsers import child, template
import os, time
def task(job, payload, report):
    open("pid", "w").write(str(os.getpid()))
    time.sleep(60)
child.TASKS["decode"] = task
template.main()'''
sandbox.run(os.open({str(tmp_path / "input.log")!r}, os.O_RDONLY), "x", b"[]", {str(out)!r})
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    pid_file = out / "pid"
    for _ in range(500):
        if pid_file.exists() and pid_file.read_text():
            break
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ends(pid)


def template_pid() -> int:
    assert nursery._current is not None
    return nursery._current.process.pid


def test_many_files_are_decoded_by_children_of_one_process_and_nothing_stays_open(log: int, tmp_path: Path) -> None:
    nursery.close()
    pids, descriptors = set(), set()
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert isinstance(run(log, folder), Parsed)
        pids.add(template_pid())
        descriptors.add(len(os.listdir("/proc/self/fd")))
    assert len(pids) == 1
    assert len(descriptors) == 1
    assert len(os.listdir(f"/proc/{pids.pop()}/task")) == 1


def test_threads_share_the_template(log: int, tmp_path: Path) -> None:
    def one(number: int) -> Outcome:
        folder = tmp_path / str(number)
        folder.mkdir()
        return run(log, folder)

    nursery.close()
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(one, range(8)))
    assert all(isinstance(outcome, Parsed) for outcome in outcomes), outcomes


def test_a_fork_of_the_worker_has_a_template_of_its_own(log: int, out: Path, tmp_path: Path) -> None:
    assert isinstance(run(log, out), Parsed)
    before = template_pid()
    (tmp_path / "second").mkdir()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            if nursery._current is None and isinstance(run(log, tmp_path / "second"), Parsed) and template_pid() != before:
                os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    (tmp_path / "third").mkdir()
    assert isinstance(run(log, tmp_path / "third"), Parsed)
    assert template_pid() == before


def test_a_template_that_was_killed_is_replaced(log: int, out: Path, tmp_path: Path) -> None:
    nursery._running()
    before = template_pid()
    os.kill(before, signal.SIGKILL)
    assert isinstance(run(log, out), Parsed)
    assert template_pid() != before


def test_a_child_whose_template_is_killed_dies_and_counts_as_crashed(log: int, out: Path, templates: Templates) -> None:
    trusted(templates, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nreport.progress(1)\ntime.sleep(60)")
    started = time.monotonic()

    def progress(_read: int) -> bool:
        os.kill(template_pid(), signal.SIGKILL)
        return True

    outcome = sandbox.run(log, "input.log", databases(), out, SandboxLimits(), progress)
    assert isinstance(outcome, Crashed), outcome
    assert (outcome.kind, outcome.detail) == ("exit", "the process that it was forked from ended")
    assert ends(int((out / "pid").read_text()))
    assert time.monotonic() - started < 10


def test_after_a_crash_children_come_from_a_new_template(log: int, out: Path, templates: Templates) -> None:
    hostile(templates, "os.kill(os.getpid(), signal.SIGSEGV)")
    pids = set()
    for _ in range(2):
        assert isinstance(run(log, out), Crashed)
        pids.add(template_pid())
    assert len(pids) == 2


def test_a_template_that_has_nothing_to_do_ends(log: int, out: Path, templates: Templates) -> None:
    boot(templates, "from parsers import template\ntemplate.IDLE_SECONDS = 0.2\ntemplate.main()")
    nursery._running()
    before = template_pid()
    assert ends(before)
    assert isinstance(run(log, out), Parsed)
    assert template_pid() != before


def test_a_job_imports_nothing_that_the_template_has_not(log: int, out: Path, templates: Templates) -> None:
    trusted(
        templates,
        """
        import sys
        before = set(sys.modules)
        child._decode(job, payload, report)
        raise child.ParseError(repr(sorted(set(sys.modules) - before)))
        """,
    )
    assert run(log, out) == Refused("parse_error", "[]", None)


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Another package, on the path of this process, that offers a parser."""
    (folder / "other_logs.py").write_text(source)
    about = folder / "other_logs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-logs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[argus.parsers]\nother = other_logs:OtherParser\n")
    nursery.close()
    monkeypatch.syspath_prepend(str(folder))


def test_a_package_whose_parser_cannot_be_used_is_named_and_no_file_is_blamed(
    log: int, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages").mkdir()
    package(tmp_path / "packages", monkeypatch, "import numpy.not_there\n")
    outcome = run(log, out)
    nursery.close()
    assert outcome == Crashed("plugin", "parser 'other' of other-logs: ModuleNotFoundError: No module named 'numpy.not_there'")


def test_a_template_that_cannot_start_says_so(log: int, out: Path, templates: Templates) -> None:
    boot(templates, "from parsers import template\ndef load(): raise ImportError('no such thing')\ntemplate.load = load\ntemplate.main()")
    assert run(log, out) == Crashed("start", "ImportError: no such thing")
    boot(templates, "sys.exit(3)")
    assert run(log, out) == Crashed("start", "the template process ended with status 3")


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
def test_a_summary_that_is_not_one_is_never_followed(code: str, detail: str, log: int, out: Path, templates: Templates) -> None:
    hostile(templates, code + "\nsend('{\"done\": true}')")
    outcome = run(log, out)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "protocol"
    assert detail in outcome.detail or "Too many levels" in outcome.detail


@pytest.mark.parametrize(
    "code",
    ["os.symlink('/etc/passwd', 'streams/x.parquet')", "open('more', 'w')", "os.unlink('overview.parquet')", "os.mkdir('streams/d')"],
)
def test_a_directory_with_other_files_than_the_summary_names_is_refused(code: str, log: int, out: Path, templates: Templates) -> None:
    hostile(templates, f"child._decode(job, payload, child.Report(job['report_fd']))\n{code}\nsend('{{\"done\": true}}')")
    outcome = run(log, out)
    assert isinstance(outcome, Crashed), outcome
    assert outcome.kind == "protocol"


def test_control_characters_in_a_reason_do_not_reach_the_caller(log: int, out: Path, templates: Templates) -> None:
    trusted(templates, "raise child.ParseError('red \\x1b[31m \\u202e text', 7)")
    assert run(log, out) == Refused("parse_error", "red \ufffd[31m \ufffd text", 7)


def test_a_database_is_compiled_in_a_child_of_its_own() -> None:
    compiled, warnings, counts = sandbox.compile_database(DBC, "test.dbc")
    assert Database.from_json(compiled) == Database.load(DBC, "test.dbc")
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
        capture_output=True, text=True, cwd=nursery.ROOT, check=False,
    )  # fmt: skip
    assert (decoded.returncode, decoded.stderr) == (0, "")
    assert "1000 frames, 1000 of them in the databases" in decoded.stdout
    checked = subprocess.run(
        [*command, "check-dbc", str(tmp_path / "test.dbc"), "--json"], capture_output=True, text=True, cwd=nursery.ROOT, check=False
    )
    assert json.loads(checked.stdout) == {"messages": 1, "signals": 1, "warnings": []}
    refused = subprocess.run(
        [*command, "check-dbc", str(tmp_path / "input.log")], capture_output=True, text=True, cwd=nursery.ROOT, check=False
    )
    assert (refused.returncode, refused.stderr[:8]) == (1, "corrupt:")
