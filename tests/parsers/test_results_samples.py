"""Streams of samples and log messages in a result directory: what was yielded is what can be read back, whatever the buffer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from parsers import registry
from parsers.base import MAGIC, Attachment, Match, Recording
from parsers.blocks import LEVELS, NO_TIME, Block, MessageBlock, MessageList, SampleBlock, SignalSpec, StreamSpec
from parsers.recording import decode_recording
from parsers.results.check import check_summary
from parsers.results.layout import MESSAGES, stream_path
from parsers.results.reader import read_signal
from parsers.results.samples import SampleStream, SampleTable
from parsers.results.summary import dump, stream_names
from parsers.results.writer import ResultWriter
from parsers.source import BytesSource
from parsers.texts import TextCodes

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Made:
    """A parser that yields what a test gives it."""

    format: ClassVar[str] = "made"
    version: ClassVar[str] = "7"
    suffixes: ClassVar[tuple[str, ...]] = ()
    content: ClassVar[list[Block]] = []
    recording: ClassVar[Recording] = Recording()

    @classmethod
    def sniff(cls, head: bytes, size: int) -> Match | None:
        return Match(MAGIC, "made for a test") if head == b"made" else None

    def blocks(self, source: Any, recording: Recording, limits: Any = None) -> Iterator[Block]:
        for name in ("start_ns", "absolute", "streams", "sources", "undecoded", "metadata", "attachments"):
            setattr(recording, name, getattr(self.recording, name))
        yield from self.content


def decode(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: Iterable[Block], recording: Recording, buffer_bytes: int = 48 << 20
) -> dict[str, Any]:
    monkeypatch.setitem(registry.BUILT_IN, "made", Made)
    monkeypatch.setattr(Made, "content", list(content))
    monkeypatch.setattr(Made, "recording", recording)
    monkeypatch.setattr(ResultWriter.__init__, "__defaults__", (buffer_bytes,))
    registry.parsers.cache_clear()
    folder.mkdir()
    try:
        document = decode_recording(BytesSource(b"made"), "made", [], folder)
    finally:
        registry.parsers.cache_clear()
    check_summary(document)
    return document


def spec() -> StreamSpec:
    return StreamSpec(
        "imu", [SignalSpec("x", "m/s²"), SignalSpec("n", storage="int16"), SignalSpec("mode", storage="int32", choices={})], "front"
    )


def samples(count: int, size: int, codes: TextCodes) -> Iterator[SampleBlock]:
    for start in range(0, count, size):
        at = np.arange(start, min(count, start + size))
        mask = (at % 3 > 0).astype(np.uint8)
        mode, _ = codes.codes(["idle", "run", "stop"][i % 3] for i in at.tolist())
        yield SampleBlock(0, at * 10_000_000, [at * 0.5, (at % 100).astype(np.int16), mode], [None, mask, None])


@pytest.mark.parametrize(("size", "buffer_bytes"), [(5000, 48 << 20), (777, 200_000), (5000, 0)])
def test_samples_come_back_as_they_were_yielded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, buffer_bytes: int) -> None:
    recording = Recording(start_ns=START, absolute=True, streams=[spec()])
    choices = recording.streams[0].signals[2].choices
    assert choices is not None
    document = decode(tmp_path / "out", monkeypatch, list(samples(20_000, size, TextCodes(choices))), recording, buffer_bytes)
    (stream,) = document["streams"]
    assert (stream["name"], stream["channel"], stream["arbitration_id"], stream["count"]) == ("imu", "front", None, 20_000)
    assert (document["samples"], document["frames"]["total"]) == (20_000, 0)
    assert (document["time"]["first_ns"], document["time"]["last_ns"]) == (START, START + 19_999 * 10_000_000)
    x, n, mode = stream["signals"]
    assert (x["min"], x["max"], x["unit"], x["kind"]) == (0.0, 9999.5, "m/s²", "float")
    assert (n["count"], n["null_count"], n["kind"]) == (13_333, 6667, "int")
    assert (mode["kind"], mode["choices"]) == ("enum", {"0": "idle", "1": "run", "2": "stop"})
    table = pd.read_parquet(stream_path(tmp_path / "out", stream["key"]))
    assert table["t_ns"].tolist() == [START + i * 10_000_000 for i in range(20_000)]
    assert table["x"].tolist() == [i * 0.5 for i in range(20_000)]
    assert [None if np.isnan(v) else v for v in table["n"][:4]] == [None, 1, 2, None]
    (found,) = duckdb.sql(
        f"select count(n), sum(x), max(t_ns) from '{stream_path(tmp_path / 'out', stream['key'])}' where mode = 1"
    ).fetchall()
    assert found == (6667, sum(i * 0.5 for i in range(1, 20_000, 3)), START + 19_999 * 10_000_000)
    file = pq.ParquetFile(stream_path(tmp_path / "out", stream["key"]))
    described = json.loads(file.metadata.metadata[b"argus"])
    assert described["signals"][2]["choices"] == mode["choices"]
    assert file.schema_arrow.field("x").metadata == {b"unit": "m/s²".encode()}


def test_streams_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [StreamSpec("group", [SignalSpec("x")], source) for source in ("a", "b", "b", "b")]
    content = [SampleBlock(i, np.arange(3) * SECOND, [np.ones(3)], [None]) for i in range(4)]
    document = decode(tmp_path / "out", monkeypatch, content, Recording(streams=streams))
    assert [stream["name"] for stream in document["streams"]] == ["a.group", "b.group", "b.group#2", "b.group#3"]
    assert document["time"]["flags"] == ["relative"]


def test_names_of_any_kind_are_stored_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["t_ns", "a\0b", "a\ufffdb", "x" * 5000, "x" * 6000, "half \ud800"]
    streams = [StreamSpec("m" * 5000, [SignalSpec(name, "V\ud800") for name in names], source) for source in ("s" * 5000, "\0", "\0")]
    content = [SampleBlock(i, np.arange(2), [np.full(2, float(n)) for n in range(6)], [None] * 6) for i in range(3)]
    document = decode(tmp_path / "out", monkeypatch, content, Recording(streams=streams))
    for stream in document["streams"]:
        assert [s["name"][:12] for s in stream["signals"]] == ["t_ns#2", "a\ufffdb", "a\ufffdb#2", "x" * 12, "x" * 12, "half \ufffd"]
        for number, signal in enumerate(stream["signals"]):
            assert read_signal(stream_path(tmp_path / "out", stream["key"]), signal["name"]).values.tolist() == [number, number]
    assert len({stream["name"] for stream in document["streams"]}) == 3


def test_value_tables_do_not_fill_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {i: f"{i} " + "x" * 900 for i in range(4096)}
    signals = [SignalSpec(f"s{n}", storage="int32", choices=dict(texts)) for n in range(20)]
    signals.append(SignalSpec("mode", storage="int32", choices={0: "off"}))
    content = [SampleBlock(0, np.arange(2), [np.zeros(2, np.int32)] * 21, [None] * 21)]
    document = decode(tmp_path / "out", monkeypatch, content, Recording(streams=[StreamSpec("m", signals)]))
    (stream,) = document["streams"]
    assert stream["signals"][0]["choices"]["7"] == texts[7]
    assert stream["signals"][-1]["choices"] == {"0": "off"}
    assert (stream["signals"][10]["kind"], stream["signals"][10]["choices"]) == ("enum", None)
    assert len(dump(document)) < 10_000_000


def test_many_streams_of_one_name_are_named_in_no_time() -> None:
    spec = StreamSpec("same", [SignalSpec("x")])
    streams = [SampleStream(spec, SampleTable(spec)) for _ in range(20_000)]
    assert stream_names(streams, [])[-1] == "same#20000"


def test_a_source_with_half_a_character_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = MessageList()
    gathered.add(0, LEVELS.index("error"), 0, "lost")
    document = decode(tmp_path / "out", monkeypatch, [gathered.take()], Recording(sources=["\ud800 unit"]))
    assert document["messages"][0]["source"] == "\ufffd unit"


def test_steps_back_are_found_within_a_stream_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [StreamSpec("one", [SignalSpec("x")]), StreamSpec("other", [SignalSpec("x")])]
    times = [np.array([10, 11, 12]), np.array([0, 1, 2]), np.array([13, 5, 6]), np.array([3, 7300])]
    content = [SampleBlock(i % 2, t * SECOND, [np.zeros(len(t))], [None]) for i, t in enumerate(times)]
    time = decode(tmp_path / "out", monkeypatch, content, Recording(streams=streams, absolute=True, start_ns=START))["time"]
    assert time["flags"] == ["backward", "forward_jump"]
    assert [(jump["from_ns"] - START, jump["to_ns"] - START) for jump in time["jumps"]] == [
        (13 * SECOND, 5 * SECOND),
        (3 * SECOND, 7300 * SECOND),
    ]


@pytest.mark.parametrize(
    ("columns", "masks"),
    [
        ([np.zeros(3)], [None]),
        ([np.zeros(3), np.zeros(3, np.int32), np.zeros(3, np.int32)], [None] * 3),
        ([np.zeros(2), np.zeros(3, np.int16), np.zeros(3, np.int32)], [None] * 3),
        ([np.zeros(6)[::2], np.zeros(3, np.int16), np.zeros(3, np.int32)], [None] * 3),
        ([np.zeros(3), np.zeros(3, np.int16), np.zeros(3, np.int32)], [None, np.ones(3, bool), None]),
    ],
)
def test_a_block_that_does_not_fit_its_stream_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: Any, masks: Any) -> None:
    with pytest.raises(ValueError, match="imu"):
        decode(tmp_path / "out", monkeypatch, [SampleBlock(0, np.zeros(3, np.int64), columns, masks)], Recording(streams=[spec()]))


def test_all_messages_are_stored_and_the_worst_are_in_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = MessageList()
    for i in range(3000):
        gathered.add(NO_TIME if i < 5 else i * SECOND, LEVELS.index("error" if i % 10 == 9 else "info"), i % 2, f"line {i}\0")
    document = decode(tmp_path / "out", monkeypatch, [gathered.take()], Recording(start_ns=START, absolute=True, sources=["a", "b\0"]))
    assert (document["message_count"], document["message_levels"]) == (3000, {"info": 2700, "error": 300})
    kept = document["messages"]
    assert len(kept) == 500 + 250
    assert [message["text"] for message in kept[:2]] == ["line 0\N{REPLACEMENT CHARACTER}", "line 1\N{REPLACEMENT CHARACTER}"]
    assert {message["level"] for message in kept[500:]} == {"error"}
    assert (kept[0]["t_ns"], kept[5]["t_ns"]) == (None, START + 5 * SECOND)
    assert document["time"]["first_ns"] == START + 5 * SECOND
    table = pq.read_table(tmp_path / "out" / MESSAGES).to_pydict()
    assert table["t_ns"][4:6] == [None, START + 5 * SECOND]
    assert table["text"][2999] == "line 2999\0"
    assert (table["level"][9], table["source"][1]) == ("error", "b\0")


@pytest.mark.parametrize(
    "block",
    [
        MessageBlock(
            np.zeros(1, np.int64), np.array([7], np.uint8), np.zeros(1, np.int32), np.array([0, 1], np.int32), np.array([65], np.uint8)
        ),
        MessageBlock(
            np.zeros(1, np.int64), np.zeros(1, np.uint8), np.array([1], np.int32), np.array([0, 1], np.int32), np.array([65], np.uint8)
        ),
        MessageBlock(
            np.zeros(1, np.int64), np.zeros(1, np.uint8), np.zeros(1, np.int32), np.array([0, 1], np.int32), np.array([255], np.uint8)
        ),
    ],
)
def test_a_malformed_message_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: MessageBlock) -> None:
    with pytest.raises(ValueError, match=r"malformed texts|unknown level or source"):
        decode(tmp_path / "out", monkeypatch, [block], Recording(sources=["a"]))


def test_what_the_file_says_of_itself_is_in_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(
        metadata={"firmware": "1.2\0"}, undecoded={"/image": "no schema"}, attachments=[Attachment("a.png", "image/png", 5)]
    )
    document = decode(tmp_path / "out", monkeypatch, [], recording)
    assert document["metadata"] == {"firmware": "1.2\N{REPLACEMENT CHARACTER}"}
    assert document["undecoded"] == {"/image": "no schema"}
    assert document["attachments"] == [{"name": "a.png", "media_type": "image/png", "size": 5}]
    assert not (tmp_path / "out" / MESSAGES).exists()


def test_lists_of_a_recording_are_bounded() -> None:
    recording = Recording()
    for i in range(5000):
        recording.source_index(f"s{i}")
        recording.add_metadata(f"k{i}", "v")
        recording.add_undecoded(f"c{i}", "why")
        recording.add_attachment(f"a{i}", "", None)
        recording.add_stream(StreamSpec(f"t{i}", []))
    limits = recording.limits
    assert (len(recording.sources), recording.sources[-1]) == (limits.max_sources + 1, "other")
    assert recording.source_index("s4999") == recording.source_index("s4998") == limits.max_sources
    assert len(recording.metadata) == len(recording.attachments) == len(recording.undecoded) == limits.max_listed
    assert len(recording.streams) == limits.max_streams


def test_signals_of_all_streams_together_are_bounded() -> None:
    recording = Recording()
    found = [recording.add_stream(StreamSpec(f"s{i}", [SignalSpec(f"x{j}") for j in range(4096)])) for i in range(30)]
    assert found == [*range(24), *[-1] * 6]
    assert recording.undecoded["s24"] == "more than 100000 signals in one file"
    assert recording.add_stream(StreamSpec("small", [SignalSpec("x")])) == 24


def test_texts_beyond_the_limit_have_no_number() -> None:
    choices: dict[int, str] = {}
    codes = TextCodes(choices, limit=2)
    column, mask = codes.codes(["a", "b", "a", "c", "x" * 2000])
    assert column.tolist() == [0, 1, 0, 0, 0]
    assert mask is not None
    assert mask.tolist() == [1, 1, 1, 0, 0]
    assert (choices, codes.dropped) == ({0: "a", 1: "b"}, 2)
