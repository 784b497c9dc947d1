"""Secrets that are shown once: `<kind>_<key id>_<secret>_<crc32>`, found by the key id, compared by SHA-256 in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY_ID_LENGTH = 12
SECRET_BYTES = 32
FORM = r"_([0-9A-Za-z]{12})_([0-9A-Za-z_-]{43})_([0-9A-Za-z]{6})"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new credential; `text` exists only here."""

    key_id: str
    secret_sha256: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presented:
    """A well-formed credential that somebody sent."""

    key_id: str
    secret_sha256: str

    def fits(self, stored_sha256: str | None) -> bool:
        """Is the secret the one whose digest is stored? Takes as long when there is none."""
        return hmac.compare_digest(stored_sha256 or "0" * 64, self.secret_sha256) and stored_sha256 is not None


def issue(kind: str) -> Issued:
    """Make a credential of this kind (`argus_v1`, ...)."""
    key_id = "".join(secrets.choice(BASE62) for _ in range(KEY_ID_LENGTH))
    secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    head = f"{kind}_{key_id}_{secret}"
    return Issued(key_id, digest(secret), f"{head}_{checksum(head)}")


def read(kind: str, text: str) -> Presented | None:
    """What `text` presents; None unless it has the form of this kind and its checksum fits: no look at the database is needed then."""
    match = re.fullmatch(re.escape(kind) + FORM, text)
    if match is None or not hmac.compare_digest(checksum(text.rpartition("_")[0]), match[3]):
        return None
    return Presented(match[1], digest(match[2]))


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal digits: a secret has 256 random bits, a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def checksum(head: str) -> str:
    """CRC-32 in six base-62 digits."""
    number, digits = zlib.crc32(head.encode()), ""
    while number:
        number, rest = divmod(number, 62)
        digits = BASE62[rest] + digits
    return digits.rjust(6, "0")
