"""Who is working: the name that claims and events carry."""

from __future__ import annotations

import os
import socket


def worker_name() -> str:
    """Host and process, for example `depot-3:4711`."""
    return f"{socket.gethostname()}:{os.getpid()}"[:150]
