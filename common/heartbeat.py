"""Keeps a lease alive from a thread while the work goes on, and tells the work when the lease is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from django.conf import settings
from django.db import connection

log = structlog.get_logger("argus.heartbeat")


class Heartbeat:
    """`with Heartbeat(beat) as heart:` calls `beat` regularly; `heart.lost` is True once the work must stop.

    `beat` renews the lease and returns False when it belongs to somebody else. It may raise: a database that is away is tried again until
    the lease is about to end. Nothing is renewed after `longest` seconds, so that work which hangs is taken over.
    """

    def __init__(self, beat: Callable[[], bool], *, longest: float) -> None:
        self._beat = beat
        self._longest = longest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        started = renewed = time.monotonic()
        # The work must be stopped before another worker may take the lease, not when it already has it.
        patience = settings.ARGUS_LEASE_SECONDS * 0.75
        try:
            while not self._stop.wait(settings.ARGUS_HEARTBEAT_SECONDS):
                now = time.monotonic()
                if now - started > self._longest:
                    self.lost = True
                    return
                try:
                    if not self._beat():
                        self.lost = True
                        return
                    renewed = now
                except Exception:
                    log.warning("heartbeat failed", exc_info=True)
                    if now - renewed > patience:
                        self.lost = True
                        return
        finally:
            connection.close()
