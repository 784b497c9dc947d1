"""From batches of topics to blocks: their sizes, texts as numbers, log messages, and what is bounded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from parsers.topics._texts import SpanCoder, TextBudget, gathered, joined

from parsers.base import Recording
from parsers.blocks import LEVELS, Block, MessageBlock, SampleBlock
from parsers.errors import Unsupported
from parsers.limits import Limits
from parsers.results.samples import check
from parsers.topics import streams as module
from parsers.topics.decoder import MessageBatch, Schema
from parsers.topics.encodings import DECODERS, decoder_for
from parsers.topics.streams import TopicStreams

JSON = Schema("json", "", "")


def batch(values: Iterable[Any], start: int = 0) -> MessageBatch:
    messages = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    length = np.array([len(message) for message in messages], np.int64)
    t_ns = np.arange(start, start + len(messages), dtype=np.int64)
    return MessageBatch(t_ns, np.frombuffer(b"--" + b"".join(messages), np.uint8), 2 + np.cumsum(length) - length, length, 77)


def run(parts: list[tuple[str, Schema, list[Any]]], limits: Limits | None = None) -> tuple[list[Block], Recording]:
    """All blocks of the parts, given one after another."""
    limits = limits or Limits()
    recording = Recording(limits=limits)
    streams = TopicStreams(recording, limits)
    blocks: list[Block] = []
    at = 0
    for name, schema, values in parts:
        blocks += streams.add(streams.topic(name, schema), batch(values, at))
        at += len(values)
    blocks += streams.finish()
    for block in blocks:
        if isinstance(block, SampleBlock):
            check(recording.streams[block.stream], block)
    return blocks, recording


def column(blocks: list[Block], stream: int = 0, signal: int = 0) -> list[Any]:
    """The values of a signal, None where there is none."""
    out: list[Any] = []
    for block in blocks:
        if isinstance(block, SampleBlock) and block.stream == stream:
            mask = block.masks[signal]
            out += [value if mask is None or mask[row] else None for row, value in enumerate(block.columns[signal].tolist())]
    return out


def test_blocks_keep_their_size_and_the_order_of_the_file() -> None:
    parts = [("/a", JSON, [{"v": i} for i in range(start, start + 700)]) for start in range(0, 7000, 700)]
    blocks, _ = run(parts, Limits(block_rows=1000))
    assert [len(block) for block in blocks] == [1000] * 7
    assert column(blocks) == list(range(7000))
    assert np.concatenate([block.t_ns for block in blocks if isinstance(block, SampleBlock)]).tolist() == list(range(7000))


def test_blocks_keep_their_bytes() -> None:
    values = [{str(i): i for i in range(100)}] * 3000
    blocks, _ = run([("/a", JSON, values)], Limits(block_bytes=1 << 20))
    assert max(block.nbytes for block in blocks if isinstance(block, SampleBlock)) <= 1 << 20
    assert sum(len(block) for block in blocks) == 3000


@pytest.mark.parametrize("size", [1, 3, 255, 256, 257, 5000])
def test_the_size_of_batches_changes_nothing(size: int) -> None:
    values = [{"v": i, "s": f"text {i % 7}", **({"late": i} if i > 200 else {})} for i in range(2000)]
    whole, first = run([("/a", JSON, values)])
    parts, second = run([("/a", JSON, values[start : start + size]) for start in range(0, len(values), size)])
    assert first.streams == second.streams
    for signal in range(3):
        assert column(whole, signal=signal) == column(parts, signal=signal)


def test_topics_do_not_mix_and_a_new_schema_is_a_new_stream() -> None:
    other = Schema("json", "jsonschema", "", b'{"properties":{"v":{"type":"integer"}}}')
    blocks, recording = run([("/a", JSON, [{"v": 1}]), ("/b", JSON, [{"w": 2}]), ("/a", other, [{"v": 3}]), ("/a", JSON, [{"v": 4}])])
    assert [stream.name for stream in recording.streams] == ["/a", "/b", "/a"]
    assert [column(blocks, stream) for stream in range(3)] == [[1, 4], [2], [3]]


def test_a_text_signal_is_numbered_in_order_of_first_sight() -> None:
    blocks, recording = run([("/a", JSON, [{"s": "b"}, {"s": "a"}, {"s": "b"}, {"s": ""}, {}])])
    assert recording.streams[0].signals[0].choices == {0: "b", 1: "a", 2: ""}
    assert column(blocks) == [0, 1, 0, 2, None]


def test_more_texts_than_a_signal_may_have_are_absent_and_told_once() -> None:
    blocks, recording = run([("/a", JSON, [{"s": f"text {i}"} for i in range(5000)])])
    found = column(blocks)
    assert found[:4096] == list(range(4096))
    assert found[4096:] == [None] * 904
    assert [problem.reason for problem in recording.problems] == ["/a: s has more than 4096 different texts; 904 rows are without one"]


def test_texts_of_all_topics_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_TEXT", 10_000)
    blocks, recording = run([(f"/{topic}", JSON, [{"s": f"{i} {'x' * 900}"} for i in range(20)]) for topic in range(3)])
    assert sum(value is not None for topic in range(3) for value in column(blocks, topic)) == 10
    assert recording.problem_count


LOG_SCHEMAS = [
    ("foxglove.Log", [0, 1, 2, 3, 4, 5, 9], ["", "debug", "info", "warning", "error", "fatal", ""]),
    ("rcl_interfaces/msg/Log", [10, 20, 30, 40, 50, 1], ["debug", "info", "warning", "error", "fatal", ""]),
    ("rosgraph_msgs/Log", [1, 2, 4, 8, 16], ["debug", "info", "warning", "error", "fatal"]),
    ("", ["TRACE", "debug", "Info", "WARN", "error", "critical", "?"], ["trace", "debug", "info", "warning", "error", "fatal", ""]),
]


@pytest.mark.parametrize(("name", "levels", "wanted"), LOG_SCHEMAS)
def test_log_messages_have_their_level_by_the_schema(name: str, levels: list[Any], wanted: list[str]) -> None:
    values = [{"level": level, "message": f"text {i}", "name": "node", "file": "x.c"} for i, level in enumerate(levels)]
    blocks, recording = run([("/log", Schema("json", "", name), values)])
    (block,) = blocks
    assert isinstance(block, MessageBlock)
    assert [LEVELS[level] for level in block.level] == wanted
    assert [block.text_of(i) for i in range(len(block))] == [value["message"] for value in values]
    assert recording.sources == ["node"]
    assert recording.streams == []


def test_a_log_message_without_a_name_comes_from_its_topic() -> None:
    values = [{"level": "info", "msg": "a", "name": ""}, {"level": "info", "msg": None}, {"level": None, "msg": "\ufffd", "name": "n"}]
    blocks, recording = run([("/log", JSON, values)])
    (block,) = blocks
    assert isinstance(block, MessageBlock)
    assert [recording.sources[source] for source in block.source] == ["/log", "/log", "n"]
    assert [block.text_of(i) for i in range(3)] == ["a", "", "\ufffd"]
    assert block.level.tolist() == [3, 3, 0]


def test_log_messages_keep_block_size_and_text_length() -> None:
    values: list[Any] = [{"level": "info", "msg": "é " * 1000, "name": "n"}] * 500
    values += [b'{"level":"info","msg":"\xff\xfe broken","name":"n"}']
    blocks, _ = run([("/log", JSON, values)], Limits(block_rows=100, block_bytes=100_000))
    assert sum(len(block) for block in blocks) == 501
    for block in blocks:
        assert isinstance(block, MessageBlock)
        assert len(block) <= 100
        assert len(block.text) <= 100_000
        block.text.tobytes().decode("utf-8")
    last = blocks[-1]
    assert isinstance(last, MessageBlock)
    assert last.text_of(len(last) - 1) == "\ufffd\ufffd broken"
    assert last.text_of(0) == "é " * 500


def test_a_message_with_many_other_fields_is_no_log_message() -> None:
    value = {"level": 1, "message": "m", "name": "n"} | {f"x{i}": i for i in range(20)}
    blocks, _ = run([("/tank", JSON, [value])])
    assert isinstance(blocks[0], SampleBlock)


def test_undecoded_topics_are_listed_with_their_messages() -> None:
    blocks, recording = run([("/a", Schema("cbor", "", ""), [1, 2]), ("/b", JSON, [{"v": 1}]), ("/a", Schema("cbor", "", ""), [3])])
    assert len(blocks) == 1
    assert recording.undecoded == {"/a": "no decoder for messages of encoding 'cbor' (3 messages)"}


def test_fields_without_a_signal_are_listed() -> None:
    _, recording = run([("/a", JSON, [{"data": "QUJD" * 1000}])])
    assert recording.undecoded == {"/a: data": "binary data as text"}


def test_unreadable_messages_are_counted_where_their_batch_begins() -> None:
    _, recording = run([("/a", JSON, [{"v": 1}, b"{", b"}"])])
    assert recording.problem_count == 2
    assert recording.problems[0].offset == 77
    assert recording.problems[0].reason == "2 messages of /a cannot be read: not JSON"


def test_more_streams_than_allowed_are_listed() -> None:
    blocks, recording = run([(f"/{i}", JSON, [{"v": i}]) for i in range(5)], Limits(max_streams=3))
    assert len(recording.streams) == 3
    assert len(blocks) == 3
    assert list(recording.undecoded) == ["/3", "/4"]


def test_more_topics_than_allowed_become_one() -> None:
    _, recording = run([(f"/{i}", JSON, [{"v": i}]) for i in range(50)], Limits(max_streams=2))
    assert recording.undecoded["further topics"] == "more than 8 topics in one file (42 messages)"


def test_rows_of_many_topics_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 100_000)
    monkeypatch.setattr(module, "_MOST_HELD", 100_000)
    limits = Limits()
    streams = TopicStreams(Recording(), limits)
    got = 0
    for start in range(0, 40_000, 200):
        for topic in range(20):
            number = streams.topic(f"/{topic}", JSON)
            got += sum(len(block) for block in streams.add(number, batch([{"v": i} for i in range(start, start + 200)], start)))
    assert got > 40_000 * 20 - 40_000
    assert got + sum(len(block) for block in streams.finish()) == 40_000 * 20


def test_columns_out_of_all_proportion_to_the_messages_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FREE_COLUMNS", 1 << 20)
    monkeypatch.setattr(module, "_MOST_GROWTH", 10)
    first = [{str(i): i for i in range(4000)}]
    blocks, recording = run([("/a", JSON, first + [{}] * 20_000)])
    assert sum(len(block) for block in blocks) < 1000
    assert "take far more room than its messages" in recording.undecoded["/a"]
    assert recording.problem_count


def test_every_encoding_has_a_decoder_or_a_reason() -> None:
    assert set(DECODERS) == {"json", "protobuf", "ros1", "cdr"}
    for encoding in ("flatbuffer", "cbor", "msgpack", ""):
        with pytest.raises(Unsupported, match="no decoder for messages of encoding"):
            decoder_for(Schema(encoding, "", ""))


# --- texts


def spans(texts: list[bytes]) -> tuple[Any, Any, Any]:
    length = np.array([len(text) for text in texts], np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum(length) - length, length


def test_texts_are_numbered_and_those_that_are_not_utf8_are_replaced() -> None:
    choices: dict[int, str] = {}
    coder = SpanCoder(choices, TextBudget(1 << 20), 1000)
    texts = [b"", b"a", b"\xff", b"a", b"", b"x" * 5000, b"x" * 4999, "é".encode() * 2000]
    codes, mask = coder.codes(*spans(texts))
    assert codes.tolist() == [0, 1, 2, 1, 0, 3, 3, 4]
    assert mask is None
    assert [choices[code] for code in range(5)] == ["", "a", "\ufffd", "x" * 1000, "é" * 1000]


def test_thousands_of_texts_are_found_again() -> None:
    coder = SpanCoder({}, TextBudget(1 << 20), 5000)
    texts = [f"text number {i}".encode() for i in range(4000)]
    first, _ = coder.codes(*spans(texts))
    again, _ = coder.codes(*spans(texts[::-1]))
    assert first.tolist() == list(range(4000))
    assert again.tolist() == list(range(4000))[::-1]


def test_absent_texts_stay_absent() -> None:
    codes, mask = SpanCoder({}, TextBudget(1000), 10).codes(*spans([b"a", b"b"]), np.array([0, 1], np.uint8))
    assert codes.tolist() == [0, 0]
    assert mask.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("offset", "length"), [([-1], [1]), ([0], [-1]), ([4], [1]), ([0], [1 << 62]), ([1 << 62], [1 << 62]), ([0, 1], [1])]
)
def test_spans_outside_of_their_buffer_are_refused(offset: list[int], length: list[int]) -> None:
    args = np.zeros(4, np.uint8), np.array(offset, np.int64), np.array(length, np.int64)
    for function in (SpanCoder({}, TextBudget(1000), 10).codes, gathered, lambda *a: joined(*a, 10, 10)):
        with pytest.raises(ValueError, match=r"outside|differ"):
            function(*args)
