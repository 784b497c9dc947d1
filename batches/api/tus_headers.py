"""What tus says in headers: versions, lengths, metadata, checksums."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from common.errors import ArgusError, InvalidField
from files.uploads.checksums import ALGORITHMS, Checksum

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration"
OFFSET_TYPE = "application/offset+octet-stream"
METADATA_BYTES = 4096
KEY = re.compile(r"[!-+\--~]+")
HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
KIND = re.compile(r"[A-Za-z0-9._-]{0,32}")
MOST_PRIORITY = 32767


class OtherVersion(ArgusError):
    status = 412
    code = "tus_version"
    title = "The request does not speak tus 1.0.0"
    action = "Send Tus-Resumable: 1.0.0."


class OtherMediaType(ArgusError):
    status = 415
    code = "unsupported_media_type"
    title = "The bytes of an upload have a media type of their own"
    action = f"Send Content-Type: {OFFSET_TYPE}."


class BadHeader(ArgusError):
    code = "bad_header"
    title = "A header cannot be read"
    action = "Correct the header."


def need_version(meta: Mapping[str, Any]) -> None:
    """Raise OtherVersion for anything but the one version that is spoken."""
    if meta.get("HTTP_TUS_RESUMABLE") != VERSION:
        raise OtherVersion(f"Tus-Resumable is {meta.get('HTTP_TUS_RESUMABLE')!r}.")


def need_offset_type(meta: Mapping[str, Any]) -> None:
    """Raise OtherMediaType for a body that does not say that it belongs at an offset."""
    if meta.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != OFFSET_TYPE:
        raise OtherMediaType


def number(meta: Mapping[str, Any], name: str) -> int | None:
    """A header with a number that is not negative; None without the header. Raises BadHeader."""
    text = meta.get("HTTP_" + name.upper().replace("-", "_"))
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadHeader(f"{name} is {text[:40]!r}, which is no number.")
    return int(text)


def announced_length(meta: Mapping[str, Any]) -> int | None:
    """How many bytes the upload will have; None when that is said later. Raises BadHeader."""
    size, deferred = number(meta, "Upload-Length"), meta.get("HTTP_UPLOAD_DEFER_LENGTH")
    if deferred not in (None, "1") or (size is None) == (deferred is None):
        raise BadHeader("Send either Upload-Length or Upload-Defer-Length: 1.")
    return size


def metadata(meta: Mapping[str, Any]) -> dict[str, str]:
    """The pairs of Upload-Metadata; an empty header has none. Raises BadHeader."""
    text = meta.get("HTTP_UPLOAD_METADATA", "")
    if len(text) > METADATA_BYTES:
        raise BadHeader(f"Upload-Metadata has more than {METADATA_BYTES} bytes.")
    pairs: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not KEY.fullmatch(key) or key in pairs:
            raise BadHeader("Upload-Metadata: comma-separated pairs of a key, a space and a value in base64, each key once.")
        try:
            pairs[key] = base64.b64decode(value.strip(), validate=True).decode()
        except ValueError as error:
            raise BadHeader(f"Upload-Metadata: the value of {key[:40]!r} is not UTF-8 in base64.") from error
    return pairs


def described(pairs: Mapping[str, str]) -> dict[str, Any]:
    """What the metadata say of the file, as fields of an offer. Raises InvalidField."""
    sha256, kind, priority = pairs.get("sha256", ""), pairs.get("kind", ""), pairs.get("priority", "0") or "0"
    if sha256 and not HEX_SHA256.fullmatch(sha256):
        raise InvalidField("Upload-Metadata: sha256 must have 64 hexadecimal digits.")
    if not KIND.fullmatch(kind):
        raise InvalidField("Upload-Metadata: kind may have up to 32 letters, digits, '.', '_' or '-'.")
    if not (priority.isascii() and priority.isdecimal() and len(priority) < 6 and int(priority) <= MOST_PRIORITY):
        raise InvalidField(f"Upload-Metadata: priority must be a number up to {MOST_PRIORITY}.")
    name = pairs.get("filename") or pairs.get("name") or ""
    return {"name": name, "sha256": sha256.lower(), "kind": kind, "priority": int(priority)}


def checksum(meta: Mapping[str, Any]) -> Checksum | None:
    """What Upload-Checksum announces; None without it. Raises BadHeader for an algorithm that is not offered."""
    text = meta.get("HTTP_UPLOAD_CHECKSUM")
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise BadHeader(f"Upload-Checksum: {algorithm[:40]!r} is not among {', '.join(ALGORITHMS)}.")
    try:
        return Checksum(algorithm, base64.b64decode(value.strip(), validate=True))
    except ValueError as error:
        raise BadHeader("Upload-Checksum: an algorithm, a space and the sum in base64.") from error
