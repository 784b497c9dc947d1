"""Results in storage: which files count and in which order, and plots that lose nothing at any zoom."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batches.models import Batch
from common.errors import NotFound
from files import results, storage
from files.merge import merge
from files.models import ErrorClass, File, FileState
from files.parsing import facts
from files.plots import plot_parts
from files.result_files import Results
from parsers.errors import Corrupt
from parsers.results.layout import STREAMS
from tests import factories
from tests.files.recordings import SECOND, START, decode, every, scaled

MILLISECOND = SECOND // 1000


def stored(batch: Batch, folder: Path, name: str, messages: Any, **fields: Any) -> File:
    """A parsed file of the batch, its result in storage."""
    result = decode(folder, messages, name=name)
    file_id = uuid.uuid4()
    key = f"results/{file_id}/1"
    storage.put_folder(key, folder)
    values = {"state": FileState.PARSED, "result_key": key, "facts": facts(result.summary), "size": 10, "sha256": "0" * 64, **fields}
    return File.objects.create(id=file_id, batch=batch, name=name, storage_key=f"raw/{batch.pk}/{file_id}", **values)


@pytest.fixture
def batch(db) -> Batch:
    return factories.batch()


class TestFileResults:
    def test_files_come_in_the_order_of_recording_then_by_name(self, batch: Batch, tmp_path: Path) -> None:
        values = np.arange(5)
        for name, start in (("c", 60), ("a", 0), ("b2", 30), ("b1", 30)):
            stored(batch, tmp_path / name, name, {"Whole": (every(SECOND, 5, START + start * SECOND), values)})
        stored(batch, tmp_path / "empty", "0-no-frames", {})
        found = results.file_results(batch)
        assert [(result.name, result.order) for result in found] == [("a", 0), ("b1", 1), ("b2", 2), ("c", 3), ("0-no-frames", 4)]
        assert (found[0].first_ns, found[0].last_ns) == (START, START + 4 * SECOND)

    def test_failed_superseded_and_foreign_files_are_left_out(self, batch: Batch, tmp_path: Path) -> None:
        messages = {"Whole": (every(SECOND, 5), np.arange(5))}
        good = stored(batch, tmp_path / "good", "good", messages)
        stored(batch, tmp_path / "old", "old", messages, superseded_by=good)
        failed = {"state": FileState.FAILED, "error_class": ErrorClass.INPUT, "error_code": "corrupt"}
        stored(batch, tmp_path / "failed", "failed", messages, **failed)
        stored(factories.batch(), tmp_path / "other", "other", messages)
        assert [result.file_id for result in results.file_results(batch)] == [str(good.pk)]

    @pytest.mark.parametrize("count", [1, 7])
    def test_one_query_whatever_the_files(self, batch: Batch, tmp_path: Path, count: int, django_assert_num_queries: Any) -> None:
        for number in range(count):
            stored(batch, tmp_path / str(number), str(number), {"Whole": (every(SECOND, 5), np.arange(5))})
        with django_assert_num_queries(1):
            merge(results.file_results(batch))

    def test_a_column_of_one_file_is_read(self, batch: Batch, tmp_path: Path) -> None:
        stored(batch, tmp_path / "a", "a", {"Whole": (every(SECOND, 5), np.arange(5))})
        (result,) = results.file_results(batch)
        ((t_ns, values),) = result.column("Whole", "W")
        assert (t_ns == every(SECOND, 5)).all()
        assert (values.dtype, values.tolist()) == (np.float64, [0, 1, 2, 3, 4])
        with pytest.raises(KeyError):
            list(result.column("Whole", "nothing"))


class TestBatchResult:
    def test_what_gather_wrote_comes_back(self, batch: Batch, tmp_path: Path) -> None:
        assert results.batch_result(batch) is None
        stored(batch, tmp_path / "a", "a", {"Whole": (every(SECOND, 5), np.arange(5))})
        statistics = merge(results.file_results(batch))
        batch.result_key = f"results/batches/{batch.pk}/1"
        storage.write_bytes(f"{batch.result_key}/statistics.json", json.dumps(statistics).encode())
        assert results.batch_result(batch) == statistics

    def test_an_object_that_is_gone_is_no_result(self, batch: Batch) -> None:
        batch.result_key = f"results/batches/{batch.pk}/1"
        assert results.batch_result(batch) is None


class TestSeries:
    def test_the_samples_of_all_files_come_one_after_the_other(self, batch: Batch, tmp_path: Path) -> None:
        numbers = np.array([1.0, np.nan, 3.0, np.inf, 5.0])
        stored(batch, tmp_path / "b", "b", {"Double": (every(SECOND, 5, START + 60 * SECOND), numbers + 10)})
        stored(batch, tmp_path / "a", "a", {"Double": (every(SECOND, 5), numbers)})
        blocks = list(results.series(results.file_results(batch), "Double", "D"))
        assert np.concatenate([values for _, values in blocks]).tolist() == [1, 3, 5, 11, 13, 15]
        assert (np.concatenate([t_ns for t_ns, _ in blocks])[[0, -1]] == [START, START + 64 * SECOND]).all()

    def test_an_unknown_signal_has_no_samples(self, batch: Batch, tmp_path: Path) -> None:
        stored(batch, tmp_path / "a", "a", {"Double": (every(SECOND, 5), np.arange(5.0))})
        found = results.file_results(batch)
        assert list(results.series(found, "Double", "X")) == list(results.series(found, "X", "D")) == []


class TestPlot:
    def test_few_samples_are_given_as_they_are(self, batch: Batch, tmp_path: Path) -> None:
        times = every(SECOND, 10)
        stored(batch, tmp_path / "a", "a", {"Scaled": (times, scaled(np.arange(10) * 2, np.arange(10), np.arange(10) % 2))})
        plot = results.plot(batch, "Scaled", "A", None, None, 100)
        assert (plot.t_ns, plot.low, plot.high) == (times.tolist(), (np.arange(10.0) - 10).tolist(), (np.arange(10.0) - 10).tolist())
        assert (plot.raw, plot.unit, plot.choices) == (True, "km/h", None)
        assert results.plot(batch, "Scaled", "Mode", None, None, 100).choices == {"0": "Off", "1": "On"}
        part = results.plot(batch, "Scaled", "A", int(times[3]), int(times[5]), 100)
        assert part.t_ns == times[3:6].tolist()

    def test_a_signal_that_is_not_there_is_not_found(self, batch: Batch, tmp_path: Path) -> None:
        stored(batch, tmp_path / "a", "a", {"Double": (every(SECOND, 5), np.arange(5.0))})
        for stream, signal in (("Double", "X"), ("X", "D")):
            with pytest.raises(NotFound):
                results.plot(batch, stream, signal, None, None, 100)

    def test_a_gap_breaks_the_line(self, batch: Batch, tmp_path: Path) -> None:
        stored(batch, tmp_path / "a", "a", {"Double": (every(SECOND // 10, 3), np.ones(3))})
        stored(batch, tmp_path / "b", "b", {"Double": (every(SECOND // 10, 3, START + 60 * SECOND), np.ones(3))})
        plot = results.plot(batch, "Double", "D", None, None, 100)
        assert plot.low == plot.high == [1, 1, 1, None, 1, 1, 1]
        assert plot.t_ns == sorted(plot.t_ns)

    def test_files_whose_clock_went_back_are_drawn_by_time(self, batch: Batch, tmp_path: Path) -> None:
        for name, start in (("a", 0), ("b", 2)):  # overlapping
            stored(batch, tmp_path / name, name, {"Double": (every(SECOND, 5, START + start * SECOND + len(name)), np.arange(5.0))})
        plot = results.plot(batch, "Double", "D", None, None, 100)
        assert plot.t_ns == sorted(plot.t_ns)
        assert len(plot.t_ns) == 10


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], int]:
    folder = tmp_path_factory.mktemp("spikes")
    found = []
    rng = np.random.default_rng(5)
    for number in range(3):
        values = rng.normal(size=170_000)
        if number == 1:
            values[111_111], values[111_112] = 500.0, -700.0
        times = every(MILLISECOND, len(values), START + number * 170 * SECOND)
        found.append(decode(folder / str(number), {"Double": (times, values)}, order=number))
    return list(Results(found).parts("Double")), START + 170 * SECOND + 111_111 * MILLISECOND


class TestSpikes:
    """One sample among half a million, in one of three files, is seen at every zoom."""

    @pytest.mark.parametrize("points", [1, 10, 100, 1000, 5000])
    @pytest.mark.parametrize("around_s", [0.01, 0.5, 5, 40, 100, 1000])
    def test_the_spike_is_in_every_plot_around_it(self, parts: tuple[list[Any], int], points: int, around_s: float) -> None:
        where, at = parts
        width = int(around_s * SECOND)
        plot = plot_parts(where, "D", at - width, at + width, points)
        assert max(value for value in plot.high if value is not None) == 500
        assert min(value for value in plot.low if value is not None) == -700
        assert 0 < len(plot.t_ns) <= 2 * points
        assert plot.t_ns == sorted(plot.t_ns)
        nearest = plot.t_ns[int(np.argmax([-np.inf if value is None else value for value in plot.high]))]
        assert abs(nearest - at) <= max(2 * width // points + 1, 8 * 256 * MILLISECOND)

    def test_the_whole_range_spans_all_files(self, parts: tuple[list[Any], int]) -> None:
        plot = plot_parts(parts[0], "D", None, None, 500)
        assert plot.t_ns[0] == START
        assert plot.t_ns[-1] > START + 508 * SECOND
        assert not plot.raw
        assert None not in plot.low

    def test_a_zoom_is_finer_than_the_overview(self, parts: tuple[list[Any], int]) -> None:
        where, at = parts
        plot = plot_parts(where, "D", at - SECOND, at + SECOND, 1000)
        assert 500 < len(plot.t_ns) <= 1001
        exact = plot_parts(where, "D", at - SECOND // 4, at + SECOND // 4, 1000)
        assert exact.raw
        assert len(exact.t_ns) == 501

    def test_outside_of_the_recording_there_is_nothing(self, parts: tuple[list[Any], int]) -> None:
        assert plot_parts(parts[0], "D", 0, 1, 100).t_ns == []


def test_overlong_columns_are_drawn_from_the_overview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("files.plots.MAX_RAW", 5000)
    values = np.zeros(20_000)
    values[12_345] = 9
    # Nearly all rows lie in a tenth of the time: far more than an even spread would have.
    times = np.concatenate([every(MILLISECOND, 19_900), every(2 * SECOND, 100, START + 20 * SECOND)])
    result = decode(tmp_path / "a", {"Double": (times, values)})
    plot = plot_parts(list(Results([result]).parts("Double")), "D", START, START + 20 * SECOND, 100)
    assert max(value for value in plot.high if value is not None) == 9


def test_a_stream_that_is_no_parquet_file_is_corrupt(tmp_path: Path) -> None:
    result = decode(tmp_path / "a", {"Double": (every(SECOND, 5), np.arange(5.0))})
    path = tmp_path / "a" / STREAMS / f"{result.parts[0].key}.parquet"
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(Corrupt):
        merge([result])


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = decode(tmp_path / "a", {"Double": (every(SECOND, 5), np.arange(5.0))})
    with pytest.raises(KeyError, match="no column Z"):
        result.read(result.parts[0].key, ["Z"])


def test_times_of_1970_are_kept(batch: Batch, tmp_path: Path) -> None:
    stored(batch, tmp_path / "a", "a", {"Whole": (every(SECOND, 5, 0), np.arange(5))})
    time = merge(results.file_results(batch))["time"]
    assert (time["first_ns"], time["flags"]) == (0, ["1970"])
