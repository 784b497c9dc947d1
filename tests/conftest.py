"""What every test can ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests import factories
from tests.files.stores import Server, s3_server


@pytest.fixture(autouse=True)
def _own_storage(settings, tmp_path: Path) -> None:
    """Each test stores its bytes in a folder of its own (Django makes the storages anew when the setting changes)."""
    local = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "storage"), "base_url": None}}
    settings.STORAGES = {**settings.STORAGES, "default": local}


@pytest.fixture
def vehicle(db):
    """A vehicle with a platform but no signal database."""
    return factories.vehicle()


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory) -> Iterator[Callable[[str], Server]]:
    """S3 servers by their names, each started when it is first asked for."""
    with ExitStack() as running:

        @cache
        def server(name: str) -> Server:
            return running.enter_context(s3_server(tmp_path_factory.mktemp(name) / "objects", name))

        yield server
