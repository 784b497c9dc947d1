"""The calls of the API that a vehicle needs, and what their answers mean for it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlsplit

from argus_uploader.errors import NotAllowed, Problem, TryLater
from argus_uploader.link import Answer, Body, Link

API = "/api/v1"
TUS = {"Tus-Resumable": "1.0.0"}
BATCHES_PER_PAGE = 100
_BUSY_SERVER = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 511})


@dataclass(frozen=True)
class Offset:
    """How far an upload is, in bytes."""

    offset: int
    length: int | None


class Api:
    """One vehicle's calls. They raise Problem (final), TryLater, NotAllowed or Stopped."""

    def __init__(self, link: Link, token: Callable[[], str]) -> None:
        self.link = link
        self._token = token

    # -- batches -------------------------------------------------------------------------------------------------------

    def put_batch(self, batch_id: str, declaration: dict[str, Any]) -> dict[str, Any]:
        """Opens the batch under our id, or answers with it as it is."""
        return self.call("PUT", f"{API}/batches/{batch_id}", declaration)

    def get_batch(self, batch_id: str) -> dict[str, Any]:
        """The batch with its files and with the uploads that are not finished."""
        return self.call("GET", f"{API}/batches/{batch_id}")

    def complete(self, batch_id: str, manifest: list[dict[str, Any]]) -> dict[str, Any]:
        """Says that these files are all."""
        return self.call("POST", f"{API}/batches/{batch_id}/complete", {"files": manifest})

    def abandon(self, batch_id: str, reason: str) -> dict[str, Any]:
        """Says that nothing will come."""
        return self.call("POST", f"{API}/batches/{batch_id}/abandon", {"reason": reason[:200]})

    def batches(self, most: int) -> Iterator[dict[str, Any]]:
        """The vehicle's batches without their files, the newest first."""
        address: str | None = f"{API}/batches?page_size={min(most, BATCHES_PER_PAGE)}"
        while address and most > 0:
            page = self.call("GET", address)
            for batch in page.get("results") or ():
                yield batch
                most -= 1
            address = own_path(page["next"]) if page.get("next") else None

    # -- uploads (tus 1.0.0) -------------------------------------------------------------------------------------------

    def create_upload(self, batch_id: str, size: int, metadata: dict[str, str]) -> tuple[str, int]:
        """Opens an upload of a file, or finds the one that was begun before; its address, and how many bytes it has."""
        said = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items() if value)
        headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": said}
        answer = self._checked(self._request("POST", f"{API}/batches/{batch_id}/uploads", headers))
        location = answer.headers.get("location")
        if not location:
            raise TryLater("the server gave no address for the upload", whole_server=False)
        offset = answer.headers.get("upload-offset", "")
        return own_path(location), int(offset) if offset.isdigit() else 0

    def head_upload(self, address: str) -> Offset:
        """How far the upload is."""
        answer = self._request("HEAD", address, TUS)
        if answer.status >= 400 and not answer.content:
            # HEAD has no body that could say that it is Argus who answers; the version of tus can.
            answer = Answer(answer.status, answer.headers, json.dumps(_stand_in(answer)).encode())
        self._checked(answer)
        offset, length = answer.headers.get("upload-offset", ""), answer.headers.get("upload-length", "")
        if not offset.isdigit():
            raise TryLater("the server did not say how far the upload is", whole_server=False)
        return Offset(int(offset), int(length) if length.isdigit() else None)

    def patch_upload(self, address: str, offset: int, body: Body, checksum: str = "") -> int:
        """Sends bytes from `offset` on; the new offset. `checksum` is the value of Upload-Checksum."""
        headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        if checksum:
            headers["Upload-Checksum"] = checksum
        answer = self._checked(self._request("PATCH", address, headers, body))
        reached = answer.headers.get("upload-offset", "")
        if not reached.isdigit():
            raise TryLater("the server did not say how far the upload is", whole_server=False)
        return int(reached)

    def delete_upload(self, address: str) -> None:
        """Gives an upload up; one that is gone already, or has become a file, is left as it is."""
        try:
            self._checked(self._request("DELETE", address, TUS))
        except Problem as problem:
            if problem.status not in {404, 409, 410}:
                raise

    # -- anything ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends JSON (None: no body) and returns the JSON answer."""
        if content is None:
            return self._checked(self._request(method, path, {})).document()
        body = json.dumps(content).encode("ascii")
        return self._checked(self._request(method, path, {"Content-Type": "application/json"}, body)).document()

    def send(self, method: str, path: str, headers: dict[str, str], body: Body) -> dict[str, Any]:
        """Streams a body and returns the JSON answer."""
        return self._checked(self._request(method, path, headers, body)).document()

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes | Body | None = None) -> Answer:
        own = {"X-Argus-Time": str(int(time.time() * 1000))}
        token = self._token()
        if token:
            own["Authorization"] = f"Bearer {token}"
        return self.link.request(method, path, {**own, **headers}, body)

    def _checked(self, answer: Answer) -> Answer:
        """The answer, if it is a good one."""
        if answer.status < 300:
            return answer
        if answer.status < 400:
            raise TryLater(f"the server sends us to {answer.headers.get('location', 'another address')}: is url right?")
        try:
            document = answer.document()
        except TryLater:
            document = {}
        said = str(document.get("detail") or document.get("title") or "")
        after = answer.retry_after_s()
        if answer.status == 401:
            raise NotAllowed(f"the server does not accept the token: {said or 'it gave no reason'}")
        if answer.status in _BUSY_SERVER:
            reason = f"{answer.status} {document.get('code') or 'server error'}: {said}".rstrip(": ")
            raise TryLater(reason, after, whole_server=answer.status != 500)
        if answer.status == 413 and not document.get("code"):
            raise Problem(413, {"code": "body_too_large", "detail": "A proxy takes no body of this size."}, answer.headers)
        if not document.get("code"):
            raise TryLater(f"the answer ({answer.status}) is none of Argus: a proxy or a captive portal is in between")
        if answer.status == 403:
            raise NotAllowed(f"the token may not do this: {said}")
        if answer.status == 423 or document.get("retryable") is True:
            raise TryLater(f"{answer.status} {document['code']}: {said}", after, whole_server=False)
        raise Problem(answer.status, document, answer.headers)


def _stand_in(answer: Answer) -> dict[str, Any]:
    """The document that the body of a HEAD would have had."""
    if "tus-resumable" not in answer.headers and not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    return {"code": f"status_{answer.status}", "retryable": "retry-after" in answer.headers}


def own_path(address: str) -> str:
    """The part of an address below our `url`: a proxy may have another name and prefix than the server knows."""
    parts = urlsplit(address)
    path = parts.path
    if API + "/" in path:
        path = API + "/" + path.partition(API + "/")[2]
    return path + (f"?{parts.query}" if parts.query else "")
