"""A vehicle that does not give up: sends one file over a bad road, resuming after each cut, and notes what each cut cost."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

from tests.torture.proxy import NONE, PIECE, End, Fault, Proxy

MEGABYTE = 1 << 20
WAYS = ("tus", "tus with the creation", "tus in slices", "tus with checksums", "put", "declared")
AGAIN = {423, 429, 503}
POLL = 0.25  # a real vehicle waits as long as Retry-After says; here the server's part of the time is measured
PATIENCE = 60.0


class Refused(AssertionError):
    """The server gave an answer that no cut explains."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def offset(self) -> int:
        """Upload-Offset."""
        return int(self.headers["upload-offset"])


@dataclass
class Delivery:
    """One file's way: `lost[i]` bytes had to be sent again after the cut `ends[i]`."""

    name: str
    way: str
    size: int
    sha256: str
    sent: int = 0
    ends: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)  # statuses of requests that were to be repeated
    evicted_after: list[float] = field(default_factory=list)  # seconds until the server took bytes again beside a frozen connection


class Cut(Exception):
    """The connection ended without an answer."""


class Road:
    """Requests of one vehicle through one proxy, each on a connection of its own."""

    def __init__(self, proxy: Proxy, token: str) -> None:
        self.proxy, self.token = proxy, token

    def ask(self, method: str, address: str, body: bytes | None = None, *, timeout: float = 60.0, **headers: str) -> Answer:
        """One request and its answer; Cut without one. `address` may be absolute: the road stays the same."""
        where = urlsplit(self.proxy.url)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=timeout)
        sent = {"Authorization": f"Bearer {self.token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        try:
            connection.request(method, urlsplit(address).path, body=body, headers=sent)
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        except (OSError, http.client.HTTPException) as error:
            raise Cut from error
        finally:
            connection.close()

    def surely(self, method: str, address: str, body: bytes | None = None, *, good: set[int], **headers: str) -> Answer:
        """The answer with one of the `good` statuses, asking again while the server says later."""
        until = time.monotonic() + PATIENCE
        while True:
            answer = self.ask(method, address, body, **headers)
            if answer.status in good:
                return answer
            if answer.status not in AGAIN or time.monotonic() > until:
                raise Refused(f"{method} {address}: {answer.status} {answer.body[:500]!r}")
            time.sleep(POLL)


def batch(road: Road, files: list[dict[str, Any]] | None = None) -> str:
    """A new batch; its id."""
    body = json.dumps({"files": files} if files else {}).encode()
    return str(road.surely("POST", "/api/v1/batches", body, good={201}, Content_Type="application/json").json["id"])


def deliver(road: Road, batch_id: str, way: str, name: str, content: bytes, faults: list[Fault], random: Random) -> Delivery:
    """Send `content` with each of `faults` happening to it once, until the server has the whole file."""
    sender = _Sender(road, batch_id, way, name, content, random)
    before = road.proxy.sent
    sender.begin()
    for fault in faults:
        if sender.offset == len(content):
            break
        sender.suffer(fault)
    while sender.offset < len(content):
        sender.go_on()
    sender.told.sent = road.proxy.sent - before
    return sender.told


class _Sender:
    """The state of one upload as the vehicle knows it."""

    def __init__(self, road: Road, batch_id: str, way: str, name: str, content: bytes, random: Random) -> None:
        self.road, self.batch_id, self.way, self.name, self.content, self.random = road, batch_id, way, name, content, random
        self.told = Delivery(name, way, len(content), hashlib.sha256(content).hexdigest())
        self.files = f"/api/v1/batches/{batch_id}"
        self.address = ""
        self.offset = 0

    # -- how it begins --

    def begin(self) -> None:
        """Create the upload; for PUT there is nothing to create."""
        if self.way == "declared":
            (self.address,) = (entry["url"] for entry in self._batch()["uploads"] if entry["name"] == self.name)
        elif self.way == "tus with the creation":
            size = min(len(self.content) - 1, self.random.randrange(200_000))
            answer = self._create(self.content[:size])
            self.address, self.offset = answer.headers["location"], answer.offset
        elif self.way != "put":
            self.address = self._create().headers["location"]

    def _create(self, first: bytes = b"") -> Answer:
        metadata = ",".join(
            f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in (("filename", self.name), ("sha256", self.told.sha256))
        )
        headers = {"Upload-Length": str(len(self.content)), "Upload-Metadata": metadata, "Tus-Resumable": "1.0.0"}
        if first:
            headers["Content-Type"] = "application/offset+octet-stream"
        return self.road.surely("POST", f"{self.files}/uploads", first or None, good={201}, **headers)

    def _batch(self) -> dict[str, Any]:
        return dict(self.road.surely("GET", self.files, good={200}).json)

    # -- how it goes on --

    def suffer(self, fault: Fault) -> None:
        """One request to which the fault happens, and what it takes to know where to go on."""
        begin, method = self.offset, "PATCH" if self.address else "PUT"
        size = self._piece(fault)
        if size > _most(fault) and fault.end is End.LOSE_ANSWER:
            fault = replace(fault, piece=PIECE, delay=0.0)
        after = size if fault.end is End.LOSE_ANSWER else fault.after % min(size, _most(fault))
        fault = replace(fault, method=method, after=after)
        before, happened = self.road.proxy.sent, len(self.road.proxy.happened)
        self.road.proxy.add(fault)
        try:
            answer = self._send(size, timeout=1.0 + fault.seconds(fault.after) if fault.end is End.FREEZE else 60.0)
        except Cut:
            self.offset = -1
        else:
            self._took(answer, begin + size)
        if len(self.road.proxy.happened) == happened:
            if fault.end is not End.WELL:
                raise Refused(f"{method}: the end came before {fault} did")
            return
        self.told.ends.append(fault.end.value)
        cut = time.monotonic()
        self.offset = self._found()
        lost = begin + self.road.proxy.sent - before - self.go_on(64 * 1024)
        self.told.lost.append(max(0, lost))
        if fault.end is End.FREEZE:
            self.told.evicted_after.append(time.monotonic() - cut)

    def go_on(self, most: int = 0) -> int:
        """One request that nothing happens to, asked until it is taken; the offset at which the server took it."""
        until = time.monotonic() + PATIENCE
        while self.offset < len(self.content):
            begin, size = self.offset, self._piece()
            if most and self.address:
                size = min(size, most)
            answer = self._send(size)
            if answer.status in {200, 201, 204}:
                self._took(answer, begin + size)
                return begin
            if answer.status not in {409, *AGAIN} or time.monotonic() > until:
                raise Refused(f"at {begin}: {answer.status} {answer.body[:500]!r}")
            self.told.refused.append(answer.status)
            if answer.status != 409:
                time.sleep(POLL)
            self.offset = self._found()
        return self.offset

    def _took(self, answer: Answer, expected: int) -> None:
        self.offset = answer.offset if "upload-offset" in answer.headers else expected
        if answer.status not in {200, 201, 204} or self.offset != expected:
            raise Refused(f"{answer.status}, offset {self.offset} where {expected} was expected: {answer.body[:500]!r}")

    def _piece(self, fault: Fault = NONE) -> int:
        """How many bytes the next request has."""
        left = len(self.content) - self.offset
        if not self.address:
            return left
        if self.way == "tus with checksums":  # all or nothing: as much as may be lost at once
            left = min(left, MEGABYTE)
        if self.way == "tus in slices":
            left = min(left, self.random.randrange(1, 2 * MEGABYTE))
        return min(left, _most(fault))

    def _send(self, size: int, timeout: float = 60.0) -> Answer:
        return self._patch(self.offset, size, timeout) if self.address else self._put(timeout)

    def _patch(self, begin: int, size: int, timeout: float) -> Answer:
        piece = self.content[begin : begin + size]
        headers = {"Upload-Offset": str(begin), "Content-Type": "application/offset+octet-stream", "Tus-Resumable": "1.0.0"}
        if self.way == "tus with checksums":
            name = self.random.choice(["sha1", "sha256"])
            headers["Upload-Checksum"] = f"{name} {base64.b64encode(hashlib.new(name, piece).digest()).decode()}"
        return self.road.ask("PATCH", self.address, piece, timeout=timeout, **headers)

    def _put(self, timeout: float) -> Answer:
        digest = base64.b64encode(bytes.fromhex(self.told.sha256)).decode()
        return self.road.ask(
            "PUT", f"{self.files}/files/{quote(self.name)}", self.content, timeout=timeout, Repr_Digest=f"sha-256=:{digest}:"
        )

    def _found(self) -> int:
        """Where the server says that the upload stands."""
        if not self.address:
            state = self._batch()
            if any(file["name"] == self.name for file in state["files"]):
                return len(self.content)
            known = [entry["url"] for entry in state["uploads"] if entry["name"] == self.name]
            if not known:  # the request broke off before the upload began
                return 0
            (self.address,) = known
        return self.road.surely("HEAD", self.address, good={200, 204}, Tus_Resumable="1.0.0").offset


def _most(fault: Fault) -> int:
    """How many bytes travel in the manner of the fault within a second or so."""
    return (50 if fault.delay else 2000) * fault.piece


@contextmanager
def road_to(url: str, token: str) -> Iterator[Road]:
    """A vehicle's own road to the server."""
    with Proxy(url) as proxy:
        yield Road(proxy, token)
