"""Runs JavaScript with tus-js-client, where there is Node.js (`make test` installs the client into .venv-node)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MODULES = Path(__file__).resolve().parents[2] / ".venv-node" / "node_modules"
NODE = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "tus-js-client").is_dir(),
    reason="no Node.js with tus-js-client here: install nodejs and npm, then make .venv-node/.ready",
)


def javascript(code: str, folder: Path, seconds: float = 60, **environment: str) -> str:
    """Run a module in `folder`; what it prints. An AssertionError with its complaint if it fails."""
    place = folder.parent / f"{folder.name}-js"
    place.mkdir(exist_ok=True)
    if not (place / "node_modules").exists():
        (place / "node_modules").symlink_to(MODULES)
    script = place / "example.mjs"
    script.write_text(code)
    done = subprocess.run(
        ["node", script], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout
