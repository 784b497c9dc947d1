"""Two vehicles do everything that a vehicle can do, in any order, and a model of it knows what must be there afterwards.

ARGUS_MACHINE_EXAMPLES says how many lives are tried.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule, run_state_machine_as_test

from batches.models import Batch
from files import storage
from files.models import COMING, File, Upload
from tests import factories
from tests.api.conftest import API, Caller, refused
from tests.api.test_files import BOUNDARY, form

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("ARGUS_MACHINE_EXAMPLES", "20"))
TUS = {"Tus-Resumable": "1.0.0"}
OFFSET_TYPE = "application/offset+octet-stream"

contents = st.binary(min_size=1, max_size=60)
fractions = st.floats(0, 1)


@dataclass
class Sent:
    """One upload as it must be: `kept` is what the server has of `content`."""

    id: str
    name: str
    content: bytes
    sha256: str = ""
    kept: bytes = b""
    state: str = "open"  # finished, ended
    declared: bool = False
    deferred: bool = False


@dataclass
class Opened:
    """One batch as it must be."""

    id: str
    owner: int
    body: dict[str, Any]
    state: str = "pending"
    uploads: list[Sent] = field(default_factory=list)

    @property
    def files(self) -> list[Sent]:
        """What has become a file."""
        return [sent for sent in self.uploads if sent.state == "finished"]

    @property
    def coming(self) -> list[Sent]:
        """What may still become one."""
        return [sent for sent in self.uploads if sent.state == "open"]


class BrokenOff:
    """A body that ends in the middle, as a web server hands it on."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def read(self, size: int = -1) -> bytes:
        data, self.left = (self.left, b"") if size < 0 else (self.left[:size], self.left[size:])
        if not data:
            raise ConnectionResetError
        return data

    readline = read


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


