"""Every parser keeps the rules for any bytes: a few seconds of mutated samples; `make fuzz` looks longer and is led by coverage."""

from __future__ import annotations

import os
import random
import time

import pytest

from fuzz.check import examine, examine_further
from fuzz.mutate import mutate
from fuzz.seeds import samples
from parsers.registry import BUILT_IN
from tests.parsers import regressions

SECONDS = float(os.environ.get("ARGUS_FUZZ_SECONDS", "2"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_mutated_sample_keeps_the_rules(name: str) -> None:
    parser = BUILT_IN[name]
    seeds = [*samples(name), *regressions.cases(name).values()]
    assert seeds, f"no class in tests/parsers tests {name} by the contract"
    for data in seeds:
        examine(parser, data)
        examine_further(parser, data)
    # The same inputs each time, so that a failure can be looked at; how many there are depends on the machine.
    rng = random.Random(name)
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        data = mutate(rng, seeds)
        try:
            examine(parser, data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error
