"""nginx in front checks client certificates as docs/vehicles.md sets it up: a certificate is a vehicle, and nobody can say to have one."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests import factories
from tests.flows.live import running

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="needs nginx and openssl"),
]

HEADER = "X-Client-Cert-Fingerprint"
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/server.crt; ssl_certificate_key {folder}/server.key;
    ssl_verify_client optional_no_ca;
    location / {{
      proxy_pass http://{upstream};
      proxy_set_header Host $host;
      proxy_set_header X-Client-Cert-Fingerprint $ssl_client_escaped_cert;
    }}
  }}
}}
"""


def make_certificate(folder: Path, name: str) -> tuple[tuple[str, str], str]:
    """A key with a certificate that it has signed itself, and the fingerprint."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*command, "-subj", f"/CN={name}", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    return (str(certificate), str(key)), hashlib.sha256(der).hexdigest()


@contextmanager
def proxied(folder: Path, upstream: str) -> Iterator[str]:
    """The address of an nginx in front of `upstream`."""
    make_certificate(folder, "server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port, upstream=upstream))
    nginx = subprocess.Popen(["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")])
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert nginx.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}"
    finally:
        nginx.terminate()
        nginx.wait(20)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_is_a_vehicle_and_cannot_be_claimed(tmp_path, monkeypatch):
    own, fingerprint = make_certificate(tmp_path, "heron")
    strange, _ = make_certificate(tmp_path, "stranger")
    vehicle = factories.vehicle(certificate_sha256=fingerprint)
    monkeypatch.setenv("ARGUS_MTLS_HEADER", HEADER)
    monkeypatch.setenv("ARGUS_TRUSTED_PROXIES", "127.0.0.1")
    with running(tmp_path, workers=False) as live, proxied(tmp_path, urlsplit(live.url).netloc) as url:

        def opened(cert: tuple[str, str] | None, **headers: str) -> requests.Response:
            return requests.post(f"{url}/api/v1/batches", json={}, cert=cert, headers=headers, verify=False, timeout=20)

        answer = opened(own)
        assert answer.status_code == 201, live.tail()
        assert answer.json()["vehicle"]["id"] == str(vehicle.pk)
        assert opened(strange).status_code == 401
        assert opened(None).status_code == 401
        for claimed in (HEADER, HEADER.replace("-", "_"), HEADER.lower()):
            assert opened(None, **{claimed: fingerprint}).status_code == 401
            assert opened(strange, **{claimed: fingerprint}).status_code == 401
        bearer = f"Bearer {factories.token(factories.vehicle())}"
        assert opened(own, Authorization=bearer).status_code == 401
        assert opened(strange, Authorization=bearer).status_code == 201
