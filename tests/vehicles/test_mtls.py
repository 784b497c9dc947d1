"""A client certificate stands for a vehicle only when a proxy of ours says so."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import subprocess
import sys
from urllib.parse import quote

import pytest
from django.test import Client

from tests import factories
from vehicles.models import Vehicle
from vehicles.mtls import presented_certificate, tidy_fingerprint
from vehicles.tokens import find_token

API = "/api/v1/batches"
DER = b"0\x82 the bytes of a certificate"
DIGEST = hashlib.sha256(DER).hexdigest()
PEM = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(DER).decode()}\n-----END CERTIFICATE-----\n"
PROXY, STRANGER = "10.1.2.3", "203.0.113.9"


@pytest.fixture
def proxied(settings):
    settings.ARGUS_MTLS_HEADER = "X-Client-Cert-Fingerprint"
    settings.ARGUS_TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]


def call(fingerprint: str = DIGEST, address: str = PROXY, token: str = ""):
    headers = {"X-Client-Cert-Fingerprint": fingerprint} if fingerprint else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return Client(REMOTE_ADDR=address).get(API, headers=headers)


@pytest.mark.parametrize("text", [DIGEST, DIGEST.upper(), ":".join(DIGEST[i : i + 2] for i in range(0, 64, 2)), f"SHA256:{DIGEST}"])
def test_fingerprints_are_compared_in_one_form(text):
    assert tidy_fingerprint(text) == DIGEST


@pytest.mark.parametrize("text", ["", "x", DIGEST[:-1], DIGEST + "0", "g" * 64, f"{DIGEST},{DIGEST}"])
def test_what_is_no_fingerprint_is_none(text):
    assert tidy_fingerprint(text) is None


@pytest.mark.parametrize("value", [DIGEST, quote(PEM), quote(PEM, safe=""), f":{base64.b64encode(DER).decode()}:"])
def test_proxies_may_say_it_in_each_of_three_ways(proxied, value):
    assert presented_certificate({"REMOTE_ADDR": PROXY, "HTTP_X_CLIENT_CERT_FINGERPRINT": value}) == DIGEST


@pytest.mark.parametrize("value", ["", "-", "nonsense", f"{DIGEST},{DIGEST}", ":%%%:", "A" * 20_000, quote("-----BEGIN CERTIFICATE-----")])
def test_anything_else_is_no_certificate(proxied, value):
    assert presented_certificate({"REMOTE_ADDR": PROXY, "HTTP_X_CLIENT_CERT_FINGERPRINT": value}) is None


@pytest.mark.parametrize("address", [STRANGER, "", "unix:", "10.1.2.3.4", "::2"])
def test_nobody_but_a_trusted_proxy_is_believed_and_it_is_logged(proxied, address, caplog):
    assert presented_certificate({"REMOTE_ADDR": address, "HTTP_X_CLIENT_CERT_FINGERPRINT": DIGEST}) is None
    assert "certificate header ignored" in caplog.text


@pytest.mark.parametrize("address", [PROXY, "::1", "::ffff:10.1.2.3"])
def test_a_proxy_is_known_by_each_form_of_its_address(proxied, address):
    assert presented_certificate({"REMOTE_ADDR": address, "HTTP_X_CLIENT_CERT_FINGERPRINT": DIGEST}) == DIGEST


def test_without_the_setting_the_header_means_nothing(settings):
    settings.ARGUS_TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8")]
    assert presented_certificate({"REMOTE_ADDR": PROXY, "HTTP_X_CLIENT_CERT_FINGERPRINT": DIGEST, "HTTP_": DIGEST}) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ARGUS_MTLS_HEADER": "X-Client-Cert-Fingerprint"}, "ARGUS_MTLS_HEADER needs ARGUS_TRUSTED_PROXIES"),
        ({"ARGUS_TRUSTED_PROXIES": "10.0.0.0/8,here"}, "'here' does not appear to be an IPv4 or IPv6 network"),
        ({"ARGUS_TRUSTED_PROXIES": "10.0.0.1/8"}, "10.0.0.1/8 has host bits set"),
    ],
)
def test_a_header_that_anybody_could_send_stops_the_start(wrong, said, tmp_path):
    environment = {**os.environ, "ARGUS_DATA_DIR": str(tmp_path), **wrong}
    started = subprocess.run([sys.executable, "-c", "import argus_site.settings"], env=environment, capture_output=True, text=True)
    assert started.returncode != 0
    assert said in started.stderr


@pytest.mark.django_db
class TestCalls:
    @pytest.fixture(autouse=True)
    def _set_up(self, proxied):
        self.vehicle = factories.vehicle(certificate_sha256=DIGEST)

    def test_the_certificate_is_enough_and_has_a_vehicles_rights(self):
        opened = Client(REMOTE_ADDR=PROXY, headers={"X-Client-Cert-Fingerprint": DIGEST}).post(API, {}, content_type="application/json")
        assert opened.status_code == 201
        assert opened.json()["vehicle"]["id"] == str(self.vehicle.pk)
        assert Vehicle.objects.get().last_contact_at is not None

    def test_a_stranger_who_sends_the_header_is_nobody(self):
        assert call(address=STRANGER).status_code == 401

    def test_a_certificate_of_no_vehicle_is_nobody(self):
        assert call("0" * 64).status_code == 401

    def test_a_vehicle_that_is_not_active_is_nobody(self):
        Vehicle.objects.update(state="retired")
        assert call().status_code == 401

    def test_token_and_certificate_of_one_vehicle_agree(self):
        assert call(token=factories.token(self.vehicle)).status_code == 200

    def test_token_and_certificate_of_two_vehicles_are_refused(self):
        other = factories.token(factories.vehicle())
        assert call(token=other).status_code == 401
        assert call("", token=other).status_code == 200
        assert call(address=STRANGER, token=other).status_code == 200

    def test_another_certificate_than_the_vehicles_is_refused_with_its_token(self):
        assert call("1" * 64, token=factories.token(self.vehicle)).status_code == 401

    def test_an_integrations_token_does_not_go_with_a_vehicles_certificate(self):
        token = factories.token(None, ["batch:read"])
        assert call(token=token).status_code == 401
        assert call("1" * 64, token=token).status_code == 200

    def test_a_wrong_token_is_not_made_good_by_a_certificate(self):
        assert call(token="argus_v1_wrong").status_code == 401

    def test_a_vehicle_without_token_gets_one_by_its_certificate(self):
        caller = Client(REMOTE_ADDR=PROXY, headers={"X-Client-Cert-Fingerprint": DIGEST})
        answer = caller.post("/api/v1/token")
        assert answer.status_code == 201
        assert find_token(answer.json()["token"]).vehicle == self.vehicle
