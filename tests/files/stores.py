"""Places to store objects in: a folder, and two real S3 servers; and a bad road to the latter."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import requests
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.loaders import JSONFileLoader

BUCKET = "bucket"
KEY, SECRET = "access", "a secret key"
PROGRAMS = Path(sys.executable).parent
PART = 5 << 20  # what S3 allows at least; small, so that tests reach several parts

SERVERS = ["rclone", "moto"]
"""rclone checks signatures, their expiry and Content-MD5; moto heeds If-None-Match and the least size of a part."""


# A client is made for each test, and each reads four megabytes of descriptions: once is enough.
_read = JSONFileLoader.load_file
_described = cache(lambda path: _read(JSONFileLoader(), path))
JSONFileLoader.load_file = lambda self, path: _described(path)  # type: ignore[method-assign]


# -- servers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A running S3 server with one bucket."""

    name: str
    url: str

    @property
    def client(self) -> Any:
        """For what tests do behind the product's back."""
        return client(self.url)


@cache
def client(url: str) -> Any:
    """A client with the settings of the product, for what tests do behind its back."""
    config = _config(attempts=1)
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=config)


@contextmanager
def s3_server(folder: Path, name: str = "rclone") -> Iterator[Server]:
    """Start a server that keeps what it has to keep below `folder`, with one bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = {
        "rclone": [
            shutil.which("rclone") or str(PROGRAMS / "rclone"),
            *("serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", "--dir-cache-time", "1ms", str(folder)),
        ],
        "moto": [str(PROGRAMS / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
    }[name]
    with (folder.parent / f"{name}.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    requests.get(f"http://127.0.0.1:{port}/", timeout=2)
                    break
                except requests.ConnectionError:
                    assert time.monotonic() < until
                    assert process.poll() is None
                    time.sleep(0.05)
            server = Server(name, f"http://127.0.0.1:{port}")
            server.client.create_bucket(Bucket=BUCKET)
            yield server
        finally:
            process.terminate()


def s3_storage(url: str, *, attempts: int = 1, **options: Any) -> dict[str, Any]:
    """The setting STORAGES["default"] for this server, as the site's settings write it."""
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": BUCKET,
            "endpoint_url": url,
            "region_name": "us-east-1",
            "access_key": KEY,
            "secret_key": SECRET,
            "file_overwrite": False,
            "client_config": _config(attempts),
            "transfer_config": TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2),
            **options,
        },
    }


def _config(attempts: int) -> Config:
    return Config(
        s3={"addressing_style": "path"},
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=2,
        read_timeout=10,
    )


# -- places --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where the objects of one test lie: in a folder, or below a prefix of the bucket of a server."""

    folder: Path | None = None
    server: Server | None = None
    prefix: str = ""

    @property
    def name(self) -> str:
        """Of the server, or `local`."""
        return self.server.name if self.server else "local"

    def stored(self) -> list[str]:
        """Every object, finished or not, and every unfinished multipart upload."""
        if self.folder:
            return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir())
        assert self.server
        s3 = self.server.client
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        uploads = []
        with suppress(s3.exceptions.NoSuchUpload):  # so rclone says that there are none
            uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        unfinished = [f"{upload['Key']} (unfinished)" for upload in uploads if upload["Key"].startswith(f"{self.prefix}/")]
        return sorted(key.removeprefix(f"{self.prefix}/") for key in keys + unfinished)


# -- a bad road ----------------------------------------------------------------------------------------------------------

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>injected</Message></Error>'


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Fault = Callable[[Callable[[], Answer]], Answer | None]
"""Is given the way to the server; what it returns is answered, and with None the connection ends without an answer."""


def says(status: int, code: str = "InternalError") -> Fault:
    """The server refuses, and does nothing."""
    return lambda server: Answer(status, [("Content-Type", "application/xml")], ERROR.format(code).encode())


def does_but_says(status: int, code: str = "InternalError") -> Fault:
    """The server does what it was asked for, and says that it failed."""

    def fault(server: Callable[[], Answer]) -> Answer:
        server()
        return Answer(status, [("Content-Type", "application/xml")], ERROR.format(code).encode())

    return fault


def lost(server: Callable[[], Answer]) -> None:
    """The server does what it was asked for, and the answer does not arrive."""
    server()


def never(server: Callable[[], Answer]) -> None:
    """The request does not arrive."""


def with_header(name: str, value: str) -> Fault:
    """One header of the answer says something else."""

    def fault(server: Callable[[], Answer]) -> Answer:
        answer = server()
        headers = [(known, value if known.lower() == name.lower() else was) for known, was in answer.headers]
        return Answer(answer.status, headers, answer.body)

    return fault


@dataclass
class Road:
    """A proxy before an S3 server, on which requests meet faults; it counts what passes."""

    url: str
    passed: list[str] = field(default_factory=list)
    _faults: list[list[Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def break_next(self, what: str, fault: Fault, *, times: int = 1, after: int = 0) -> None:
        """Let `fault` happen to the next requests whose `METHOD path?query` matches, but not to the first `after` of them."""
        self._faults.append([re.compile(what), fault, times, after])

    def mend(self) -> None:
        """No faults any more."""
        self._faults.clear()

    def count(self, what: str) -> int:
        """How many requests of this sort there were."""
        return sum(1 for line in self.passed if re.search(what, line))

    def fault_for(self, line: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            self.passed.append(line)
            for entry in self._faults:
                what, fault, times, after = entry
                if times and what.search(line):
                    if after:
                        entry[3] -= 1
                        return None
                    entry[2] -= 1
                    return fault
        return None


@contextmanager
def bad_road(server: Server) -> Iterator[Road]:
    """A proxy before the server; signatures hold because the Host header passes as it is."""
    target = urlsplit(server.url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def to_server() -> Answer:
                connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=30)
                try:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in {"expect", "connection"}:
                            connection.putheader(name, value)
                    connection.endheaders(body)
                    answer = connection.getresponse()
                    return Answer(answer.status, answer.getheaders(), answer.read())
                finally:
                    connection.close()

            fault = road.fault_for(f"{self.command} {self.path}")
            answer = fault(to_server) if fault else to_server()
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                if name.lower() not in {"transfer-encoding", "connection", "content-length"} or (
                    self.command == "HEAD" and name.lower() == "content-length"
                ):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        road = Road(f"http://127.0.0.1:{proxy.server_port}")
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield road
        finally:
            proxy.shutdown()
