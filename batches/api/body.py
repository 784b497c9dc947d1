"""Reads request bodies: files as streams that are never whole in memory, JSON up to a limit, digests from headers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import JSONParser
from rest_framework.utils.json import strict_constant

from batches.api.wire import Pieces, Wire
from common.errors import (
    BadFilename,
    BodyTooLarge,
    DigestMismatch,
    FileTooLarge,
    InvalidField,
    LengthMismatch,
    LengthRequired,
    MalformedBody,
    UnknownField,
    UnsupportedEncoding,
)

CHUNK = 256 * 1024
BOUNDARY = re.compile(r"[ -~]{0,200}[!-~]")
# A structured-field dictionary member with a byte sequence (RFC 9530, RFC 8941); other algorithms are passed over.
SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*([^,;\s]*)", re.IGNORECASE)
PART_HEADER_BYTES = 8192
KIND = re.compile(r"[A-Za-z0-9._-]{0,32}")


# -- JSON --------------------------------------------------------------------------------------------------------------


class LimitedJSONParser(JSONParser):
    """JSON up to DATA_UPLOAD_MAX_MEMORY_SIZE bytes; DRF's own reads whatever comes."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The value of the body. Raises BodyTooLarge, MalformedBody."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        content = _read(stream, limit + 1)
        if len(content) > limit:
            raise BodyTooLarge(f"At most {limit} bytes of JSON are read.")
        try:
            return json.loads(content, parse_constant=strict_constant)
        except (ValueError, RecursionError) as error:
            raise MalformedBody(f"The body is not JSON: {error}") from error


