"""Fixtures of the flows through running processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.live import Live, running


@pytest.fixture
def live(transactional_db, tmp_path: Path) -> Iterator[Live]:
    """A running Argus on the test's database."""
    with running(tmp_path) as argus:
        yield argus
