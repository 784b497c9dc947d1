"""Small changes of a file, drawn from a seeded generator: what the tests use where the fuzzer is not installed."""

from __future__ import annotations

import random
from collections.abc import Sequence

EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 8, b"\xff" * 8)


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to four changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        span = rng.choice((1, 2, 4, 8, 40, 200))
        kind = rng.randrange(7)
        if kind == 0 and data:  # a bit
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:  # a number at the edge of its range
            extreme = rng.choice(EXTREMES)
            data[at : at + len(extreme)] = extreme
        elif kind == 2:  # a number a little larger or smaller
            number = int.from_bytes(data[at : at + 4], "little")
            data[at : at + 4] = ((number + rng.randint(-16, 16)) % (1 << 32)).to_bytes(4, "little")[: len(data) - at]
        elif kind == 3:  # a gap
            del data[at : at + span]
        elif kind == 4:  # a piece that comes twice
            data[at:at] = data[at : at + span]
        elif kind == 5:  # a piece of another file
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            data[at : at + span] = other[begin : begin + span]
        else:  # an end
            del data[at:]
    return bytes(data)
