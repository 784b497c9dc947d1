"""Client certificates: a trusted proxy says in a header which one it has checked; a vehicle is known by its SHA-256 fingerprint."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import unquote

import structlog
from django.conf import settings

from common.addresses import came_through_trusted_proxy
from vehicles.models import Vehicle, VehicleState

log = structlog.get_logger("argus.mtls")

DIGEST = re.compile(r"[0-9a-f]{64}")
PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
LONGEST = 16_384


def tidy_fingerprint(text: str) -> str | None:
    """A SHA-256 fingerprint as it is compared: 64 small hexadecimal digits; None for what is none. Colons and spaces do no harm."""
    plain = re.sub(r"^sha-?256[:=]", "", text.strip().lower()).replace(":", "").replace(" ", "")
    return plain if DIGEST.fullmatch(plain) else None


def presented_certificate(headers: Mapping[str, str]) -> str | None:
    """The fingerprint of the client certificate that the proxy vouches for; None without one. `headers` is a request's META.

    The header counts only from an address in ARGUS_TRUSTED_PROXIES; anybody else's is ignored, and logged.
    """
    name = settings.ARGUS_MTLS_HEADER
    value = headers.get("HTTP_" + name.upper().replace("-", "_"), "").strip() if name else ""
    if not value or value == "-":
        return None
    if not came_through_trusted_proxy(headers):
        log.warning("certificate header ignored", reason="not from a trusted proxy", address=headers.get("REMOTE_ADDR", ""))
        return None
    fingerprint = _fingerprint(value) if len(value) <= LONGEST else None
    if fingerprint is None:
        log.warning("certificate header ignored", reason="neither a SHA-256 fingerprint nor a certificate")
    return fingerprint


def vehicle_of_certificate(fingerprint: str) -> Vehicle | None:
    """The active vehicle that has this certificate."""
    return Vehicle.objects.select_related("fleet").filter(certificate_sha256=fingerprint, state=VehicleState.ACTIVE).first()


def _fingerprint(value: str) -> str | None:
    """Proxies say it in three ways: as the digest, as the percent-encoded PEM (nginx), as the bytes between colons (RFC 9440)."""
    if digest := tidy_fingerprint(value):
        return digest
    if value.startswith(":") and value.endswith(":"):
        encoded = value[1:-1]
    elif found := PEM.search(unquote(value)):
        encoded = "".join(found[1].split())
    else:
        return None
    try:
        return hashlib.sha256(base64.b64decode(encoded, validate=True)).hexdigest()
    except binascii.Error:
        return None
