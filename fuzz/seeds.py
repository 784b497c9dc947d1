"""The files that fuzzing begins with: the samples of the parsers' tests, and the small files of the corpus where it is present."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

from parsers.contract import ParserContract
from parsers.detect import detect
from parsers.errors import ParseError
from parsers.registry import parsers
from parsers.source import BytesSource

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 20_000  # bytes of a corpus file


def contracts(name: str) -> list[type[ParserContract]]:
    """The classes that test the parser of one format by the contract."""
    parser = parsers()[name]
    for path in sorted((ROOT / "tests" / "parsers").glob("test_*.py")):
        text = path.read_text()
        if parser.__name__ in text and ParserContract.__name__ in text:
            importlib.import_module(f"tests.parsers.{path.stem}")
    found: list[type[ParserContract]] = []
    waiting = ParserContract.__subclasses__()
    while waiting:
        contract = waiting.pop()
        waiting += contract.__subclasses__()
        if getattr(contract, "parser", None) is parser:
            found.append(contract)
    return sorted(found, key=lambda contract: contract.__name__)


def samples(name: str) -> list[bytes]:
    """The samples of these classes."""
    return sorted({contract.sample for contract in contracts(name)})


def corpus_files() -> dict[str, list[bytes]]:
    """The small files of the corpus by the format that they are detected as."""
    from tests.parsers.blocks import CORPUS

    found: dict[str, list[bytes]] = {}
    for path in sorted(CORPUS.rglob("*")):
        if not path.is_file() or path.stat().st_size > LARGEST:
            continue
        data = path.read_bytes()
        try:
            name = detect(BytesSource(data, path.name), path.name).format
        except ParseError:
            continue
        found.setdefault(name, []).append(data)
    return found


def write(name: str, folder: Path) -> int:
    """Puts the seeds of one format into the folder; returns how many."""
    from tests.parsers import regressions

    folder.mkdir(parents=True, exist_ok=True)
    found = [*samples(name), *corpus_files().get(name, []), *regressions.cases(name).values(), *regressions.SEEDS.get(name, [])]
    for data in found:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(found)
