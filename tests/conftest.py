"""What every test can ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import factories


@pytest.fixture(autouse=True)
def _own_storage(settings, tmp_path: Path) -> None:
    """Each test stores its bytes in a folder of its own (Django makes the storages anew when the setting changes)."""
    local = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "storage"), "base_url": None}}
    settings.STORAGES = {**settings.STORAGES, "default": local}


@pytest.fixture
def vehicle(db):
    """A vehicle with a platform but no signal database."""
    return factories.vehicle()
