"""Named moments at which a test can have the process killed, to see what the next one makes of what is left."""

from __future__ import annotations

import os
import signal

_WANTED = os.environ.get("ARGUS_FAILPOINT", "")


def reach(name: str) -> None:
    """The process is at the moment `name`; without ARGUS_FAILPOINT=`name` in its environment nothing happens."""
    if name == _WANTED:
        os.kill(os.getpid(), signal.SIGKILL)
