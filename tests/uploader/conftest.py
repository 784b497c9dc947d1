"""Fixtures of the uploader's tests: one server for all, a vehicle of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import factories
from tests.flows.live import Live, running
from tests.uploader.vehicle import LARGEST_FILE, Vehicle


@pytest.fixture(scope="package")
def live(django_db_setup: None, django_db_blocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running Argus without workers: files are received, nothing is parsed."""
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setenv("ARGUS_MAX_FILE_BYTES", str(LARGEST_FILE))
        with running(tmp_path_factory.mktemp("live"), workers=False) as argus:
            yield argus


@pytest.fixture
def car(live: Live, transactional_db: None, tmp_path: Path) -> Vehicle:
    """A vehicle with a token."""
    return Vehicle(tmp_path / "car", live.url, factories.token(factories.vehicle()))
