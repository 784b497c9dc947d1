"""Two hundred cut uploads: every file arrives as it was sent, little is sent twice, and nothing hangs on to a dead connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import factories
from tests.flows.live import running
from tests.torture.campaign import run
from tests.torture.vehicle import MEGABYTE

pytestmark = [pytest.mark.cluster, pytest.mark.django_db(transaction=True)]
CUTS = 200
VEHICLES = 6


def test_two_hundred_cut_uploads(tmp_path: Path):
    with running(tmp_path, workers=False) as live:
        tokens = [factories.token(factories.vehicle()) for _ in range(VEHICLES)]
        outcome = run(live.url, tokens, CUTS, 4 * MEGABYTE, tmp_path / "storage")
    assert outcome.cuts == CUTS
    assert len(outcome.by_end) == 4
    assert max(outcome.lost) <= MEGABYTE
    assert outcome.sent_again <= MEGABYTE * CUTS
    assert max(outcome.evictions) < 5
