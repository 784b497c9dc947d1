"""Every example of docs/upload-protocol.md does what the page says, and its table of errors is whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connection

from argus_site.problems import FRAMEWORK
from common.errors import ArgusError
from tests import factories
from tests.api.clients import NODE, javascript
from tests.files.stores import BUCKET, KEY, SECRET, s3_server
from tests.flows.live import Live, running

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "upload-protocol.md").read_text()
FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```\n(?:\s*```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
TOOLS = ("bash", "curl", "jq", "openssl", "sha256sum")


@dataclass(frozen=True)
class Example:
    """A block of the page, and what it prints; `…` stands for anything."""

    language: str
    where: str
    code: str
    output: str | None

    def check(self, printed: str) -> None:
        """Fail unless it printed what the page shows."""
        if self.output is not None:
            wanted = ".*".join(re.escape(piece) for piece in self.output.strip().split("…"))
            told = re.sub(" +$", "", printed, flags=re.MULTILINE).strip()
            assert re.fullmatch(wanted, told), f"{self.code}\n--- printed\n{printed}\n--- the page says\n{self.output}"


EXAMPLES = [Example(language, where, code, output) for language, where, code, output in FENCE.findall(PAGE) if language != "text"]
SHELL = [example for example in EXAMPLES if example.language == "sh"]


def shell(examples: list[Example], folder: Path, **environment: str) -> None:
    """Run blocks one after the other in one shell, and check what each prints."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"The examples need {', '.join(missing)}.")
    mark = "----- end of block -----"
    script = "set -euo pipefail\n" + f"\necho '{mark}'\n".join(example.code for example in examples)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    printed = done.stdout.split(f"{mark}\n")
    for example, text in zip(examples, printed, strict=False):
        if len(printed) == len(examples) or text is not printed[-1]:
            example.check(text)
    assert done.returncode == 0, f"{examples[len(printed) - 1].code}\n--- printed\n{printed[-1]}\n{done.stderr}"


@pytest.fixture(scope="module")
def server(django_db_setup, tmp_path_factory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("web"), workers=False) as live:
        yield live


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The recordings that the page speaks of."""
    made = tmp_path / "recordings"
    made.mkdir()
    for name, size in (("drive.mf4", 3_000_000), ("front camera.bin", 2_500_000), ("system.log", 40_000)):
        (made / name).write_bytes(os.urandom(size))
    return made


@pytest.fixture
def operator(transactional_db) -> Iterator[None]:
    """Accepts every vehicle that waits."""
    from vehicles.enrolment import accept
    from vehicles.models import Enrolment, EnrolmentState

    over = threading.Event()

    def accept_all() -> None:
        while not over.wait(0.2):
            for waiting in Enrolment.objects.filter(state=EnrolmentState.PENDING):
                accept(waiting.vehicle_id, actor="user:operator")
        connection.close()

    thread = threading.Thread(target=accept_all)
    thread.start()
    yield
    over.set()
    thread.join()


pytestmark = pytest.mark.cluster


@pytest.mark.django_db(transaction=True)
def test_the_examples_for_the_shell_do_what_the_page_says(server, folder, operator):
    from vehicles.enrolment_tokens import make_enrolment_token

    here = [example for example in SHELL if not example.where]
    assert len(here) >= 15
    shell(
        here,
        folder,
        ARGUS=server.url,
        TOKEN=factories.token(factories.vehicle()),
        VIN=factories.vin(),
        ENROLMENT_TOKEN=make_enrolment_token(label="test", actor="test")[1],
    )


@pytest.mark.django_db(transaction=True)
def test_the_example_straight_to_the_store_does_what_the_page_says(folder, tmp_path, monkeypatch):
    with s3_server(tmp_path / "s3") as store:
        for name, value in {"BUCKET": BUCKET, "ENDPOINT": store.url, "ACCESS_KEY": KEY, "SECRET_KEY": SECRET}.items():
            monkeypatch.setenv(f"ARGUS_S3_{name}", value)
        monkeypatch.setenv("ARGUS_STORAGE", "s3")
        with running(tmp_path) as live:
            direct = [example for example in SHELL if example.where == "s3"]
            shell([SHELL[0], *direct], folder, ARGUS=live.url, TOKEN=factories.token(factories.vehicle()))


@pytest.mark.django_db(transaction=True)
def test_the_example_for_python_does_what_the_page_says(server, folder):
    (example,) = [example for example in EXAMPLES if example.language == "python"]
    environment = {**os.environ, "ARGUS": server.url, "TOKEN": factories.token(factories.vehicle())}
    done = subprocess.run(
        [sys.executable, "-c", example.code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    example.check(done.stdout)


@NODE
@pytest.mark.django_db(transaction=True)
def test_the_example_for_javascript_does_what_the_page_says(server, folder):
    (example,) = [example for example in EXAMPLES if example.language == "js"]
    example.check(javascript(example.code, folder, ARGUS=server.url, TOKEN=factories.token(factories.vehicle())))


# -- the table ---------------------------------------------------------------------------------------------------------

# What only people in the admin meet, or a worker.
OF_OTHERS = {
    "bad_code_table",
    "bad_object",
    "bad_signal_database",
    "bad_vin_table",
    "enrolled_again",
    "nothing_selected",
    "nothing_waits",
    "result_missing",
    "somebody_else_acted",
    "vehicle_not_active",
}


def errors(of: type[ArgusError] = ArgusError) -> Iterator[type[ArgusError]]:
    """Every error that Argus has."""
    yield of
    for below in of.__subclasses__():
        if not below.__module__.startswith("tests."):
            yield from errors(below)


def test_the_table_has_every_error_that_a_vehicle_can_meet():
    # With both, every part that has errors is imported, whatever ran before.
    import argus_site.urls  # noqa: F401
    import batches.tasks  # noqa: F401

    told = set()
    for statuses, codes in re.findall(r"^\| ([\d, ]+) \| (`[^|]*`) \|", PAGE, re.MULTILINE):
        known = [int(status) for status in statuses.split(",")]
        for place, code in enumerate(re.findall(r"`(\w+)`", codes)):
            told.add((known[min(place, len(known) - 1)], code))
    there = {(error.status, error.code) for error in errors()} | {(status, code) for status, (code, *_) in FRAMEWORK.items()}
    assert {row for row in there if row[1] not in OF_OTHERS} == told
