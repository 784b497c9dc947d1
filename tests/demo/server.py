"""A small HTTP server that keeps uploaded batches as the API contract says: what the demo client is tried against."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Kept:
    """What the server was sent, and how it should behave: `refusals` are answered, in turn, to the next requests that send bytes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.refusals: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        self.tokens: set[str] | None = None
        self.polls_until_end = 2

    def end(self, batch_id: str) -> str:
        """The batch is failed when none of its files begins like a log, else completed."""
        good = [content for content in self.files[batch_id].values() if not content.startswith(b"%PDF") and len(content) > 144]
        return "completed" if good else "failed"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kept: Kept

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing."""

    def _reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _allowed(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.kept.lock:
            self.kept.requests.append((self.command, self.path, token))
        if self.kept.tokens is None or token in self.kept.tokens:
            return True
        self._reply(401, {"status": 401, "code": "unauthenticated", "detail": "The token is not known.", "action": "Issue a new token."})
        return False

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _shown(self, batch_id: str) -> dict[str, Any]:
        batch = self.kept.batches[batch_id]
        kept = self.kept.files[batch_id]
        files = [
            {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "state": "completed", "partial": "cut" in name}
            for name, content in kept.items()
        ]
        bad = sum(content.startswith(b"%PDF") for content in kept.values())
        return {"id": batch_id, "status": batch["status"], "files": files, "total_files": len(files), "failed_files": bad}

    def do_GET(self) -> None:
        if not self._allowed():
            return
        batch_id = self.path.split("/")[4]
        with self.kept.lock:
            batch = self.kept.batches.get(batch_id)
            if batch is None:
                self._reply(404, {"status": 404, "code": "not_found", "detail": "There is no such batch."})
                return
            if batch["status"] == "scattering" and self.path.endswith("/progress"):
                batch["polls"] += 1
                if batch["polls"] >= self.kept.polls_until_end:
                    batch["status"] = self.kept.end(batch_id)
            self._reply(200, self._shown(batch_id))

    def do_POST(self) -> None:
        if not self._allowed():
            return
        body = self._body()
        with self.kept.lock:
            if self.path == "/api/v1/batches":
                batch_id = str(uuid.uuid4())
                self.kept.batches[batch_id] = {"status": "pending", "polls": 0, "declared": json.loads(body)}
                self.kept.files[batch_id] = {}
                self._reply(201, self._shown(batch_id))
                return
            batch_id, action = self.path.split("/")[4:6]
            if action == "files":
                head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                [part] = BytesParser().parsebytes(head + body).get_payload()  # type: ignore[misc]
                self._store(batch_id, part.get_filename(), part.get_payload(decode=True))  # type: ignore[union-attr]
                return
            manifest = {file["name"]: (file["size"], file["sha256"]) for file in json.loads(body)["files"]}
            stored = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in self.kept.files[batch_id].items()}
            missing = sorted(set(manifest) - set(stored))
            if manifest != stored:
                detail = "The manifest does not fit."
                self._reply(409, {"status": 409, "code": "files_pending", "detail": detail, "missing": missing, "retryable": False})
                return
            self.kept.batches[batch_id]["status"] = "scattering"
            self._reply(202, self._shown(batch_id))

    def do_PUT(self) -> None:
        if not self._allowed():
            return
        with self.kept.lock:
            refusal = self.kept.refusals.pop(0) if self.kept.refusals else None
        if refusal is not None:
            self.close_connection = True
            self._reply(*refusal)
            return
        content = self._body()
        given = re.fullmatch(r"sha-256=:(.+):", self.headers["Repr-Digest"])
        assert given is not None
        assert base64.b64decode(given[1]) == hashlib.sha256(content).digest()
        with self.kept.lock:
            self._store(self.path.split("/")[4], self.path.split("/")[6], content)

    def _store(self, batch_id: str, name: str, content: bytes) -> None:
        self.kept.files[batch_id][name] = content
        self._reply(201, {"name": name})


@contextmanager
def serving() -> Iterator[tuple[str, Kept]]:
    """Yields the address of a running server and what it keeps."""
    kept = Kept()
    handler = type("Handler", (_Handler,), {"kept": kept})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
