"""deploy/nginx.conf in front of a real web server: bytes are handed on as they come."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from argus_site.processes import Process, stop_all
from files.models import File, Upload
from tests import factories
from tests.flows.live import ROOT, running

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not NGINX or not shutil.which("openssl"), reason="needs nginx and openssl"),
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def adapted(folder: Path, argus: str, port: int) -> str:
    """The configuration as it is deployed, with other ports and paths."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    text = re.sub(r"127\.0\.0\.1:800[01]", argus, text)
    text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{port} ").replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    text = text.replace("/etc/ssl/argus/fullchain.pem", f"{folder}/cert.pem").replace("/etc/ssl/argus/privkey.pem", f"{folder}/key.pem")
    spools = "".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\nhttp {{ access_log off; {spools}\n{text}\n}}\n"


@pytest.fixture(scope="module")
def address(django_db_setup, tmp_path_factory) -> Iterator[tuple[str, int]]:
    """Where nginx listens, with Argus behind it."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", "cert.pem"]
    subprocess.run([*make, "-keyout", "key.pem"], cwd=folder, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ARGUS_BEHIND_PROXY", "true")
        environment.setenv("ARGUS_PROXIES", "1")
        with running(folder, workers=False) as live:
            (folder / "nginx.conf").write_text(adapted(folder, urlsplit(live.url).netloc, port))
            command = [str(NGINX), "-p", str(folder), "-c", "nginx.conf", "-e", f"{folder}/error.log"]
            if os.geteuid() == 0:
                command += ["-g", "user root;"]
            nginx = Process("nginx", command, log=folder / "nginx.log", env=os.environ)
            try:
                until = time.monotonic() + 20
                while not _listens(port):
                    assert nginx.status() is None, nginx.tail()
                    assert time.monotonic() < until, nginx.tail()
                    time.sleep(0.05)
                yield "127.0.0.1", port
            finally:
                stop_all([nginx])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def session(address, transactional_db) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.verify, opened.trust_env = False, False
        opened.headers["Authorization"] = f"Bearer {factories.token(factories.vehicle())}"
        yield opened


def opened(session: requests.Session, address: tuple[str, int]) -> str:
    answer = session.post(f"https://{address[0]}:{address[1]}/api/v1/batches", json={}, timeout=20)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"].startswith("https://")
    return answer.headers["Location"]


def test_a_file_arrives_whole_and_the_connection_is_kept(session, address):
    batch = opened(session, address)
    content = os.urandom(5_000_000)
    for number in range(3):
        assert session.put(f"{batch}/files/{number}.blf", data=content, timeout=20).status_code == 201
    assert session.put(f"{batch}/files/chunked.blf", data=iter([content[:100], content[100:]]), timeout=20).status_code == 201
    assert set(File.objects.values_list("size", flat=True)) == {len(content)}


def test_what_came_before_the_client_vanished_is_stored(session, address):
    """Nothing waits in the proxy for the rest."""
    path = urlsplit(opened(session, address)).path
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    content = os.urandom(1_000_000)
    with tls.wrap_socket(socket.create_connection(address, timeout=20)) as connection:
        head = f"PUT {path}/files/x.blf HTTP/1.1\r\nHost: localhost\r\nAuthorization: {session.headers['Authorization']}\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[:600_000])
        until, offset = time.monotonic() + 10, 0
        while offset != 600_000:
            assert time.monotonic() < until, offset
            if upload := Upload.objects.first():
                url = f"https://{address[0]}:{address[1]}/api/v1/uploads/{upload.pk}"
                offset = int(session.head(url, headers={"Tus-Resumable": "1.0.0"}, timeout=20).headers["Upload-Offset"])
            time.sleep(0.05)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    assert session.patch(url, data=content[offset:], headers=headers, timeout=20).status_code == 204
    assert File.objects.get().size == len(content)


def test_a_refused_upload_gets_its_answer_through_the_proxy(session, address):
    batch = opened(session, address)
    answer = session.put(f"{batch}/files/x.blf", data=b"x" * 3_000_000, headers={"Content-Encoding": "gzip"}, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")