class Uploads(RuleBasedStateMachine):
    """The lives of the batches of two vehicles."""

    batches = Bundle("batches")
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.cars = [Caller(factories.token(factories.vehicle())) for _ in range(2)]
        self.all: list[Opened] = []
        self.names = 0

    # -- help --

    def car(self, batch: Opened) -> Caller:
        return self.cars[batch.owner]

    def new_name(self) -> str:
        self.names += 1
        return f"drive {self.names}.blf"

    def patch(self, batch: Opened, sent: Sent, offset: int, data: Any, length: int | None = None, **headers: str) -> Any:
        """PATCH; with `length` the body breaks off after `data`."""
        # The test client leaves both headers out of a request without bytes.
        extra: dict[str, Any] = {"CONTENT_LENGTH": str(len(data)), "CONTENT_TYPE": OFFSET_TYPE}
        if length is not None:
            extra |= {"CONTENT_LENGTH": str(length), "wsgi.input": BrokenOff(data)}
        headers = {**TUS, "Upload-Offset": str(offset), **headers}
        return self.car(batch).generic("PATCH", f"/api/v1/uploads/{sent.id}", data, OFFSET_TYPE, headers=headers, **extra)

    def took(self, sent: Sent, answer: Any, piece: bytes, *, whole: int | None = None) -> None:
        """`piece` was sent to the right place: what must be the answer, and what is kept then."""
        sent.kept += piece
        total = len(sent.content) if whole is None else whole
        if len(sent.kept) < total or (sent.deferred and whole is None):
            assert (answer.status_code, answer["Upload-Offset"]) == (204, str(len(sent.kept)))
        elif sent.sha256 in {"", sha256(sent.kept)}:
            assert (answer.status_code, answer["Upload-Offset"]) == (204, str(len(sent.kept)))
            sent.state, sent.content = "finished", sent.kept
        else:
            refused(answer, 422, "digest_mismatch")
            sent.kept = b""

    def is_open(self, sent: Sent, answer: Any) -> bool:
        """Refused with 410 once it has ended."""
        if sent.state == "ended":
            refused(answer, 410, "upload_expired")
        return sent.state == "open"

    # -- batches --

    @rule(target=batches, owner=st.sampled_from([0, 1]), declared=st.lists(contents, max_size=2), with_digest=st.booleans())
    def open_batch(self, owner: int, declared: list[bytes], with_digest: bool) -> Opened:
        files = [{"name": self.new_name(), "size": len(data), **({"sha256": sha256(data)} if with_digest else {})} for data in declared]
        batch = Opened(str(uuid.uuid4()), owner, {"reason": "machine", **({"files": files} if files else {})})
        answer = self.car(batch).put(f"{API}/{batch.id}", batch.body, content_type="application/json")
        assert answer.status_code == 201, answer.content
        for file, data, shown in zip(files, declared, answer.json()["uploads"], strict=True):
            assert shown["name"] == file["name"]
            batch.uploads.append(Sent(shown["id"], file["name"], data, file.get("sha256", ""), declared=True))
        self.all.append(batch)
        return batch

    @rule(target=uploads, batch=batches)
    def look_at_what_was_declared(self, batch: Opened) -> Any:
        return multiple(*((batch, sent) for sent in batch.uploads if sent.declared))

    @rule(batch=batches, other=st.booleans())
    def open_again(self, batch: Opened, other: bool) -> None:
        body = {**batch.body, "reason": "another"} if other else batch.body
        answer = self.car(batch).put(f"{API}/{batch.id}", body, content_type="application/json")
        if other:
            refused(answer, 409, "batch_exists")
        else:
            assert answer.status_code == 200

    @rule(batch=batches, change=st.sampled_from(["none", "exact", "one more", "one less", "other size", "other bytes"]))
    def complete(self, batch: Opened, change: str) -> None:
        entries = [{"name": sent.name, "size": len(sent.content), "sha256": sha256(sent.content)} for sent in batch.files]
        fits = change in {"none", "exact"} or not entries
        if change == "one more":
            entries, fits = [*entries, {"name": "never sent", "size": 1}], False
        elif change == "one less" and len(entries) > 1:
            entries = entries[1:]
        elif change == "other size" and entries:
            entries[0]["size"] += 1
        elif change == "other bytes" and entries:
            entries[0]["sha256"] = sha256(b"other")
        elif change == "one less":
            fits = True
        announced = None if change == "none" else entries
        if change == "none":
            names = {file["name"] for file in batch.body.get("files", [])}
            stored = {sent.name for sent in batch.files}
            fits = batch.state != "pending" or not names or names == stored
        answer = self.car(batch).complete(batch.id, None if announced is None else {"files": announced})
        if batch.state == "abandoned":
            refused(answer, 409, "wrong_state")
        elif batch.state == "pending" and (batch.coming or not fits):
            told = refused(answer, 409, "files_pending")
            told_names = {name for kind in ("missing", "uploading", "corrupt") for name in told[kind]}
            assert {sent.name for sent in batch.coming} <= told_names
        elif batch.state == "pending" and not batch.files:
            refused(answer, 422, "batch_empty")
        elif not fits:
            refused(answer, 409, "files_pending")
        else:
            assert answer.status_code == 202, answer.content
            batch.state = "uploaded"

    @rule(batch=batches)
    def abandon(self, batch: Opened) -> None:
        answer = self.car(batch).post(f"{API}/{batch.id}/abandon", {"reason": "gone"}, content_type="application/json")
        if batch.state == "uploaded":
            refused(answer, 409, "wrong_state")
            return
        assert answer.status_code == 200, answer.content
        batch.state = "abandoned"
        for sent in batch.coming:
            sent.state = "ended"

    # -- tus --

    def create(self, batch: Opened, sent: Sent, first: bytes = b"") -> Any:
        pairs = {"filename": sent.name, **({"sha256": sent.sha256} if sent.sha256 else {})}
        headers = {**TUS, "Upload-Metadata": ",".join(f"{key} {b64(value)}" for key, value in pairs.items())}
        headers |= {"Upload-Defer-Length": "1"} if sent.deferred else {"Upload-Length": str(len(sent.content))}
        content_type = OFFSET_TYPE if first else ""
        return self.car(batch).generic("POST", f"{API}/{batch.id}/uploads", first, content_type, headers=headers)

    @rule(
        target=uploads,
        batch=batches,
        content=contents,
        announced=st.sampled_from(["", "right", "wrong"]),
        first=fractions,
        deferred=st.booleans(),
    )
    def create_upload(self, batch: Opened, content: bytes, announced: str, first: float, deferred: bool) -> Any:
        digest = {"": "", "right": sha256(content), "wrong": sha256(content + b"!")}[announced]
        sent = Sent("", self.new_name(), content, digest, deferred=deferred)
        piece = b"" if deferred else content[: int(first * (len(content) - 1))]
        answer = self.create(batch, sent, piece)
        if batch.state == "abandoned":
            refused(answer, 409, "batch_closed")
            return multiple()
        assert answer.status_code == 201, answer.content
        assert answer["Upload-Offset"] == str(len(piece))
        sent.id, sent.kept = answer["Location"].rpartition("/")[2], piece
        batch.uploads.append(sent)
        return batch, sent

    @rule(upload=uploads)
    def create_again(self, upload: tuple[Opened, Sent]) -> None:
        """The vehicle has forgotten the address: it is told the same one."""
        batch, sent = upload
        if sent.deferred or sent.state != "open":
            return
        answer = self.create(batch, sent)
        assert (answer.status_code, answer["Location"].rpartition("/")[2]) == (201, sent.id)
        if not sent.sha256:  # nothing says that it is the same content
            sent.kept = b""
        assert answer["Upload-Offset"] == str(len(sent.kept))

    @rule(upload=uploads, share=fractions, checksum=st.booleans())
    def send(self, upload: tuple[Opened, Sent], share: float, checksum: bool) -> None:
        batch, sent = upload
        left = sent.content[len(sent.kept) :]
        piece = left[: round(share * len(left))]
        headers = {"Upload-Checksum": f"sha1 {b64(hashlib.sha1(piece).digest())}"} if checksum else {}
        ends = sent.deferred and sent.state == "open" and len(piece) == len(left)
        if ends:
            headers["Upload-Length"] = str(len(sent.content))
        answer = self.patch(batch, sent, len(sent.kept), piece, **headers)
        if self.is_open(sent, answer):
            self.took(sent, answer, piece, whole=len(sent.content) if ends else None)
        elif sent.state == "finished":
            assert (answer.status_code, answer["Upload-Offset"]) == (204, str(len(sent.content)))

    @rule(upload=uploads)
    def send_all(self, upload: tuple[Opened, Sent]) -> None:
        self.send(upload, 1.0, False)

    @rule(upload=uploads, said=fractions, came=fractions, checksum=st.booleans())
    def be_cut(self, upload: tuple[Opened, Sent], said: float, came: float, checksum: bool) -> None:
        batch, sent = upload
        left = sent.content[len(sent.kept) :]
        if sent.state != "open" or not left:
            return
        piece = left[: max(1, round(said * len(left)))]
        arrived = piece[: int(came * (len(piece) - 1))]
        headers = {"Upload-Checksum": f"sha256 {b64(hashlib.sha256(piece).digest())}"} if checksum else {}
        answer = self.patch(batch, sent, len(sent.kept), arrived, len(piece), **headers)
        refused(answer, 422, "length_mismatch")
        if not checksum:
            sent.kept += arrived

    @rule(upload=uploads, offset=st.integers(0, 80), data=contents, checksum=st.booleans())
    def send_to_the_wrong_place(self, upload: tuple[Opened, Sent], offset: int, data: bytes, checksum: bool) -> None:
        batch, sent = upload
        stands = len(sent.kept)
        if offset == stands:
            return
        if not sent.deferred:
            data = data[: max(1, len(sent.content) - offset)]
        headers = {"Upload-Checksum": f"sha1 {b64(hashlib.sha1(data).digest())}"} if checksum else {}
        answer = self.patch(batch, sent, offset, data, **headers)
        if sent.state == "ended":
            refused(answer, 410, "upload_expired")
        else:
            refused(answer, 409, "offset_mismatch")
            assert answer["Upload-Offset"] == str(stands)

    @rule(upload=uploads, data=contents)
    def send_too_much(self, upload: tuple[Opened, Sent], data: bytes) -> None:
        batch, sent = upload
        if sent.state != "open" or sent.deferred:
            return
        refused(self.patch(batch, sent, len(sent.kept), sent.content[len(sent.kept) :] + data), 413, "file_too_large")

    @rule(upload=uploads, data=contents)
    def send_damaged(self, upload: tuple[Opened, Sent], data: bytes) -> None:
        batch, sent = upload
        room = len(sent.content) - len(sent.kept)
        if sent.state != "open" or not data[:room]:
            return
        answer = self.patch(
            batch, sent, len(sent.kept), data[:room], **{"Upload-Checksum": f"sha1 {b64(hashlib.sha1(data + b'!').digest())}"}
        )
        refused(answer, 460, "checksum_mismatch")

    @rule(upload=uploads)
    def ask(self, upload: tuple[Opened, Sent]) -> None:
        batch, sent = upload
        answer = self.car(batch).head(f"/api/v1/uploads/{sent.id}", headers=TUS)
        if sent.state == "ended":
            assert answer.status_code == 410
        else:
            assert (answer.status_code, answer["Upload-Offset"]) == (200, str(len(sent.kept)))

    @rule(upload=uploads)
    def terminate(self, upload: tuple[Opened, Sent]) -> None:
        batch, sent = upload
        answer = self.car(batch).delete(f"/api/v1/uploads/{sent.id}", headers=TUS)
        if sent.state == "finished":
            refused(answer, 409, "wrong_state")
        elif self.is_open(sent, answer):
            assert answer.status_code == 204
            sent.state = "ended"

    # -- whole files --

    def put(self, batch: Opened, name: str, data: bytes, length: int | None = None) -> Any:
        extra = {} if length is None else {"CONTENT_LENGTH": str(length), "wsgi.input": BrokenOff(data)}
        return self.car(batch).generic("PUT", f"{API}/{batch.id}/files/{name}", data, "application/octet-stream", **extra)

    @rule(target=uploads, batch=batches, content=contents, came=st.none() | fractions)
    def put_file(self, batch: Opened, content: bytes, came: float | None) -> Any:
        sent = Sent("", self.new_name(), content)
        if batch.state == "abandoned":
            refused(self.put(batch, sent.name, content), 409, "batch_closed")
            return multiple()
        if came is None:
            answer = self.put(batch, sent.name, content)
            assert answer.status_code == 201, answer.content
            sent.id, sent.kept, sent.state = answer.json()["id"], content, "finished"
        else:  # cut: it can be gone on with
            sent.kept = content[: int(came * (len(content) - 1))]
            refused(self.put(batch, sent.name, sent.kept, len(content)), 422, "length_mismatch")
            listed = self.car(batch).get(f"{API}/{batch.id}").json()["uploads"]
            (sent.id,) = (entry["id"] for entry in listed if entry["name"] == sent.name)
        batch.uploads.append(sent)
        return batch, sent

    @rule(upload=uploads, other=st.booleans())
    def put_what_was_begun(self, upload: tuple[Opened, Sent], other: bool) -> None:
        batch, sent = upload
        data = sent.content + b"!" if other else sent.content
        if sent.state == "finished":
            answer = self.put(batch, sent.name, data)
            if batch.state == "abandoned":
                refused(answer, 409, "batch_closed")
            elif other:
                refused(answer, 409, "file_exists")
            else:
                assert (answer.status_code, answer.json()["id"]) == (200, sent.id)
        elif sent.state == "open" and not sent.deferred and not other:
            answer = self.put(batch, sent.name, data)
            assert (answer.status_code, answer.json()["id"]) == (201, sent.id), answer.content
            sent.state, sent.kept = "finished", data

    @rule(batch=batches, content=contents)
    def post_form(self, batch: Opened, content: bytes) -> None:
        name = self.new_name()
        body = form(("file", name, content))
        answer = self.car(batch).post(f"{API}/{batch.id}/files", body, content_type=f"multipart/form-data; boundary={BOUNDARY}")
        if batch.state == "abandoned":
            refused(answer, 409, "batch_closed")
        else:
            assert answer.status_code == 201, answer.content
            batch.uploads.append(Sent(answer.json()["id"], name, content, kept=content, state="finished"))

    # -- the other vehicle --

    @precondition(lambda self: self.all)
    @rule(batch=batches, way=st.sampled_from(["GET", "PUT", "complete", "abandon", "progress", "files", "uploads", "file"]))
    def meddle_with_a_batch(self, batch: Opened, way: str) -> None:
        stranger, address = self.cars[1 - batch.owner], f"{API}/{batch.id}"
        if way == "uploads":
            answer = stranger.generic(
                "POST", f"{address}/uploads", headers={**TUS, "Upload-Length": "1", "Upload-Metadata": f"filename {b64('x')}"}
            )
        elif way == "files":
            body = form(("file", "x", b"x"))
            answer = stranger.post(f"{address}/files", body, content_type=f"multipart/form-data; boundary={BOUNDARY}")
        elif way == "file":
            answer = stranger.put(f"{address}/files/x", b"x", content_type="application/octet-stream")
        elif way in {"GET", "progress"}:
            answer = stranger.get(address if way == "GET" else f"{address}/progress")
        else:
            body = json.dumps(batch.body if way == "PUT" else {})
            answer = stranger.generic(
                "PUT" if way == "PUT" else "POST", address if way == "PUT" else f"{address}/{way}", body, "application/json"
            )
        refused(answer, 404, "not_found")

    @rule(upload=uploads, method=st.sampled_from(["HEAD", "PATCH", "DELETE"]))
    def meddle_with_an_upload(self, upload: tuple[Opened, Sent], method: str) -> None:
        batch, sent = upload
        headers = {**TUS, "Upload-Offset": str(len(sent.kept))}
        answer = self.cars[1 - batch.owner].generic(method, f"/api/v1/uploads/{sent.id}", b"x", OFFSET_TYPE, headers=headers)
        assert answer.status_code == 404

    @rule(upload=consumes(uploads))
    def forget(self, upload: tuple[Opened, Sent]) -> None:
        """So that others come up."""

    # -- what always holds --

    @invariant()
    def the_count_is_of_the_files(self) -> None:
        for batch in self.all:
            row = Batch.objects.get(pk=batch.id)
            files = sorted(
                (str(pk), name, size, digest)
                for pk, name, size, digest in File.objects.filter(batch=row).values_list("pk", "name", "size", "sha256")
            )
            assert files == sorted((sent.id, sent.name, len(sent.content), sha256(sent.content)) for sent in batch.files)
            assert (row.total_files, row.total_bytes) == (len(files), sum(len(sent.content) for sent in batch.files))
            assert row.state == batch.state

    @invariant()
    def what_is_stored_is_what_was_sent(self) -> None:
        root = Path(storage.storages["default"].location)
        for batch in self.all:
            folder = root / "raw" / batch.id
            stored = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
            expected = {sent.id: sent.content for sent in batch.files}
            expected |= {f"{sent.id}.part": sent.kept for sent in batch.coming if sent.kept}
            assert {name: data for name, data in stored.items() if data} == expected

    @invariant()
    def the_batch_shows_it(self) -> None:
        for batch in self.all[-2:]:
            shown = self.car(batch).get(f"{API}/{batch.id}").json()
            assert sorted((entry["id"], entry["offset"]) for entry in shown["uploads"]) == sorted(
                (sent.id, len(sent.kept)) for sent in batch.coming
            )
            assert sorted(entry["id"] for entry in shown["files"]) == sorted(sent.id for sent in batch.files)

    def teardown(self) -> None:
        """Nothing is left in somebody's hands."""
        assert not Upload.objects.filter(state__in=COMING, lease_until__year__gt=1970).exists()


def test_whatever_two_vehicles_do_the_server_has_what_they_sent():
    run_state_machine_as_test(
        Uploads,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            derandomize=EXAMPLES <= 25,
            database=None,
            phases=[Phase.generate],  # a life of 25 steps can be read as it is; shortening it takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
