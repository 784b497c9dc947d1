"""Many files on bad roads at once: every cut of a list happens to some file, and every file has to arrive."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.proxy import End, Fault
from tests.torture.vehicle import MEGABYTE, WAYS, Delivery, Road, batch, deliver, road_to

ENDS = (End.RESET, End.RESET, End.CLOSE, End.LOSE_ANSWER, End.FREEZE)
CUTS_OF_A_FILE = 5


@dataclass(frozen=True)
class Outcome:
    """What the campaign came to."""

    deliveries: list[Delivery]
    seconds: float

    @property
    def cuts(self) -> int:
        """How many requests were cut."""
        return sum(len(delivery.ends) for delivery in self.deliveries)

    @property
    def by_end(self) -> Counter[str]:
        """How many of each sort."""
        return Counter(end for delivery in self.deliveries for end in delivery.ends)

    @property
    def lost(self) -> list[int]:
        """For each cut, how many bytes that had reached the server it wanted again."""
        return [lost for delivery in self.deliveries for lost in delivery.lost]

    @property
    def sent_again(self) -> int:
        """Bytes that left the proxies more than once, for whatever reason."""
        return sum(delivery.sent - delivery.size for delivery in self.deliveries)

    @property
    def evictions(self) -> list[float]:
        """For each frozen connection, the seconds until the server took bytes on another one."""
        return [seconds for delivery in self.deliveries for seconds in delivery.evicted_after]


def faults(random: Random, count: int, largest: int) -> list[Fault]:
    """`count` cuts of every sort at random places, some after a rough stretch."""
    made = []
    for number in range(count):
        manner: dict[str, Any] = {}
        rough = random.randrange(6)
        if rough == 0:
            manner = {"piece": random.choice([1, 7, 100, 1460])}
        elif rough == 1:
            manner = {"piece": random.choice([200, 1460, 9000]), "delay": 0.002}
        elif rough == 2:
            manner = {"pause": random.choice([0.05, 0.2, 1.2])}
        made.append(
            Fault(ENDS[number % len(ENDS)], after=random.choice([0, 1, random.randrange(largest), random.randrange(largest)]), **manner)
        )
    random.shuffle(made)
    return made


def size(random: Random, largest: int) -> int:
    """Most recordings are small, some large: even on a scale of powers."""
    return max(2, int(2 ** random.uniform(10, largest.bit_length() - 1)))


def run(url: str, tokens: Sequence[str], cuts: int, largest: int, storage: Path, seed: int = 1) -> Outcome:
    """Make `cuts` cuts happen to files of up to `largest` bytes, one vehicle for each of `tokens`, all at once.

    AssertionError when a file does not arrive as it was sent, or the server gives an answer that no cut explains.
    """
    random = Random(seed)
    left = deque(faults(random, cuts, largest))
    lock, deliveries, failed = threading.Lock(), [], []  # type: ignore[var-annotated]

    def some() -> list[Fault]:
        with lock:
            return [left.popleft() for _ in range(min(len(left), own.randrange(1, CUTS_OF_A_FILE + 1)))]

    def give_back(unused: list[Fault]) -> None:
        with lock:
            left.extend(unused)

    own = Random(seed + 1)

    def drive(number: int) -> None:
        try:
            with road_to(url, tokens[number]) as road:
                deliveries.extend(_drive(road, Random(seed * 1000 + number), largest, storage, some, give_back))
        except BaseException as error:
            failed.append(error)

    begun = time.monotonic()
    threads = [threading.Thread(target=drive, args=(number,)) for number in range(len(tokens))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return Outcome(deliveries, time.monotonic() - begun)


def _drive(
    road: Road, random: Random, largest: int, storage: Path, some: Callable[[], list[Fault]], give_back: Callable[[list[Fault]], None]
) -> list[Delivery]:
    """One vehicle: batches of a few files until no cut is left."""
    done = []
    number = random.randrange(len(WAYS))
    while wanted := some():
        files = []
        while wanted and len(files) < 4:
            files.append((f"drive {len(files)}.bin", WAYS[number % len(WAYS)], random.randbytes(size(random, largest)), wanted))
            number += 1
            wanted = some()
        give_back(wanted)
        declared = [{"name": name, "size": len(content)} for name, way, content, _ in files if way == "declared"]
        batch_id = batch(road, declared)
        deliveries = []
        for name, way, content, planned in files:
            told = deliver(road, batch_id, way, name, content, planned, random)
            give_back(planned[len(told.ends) :])
            deliveries.append(told)
        _check(road, batch_id, deliveries, storage)
        done += deliveries
    return done


def _check(road: Road, batch_id: str, deliveries: list[Delivery], storage: Path) -> None:
    """What the server says it has, what lies in its storage, and what was sent are one."""
    manifest = [{"name": told.name, "size": told.size, "sha256": told.sha256} for told in deliveries]
    body = json.dumps({"files": manifest}).encode()
    state = road.surely("POST", f"/api/v1/batches/{batch_id}/complete", body, good={202}, Content_Type="application/json").json
    said = sorted((file["name"], file["size"], file["sha256"]) for file in state["files"])
    assert said == sorted((told.name, told.size, told.sha256) for told in deliveries)
    assert state["uploads"] == []
    folder = storage / "raw" / batch_id
    assert sorted(path.name for path in folder.iterdir()) == sorted(file["id"] for file in state["files"])
    for file in state["files"]:
        with (folder / file["id"]).open("rb") as stored:
            assert hashlib.file_digest(stored, "sha256").hexdigest() == file["sha256"]
    for told in deliveries:
        assert told.sent - told.size <= MEGABYTE * max(1, len(told.ends)), told
