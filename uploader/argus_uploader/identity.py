"""How a vehicle gets its token, and a new one in time: enrolment, and rotation."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argus_uploader import durable
from argus_uploader.api import API, Api
from argus_uploader.errors import LocalTrouble, NotAllowed, Problem, Rejected, Stopped, TryLater
from argus_uploader.link import Link
from argus_uploader.pace import Backoff
from argus_uploader.tokens import write_secret

ASK_AGAIN_S = 30.0


class Enrolment:
    """An enrolment that may take days, until somebody has accepted the vehicle; `kept` remembers it over restarts."""

    def __init__(self, link: Link, kept: Path, tell: Callable[[str], None], stop: threading.Event, *, longest_wait_s: float) -> None:
        self._link, self._kept, self._tell, self._stop = link, kept, tell, stop
        self._longest_wait_s = longest_wait_s

    def run(self, said: dict[str, Any], enrolment_token: Callable[[], str], token_file: Path, *, patience_s: float = 0.0) -> None:
        """Enrols with `said` (vin, name, software), waits for the decision and keeps the token in `token_file`.

        Gives up after `patience_s` (0: never) with TryLater. Raises Rejected, NotAllowed, Problem.
        """
        until = time.monotonic() + patience_s if patience_s else None
        pending = self._known(said["vin"])
        if pending is None:
            answer = self._insist(lambda: Api(self._link, enrolment_token).call("POST", f"{API}/enrol", said), until)
            pending = {"vin": said["vin"], "id": str(answer["id"]), "claim": str(answer["claim"])}
            self._keep(pending)
            self._tell(f"{said['vin']} is enrolled and waits for somebody to accept it")
        token = self._insist(lambda: self._claim(pending), until)
        write_secret(token_file, token)
        durable.remove(self._kept)
        self._tell(f"{said['vin']} is accepted; its token is in {token_file}")

    def _claim(self, pending: dict[str, str]) -> str:
        try:
            answer = Api(self._link, lambda: pending["claim"]).call("POST", f"{API}/enrol/{pending['id']}/claim")
        except (NotAllowed, Problem) as refused:
            durable.remove(self._kept)
            raise Rejected(f"{pending['vin']} was not accepted: {refused}") from refused
        if answer.get("token"):
            return str(answer["token"])
        raise TryLater("nobody has decided yet", float(answer.get("retry_after") or ASK_AGAIN_S))

    def _insist(self, ask: Callable[[], Any], until: float | None) -> Any:
        backoff = Backoff(1.0, self._longest_wait_s)
        while True:
            try:
                return ask()
            except TryLater as later:
                wait = backoff.next_s(later.after_s)
                if until is not None and time.monotonic() + wait > until:
                    raise
                self._tell(f"{later}; next try in {wait:.0f} s")
                if self._stop.wait(wait):
                    raise Stopped from later

    def _known(self, vin: str) -> dict[str, str] | None:
        try:
            found = json.loads(self._kept.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("vin") == vin and {"id", "claim"} <= found.keys() else None

    def _keep(self, pending: dict[str, str]) -> None:
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable.write_json(self._kept, pending)
        except OSError as error:
            raise LocalTrouble(f"{self._kept} cannot be written: {error.strerror}") from error


def rotate(link: Link, token: Callable[[], str], token_file: Path) -> None:
    """Gets a new token, keeps it, and uses it once: from then on the old one's days are counted."""
    fresh = str(Api(link, token).call("POST", f"{API}/token")["token"])
    write_secret(token_file, fresh)
    Api(link, lambda: fresh).call("GET", f"{API}/batches?page_size=1")
