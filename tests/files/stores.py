"""Places to store objects in: a folder, and a real S3 server over a folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

BUCKET = "bucket"
KEY, SECRET = "access", "a secret key"
RCLONE = str(Path(sys.executable).with_name("rclone"))
PART = 5 << 20  # what S3 allows at least; small, so that tests reach several parts


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Start `rclone serve s3` over `folder` with one bucket; its address."""
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [shutil.which("rclone") or RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    command += ["--dir-cache-time", "1ms", str(folder)]  # tests put files into the folder behind its back
    with (folder.parent / "rclone.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    requests.get(f"http://127.0.0.1:{port}/", timeout=1)
                    break
                except requests.ConnectionError:
                    assert time.monotonic() < until
                    assert server.poll() is None
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def s3_storage(endpoint: str, **options) -> dict:
    """The setting STORAGES["default"] for this server, as the site's settings write it."""
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": BUCKET,
            "endpoint_url": endpoint,
            "region_name": "us-east-1",
            "access_key": KEY,
            "secret_key": SECRET,
            "file_overwrite": False,
            "client_config": Config(
                s3={"addressing_style": "path"},
                signature_version="s3v4",
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "max_attempts": 1},
                connect_timeout=2,
                read_timeout=10,
            ),
            "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2),
            **options,
        },
    }
