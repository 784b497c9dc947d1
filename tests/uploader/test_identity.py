"""A vehicle enrols, waits for its acceptance, uses and rotates its token; the server's certificate is checked, and the vehicle's shown."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from argus_uploader.api import Api
from argus_uploader.cli import main
from argus_uploader.config import Settings
from argus_uploader.errors import Exit, TryLater
from argus_uploader.link import Link
from argus_uploader.pace import Pace
from argus_uploader.tokens import write_secret

from tests import factories
from tests.flows.live import Live
from tests.uploader.vehicle import PYTHON, environment, noise, until
from tests.uploader.vehicle import Vehicle as Car
from vehicles import enrolment
from vehicles.enrolment_tokens import make_enrolment_token
from vehicles.models import ApiToken, EnrolmentState, Vehicle


def enrol_command(live: Live, tmp_path: Path, vin: str) -> list[str]:
    given = {"url": live.url, "token-file": tmp_path / "token", "vin": vin, "name": "Heron", "software": "logger=1.6"}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return [
        PYTHON,
        "-m",
        "argus_uploader",
        "enrol",
        *words,
        "--enrolment-token-file",
        str(tmp_path / "enrolment"),
        "--backoff-limit",
        "0.2",
    ]


def test_a_vehicle_enrols_is_killed_while_it_waits_and_gets_its_token(live: Live, transactional_db: None, tmp_path: Path) -> None:
    vin = factories.vin()
    write_secret(tmp_path / "enrolment", make_enrolment_token("test", actor="test")[1])
    command = enrol_command(live, tmp_path, vin)
    first = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    until(lambda: (tmp_path / "token.enrolment").exists())
    first.kill()
    first.wait()
    vehicle = Vehicle.objects.get(vin=vin)
    assert (tmp_path / "token.enrolment").stat().st_mode & 0o077 == 0
    enrolment.accept(vehicle.pk, actor="test")
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (Exit.OK, "")
    assert [row.state for row in vehicle.enrolments.all()] == [EnrolmentState.ACCEPTED]
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "token.enrolment").exists()

    car = Car(tmp_path / "car", live.url, (tmp_path / "token").read_text().strip())
    car.record("a.log", noise(1000, 1))
    assert car.run("--once").returncode == Exit.OK
    assert [name for name, _ in car.stored()] == ["a.log"]
    offset_ms = Vehicle.objects.get(pk=vehicle.pk).clock_offset_ms
    assert offset_ms is not None
    assert abs(offset_ms) < 60_000


def test_a_rejected_vehicle_is_told_so(live: Live, transactional_db: None, tmp_path: Path) -> None:
    vin = factories.vin()
    write_secret(tmp_path / "enrolment", make_enrolment_token("test", actor="test")[1])
    command = enrol_command(live, tmp_path, vin)
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until(lambda: (tmp_path / "token.enrolment").exists())
    process.kill()
    process.communicate()
    enrolment.reject(Vehicle.objects.get(vin=vin).pk, actor="test")
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == Exit.REJECTED
    assert "was not accepted" in told.stderr
    assert not (tmp_path / "token").exists()


def test_a_token_is_rotated_and_the_new_one_is_used_at_once(car: Car, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rotate-token", "--url", car.url, "--token-file", str(car.token_file)]) == Exit.OK
    fresh = car.token_file.read_text().strip()
    assert fresh != car.token
    assert fresh not in capsys.readouterr().out
    tokens = ApiToken.objects.filter(revoked_at__isnull=True)
    assert tokens.count() == 2
    assert all(token.last_used_at for token in tokens)
    car.token = fresh
    car.record("a.log", noise(1000, 1))
    assert car.run("--once").returncode == Exit.OK


def test_a_refused_token_ends_the_program_with_a_sentence(car: Car) -> None:
    ApiToken.objects.all().delete()
    path = car.record("a.log", noise(1000, 1))
    for flags in (("--once",), ()):
        told = car.run(*flags)
        assert told.returncode == Exit.NOT_ALLOWED
        assert "the server does not accept the token" in told.stderr
        assert json.loads(told.stdout.splitlines()[-1])["event"] == "not_allowed"
    assert path.exists()


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """server.pem and vehicle.pem, each its own authority."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "vehicle"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        out = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        subprocess.run([*command, *names, *out], check=True, capture_output=True)
    return folder


@contextmanager
def tls_server(certificates: Path) -> Iterator[str]:
    """Answers with the name in the client's certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])  # type: ignore[attr-defined]
            content = json.dumps({"name": subject["commonName"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that hang up are the test."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "vehicle.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_server_is_verified_and_the_vehicle_shows_its_certificate(certificates: Path) -> None:
    own = {"client_cert": str(certificates / "vehicle.pem"), "client_key": str(certificates / "vehicle.key")}

    def ask(url: str, **options: str) -> dict:
        stop = threading.Event()
        return Api(Link(Settings(url=url, **options).server(), Pace(0, stop), stop), lambda: "").call("GET", "/x")

    with tls_server(certificates) as url:
        assert ask(url, ca_file=str(certificates / "server.pem"), **own) == {"name": "vehicle"}
        with pytest.raises(TryLater, match="its certificate is not accepted"):
            ask(url, **own)
        with pytest.raises(TryLater, match="does not answer"):
            ask(url, ca_file=str(certificates / "server.pem"))
