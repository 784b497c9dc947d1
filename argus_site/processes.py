"""Child processes that end with us: each in a session of its own, stopped gently first and for certain after a bound."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 6.0

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One long-running child. Ctrl-C in the terminal does not reach it: it lives in its own session, and we decide when it stops."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path | None, env: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        output = log.open("ab") if log else None
        try:
            self._popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=dict(env),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            if output:
                output.close()

    @property
    def pid(self) -> int:
        """Process id, and id of its session and process group."""
        return self._popen.pid

    def status(self) -> int | None:
        """Exit status, or None while it runs."""
        return self._popen.poll()

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log and self.log.exists() else ""

    def ask_to_stop(self) -> None:
        """SIGTERM to the process itself: django-q2 drains when its main process gets it, and hangs when the whole group does."""
        if self.status() is None:
            self._popen.terminate()

    def stop(self, until: float) -> None:
        """Wait until the moment `until` (time.monotonic), then kill what is left of its group."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(max(0.1, until - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def stop_all(processes: Sequence[Process], seconds: float = STOP_SECONDS) -> None:
    """Ask all to stop, then make sure of it; takes at most about `seconds`."""
    for process in processes:
        process.ask_to_stop()
    until = time.monotonic() + seconds
    for process in processes:
        process.stop(until)