def need_length(request: HttpRequest) -> None:
    """Refuse a JSON body without, or with too large a Content-Length, before it is read."""
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        raise LengthRequired
    if (length(request) or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise BodyTooLarge(f"At most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes of JSON are read.")


# -- files -------------------------------------------------------------------------------------------------------------


def length(request: HttpRequest) -> int | None:
    """The Content-Length, if there is one."""
    text = request.META.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def kind(request: HttpRequest) -> str:
    """What the sender says the file is; InvalidField for anything but a short word."""
    text = request.META.get("HTTP_X_ARGUS_KIND", "")
    if not KIND.fullmatch(text):
        raise InvalidField("X-Argus-Kind: up to 32 letters, digits, '.', '_' or '-'.")
    return str(text)


def announced_sha256(request: HttpRequest) -> str:
    """SHA-256 (hex) out of Repr-Digest or Content-Digest, empty without one; the same for a body that is not encoded.

    Raises InvalidField for one that cannot be a SHA-256, DigestMismatch if the two headers differ.
    """
    found = set()
    for header in ("HTTP_REPR_DIGEST", "HTTP_CONTENT_DIGEST"):
        if match := SHA256.search(request.META.get(header, "")):
            try:
                digest = base64.b64decode(match[1][1:-1], validate=True) if match[1][:1] == match[1][-1:] == ":" else b""
            except ValueError:
                digest = b""
            if len(digest) != 32:
                raise InvalidField("The digest must be sha-256=:<base64 of 32 bytes>:")
            found.add(digest.hex())
    if len(found) > 1:
        raise DigestMismatch("Repr-Digest and Content-Digest differ.")
    return found.pop() if found else ""


class Body:
    """The body as it comes from the socket: counted, at most `limit` bytes, its end checked against Content-Length."""

    def __init__(self, request: HttpRequest, limit: int) -> None:
        environ = request.META
        if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity" or "HTTP_CONTENT_RANGE" in environ:
            raise UnsupportedEncoding
        self.declared = length(request)
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if self.declared is None and not (chunked and environ.get("wsgi.input_terminated")):
            raise LengthRequired
        if self.declared is not None and self.declared > limit:
            raise FileTooLarge(f"The body has {self.declared} bytes; {limit} are allowed.", limit=limit)
        direct = Pieces.of(environ) if self.declared is None else Wire.of(environ)
        # Django reads nothing from a chunked body; a server that marks the end of its stream can be read directly.
        stream = environ["wsgi.input"] if environ.get("wsgi.input_terminated") else request
        self._source = direct.chunks() if direct else _pieces_of(stream)
        self.limit, self.count = limit, 0

    def chunks(self) -> Iterator[memoryview]:
        """All bytes, each buffer valid until the next step; an empty one for each second without any, where the server allows to notice.

        Raises LengthMismatch when the body ends too early, UploadTooSlow, FileTooLarge.
        """
        for piece in self._source:
            self.count += len(piece)
            if self.count > self.limit:
                raise FileTooLarge(f"The body has more than {self.limit} bytes.", limit=self.limit)
            yield piece
        if self.declared is not None and self.count != self.declared:
            raise LengthMismatch(f"{self.declared} bytes were announced, {self.count} came.", declared=self.declared, received=self.count)


def _pieces_of(stream: Any) -> Iterator[memoryview]:
    while data := _read(stream, CHUNK):
        yield memoryview(data)


def _read(stream: Any, size: int) -> bytes:
    """Servers raise errors of their own for a broken connection or a malformed chunk: all mean that the body is not whole."""
    try:
        return bytes(stream.read(size))
    except Exception as error:
        raise LengthMismatch("The body broke off.") from error


class MultipartFile:
    """The one file of a multipart/form-data body (RFC 7578), in a field named `file`.

    Split here and streamed on: no copy of the file in memory or in a temporary file, and no tolerance that could cut content.
    """

    def __init__(self, request: HttpRequest) -> None:
        media_type, options = _parameters(request.META.get("CONTENT_TYPE", ""))
        if media_type != "multipart/form-data":
            raise UnsupportedMediaType(media_type or "without Content-Type")
        boundary = options.get("boundary", "")
        if not BOUNDARY.fullmatch(boundary):
            raise MalformedBody("The multipart boundary is missing or malformed.")
        self._delimiter = b"\r\n--" + boundary.encode()
        self._pieces = Body(request, settings.ARGUS_MAX_MULTIPART_BYTES).chunks()
        # The first delimiter may stand at the very start: with a line break before it, it looks like the others.
        self._buffer = bytearray(b"\r\n")
        self._expect(self._delimiter)
        self.name = self._file_name(self._headers())

    def chunks(self) -> Iterator[bytes]:
        """The file's bytes, and an empty piece for each second without any.

        Raises LengthMismatch for a body without its closing delimiter, UnknownField for a second part.
        """
        while (end := self._buffer.find(self._delimiter)) < 0:
            # What could be the start of the delimiter stays.
            settled = max(0, len(self._buffer) - len(self._delimiter) + 1)
            if settled:
                yield bytes(memoryview(self._buffer)[:settled])
                del self._buffer[:settled]
            if not self._more():
                yield b""
        if end:
            yield bytes(memoryview(self._buffer)[:end])
        del self._buffer[: end + len(self._delimiter)]
        while len(self._buffer) < 2:
            self._more()
        if self._buffer[:2] != b"--":
            raise UnknownField("The form has more than one field: send each file in a request of its own.")
        for _ in self._pieces:  # what follows the closing delimiter means nothing (RFC 2046, 5.1.1)
            pass

    def _more(self) -> int:
        """Read on; the body may not end here. The number of bytes that came, 0 for none within a second."""
        data = next(self._pieces, None)
        if data is None:
            raise LengthMismatch("The body ends without the closing boundary.")
        self._buffer += data
        return len(data)

    def _expect(self, text: bytes) -> None:
        while len(self._buffer) < len(text):
            self._more()
        if self._buffer[: len(text)] != text:
            raise MalformedBody("The body does not start with its boundary.")
        del self._buffer[: len(text)]

    def _headers(self) -> bytes:
        """The part's headers, their length bounded; the line break behind the delimiter belongs to them, or none would end like some."""
        while len(self._buffer) < 2:
            self._more()
        if self._buffer[:2] != b"\r\n":
            raise MalformedBody("The form has no field `file`.")
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > PART_HEADER_BYTES:
                raise MalformedBody(f"The headers of the part have more than {PART_HEADER_BYTES} bytes.")
            self._more()
        headers = bytes(self._buffer[2:end])
        del self._buffer[: end + 4]
        return headers

    @staticmethod
    def _file_name(headers: bytes) -> str:
        """The file name in Content-Disposition, as it was sent; refuses any field but `file`."""
        try:
            lines = [line.partition(":") for line in headers.decode().split("\r\n")]
        except UnicodeDecodeError as error:
            raise BadFilename("The file name is not UTF-8.") from error
        named = {name.strip().lower(): value.strip() for name, _, value in lines}
        if named.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
            raise UnsupportedEncoding
        disposition, options = _parameters(named.get("content-disposition", ""))
        if disposition != "form-data":
            raise MalformedBody("The part has no Content-Disposition: form-data.")
        if options.get("name") != "file":
            raise UnknownField(f"The form has a field {options.get('name', '')[:40]!r}; only `file` is read.")
        if "filename" not in options:
            raise BadFilename("The field `file` has no file name.")
        return options["filename"]


def _parameters(header: str) -> tuple[str, dict[str, str]]:
    try:
        value, options = parse_header_parameters(header)
    except (ValueError, LookupError) as error:
        raise MalformedBody("A header cannot be read.") from error
    return value, options
