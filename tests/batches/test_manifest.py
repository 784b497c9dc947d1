"""What is announced against what is stored."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from batches.manifest import Differences, Entry, compare

entries = st.lists(st.builds(Entry, st.sampled_from("abc"), st.integers(1, 3), st.sampled_from(["1" * 64, "2" * 64])), max_size=8)


def without_digest(entry: Entry) -> Entry:
    return Entry(entry.name, entry.size)


def test_each_kind_of_difference_is_named():
    stored = [Entry("same", 5, "s"), Entry("short", 4, "s"), Entry("corrupt", 5, "other"), Entry("unexpected", 1, "s")]
    announced = [Entry("same", 5, "s"), Entry("short", 5, "s"), Entry("corrupt", 5, "s"), Entry("missing", 5, "s")]
    assert compare(announced, stored) == Differences(["missing"], ["short"], ["corrupt"], ["unexpected"])


def test_an_announcement_without_digest_leaves_the_others_theirs():
    stored = [Entry("x", 5, "1"), Entry("x", 5, "2")]
    assert not compare([Entry("x", 5), Entry("x", 5, "1")], stored)
    assert not compare([Entry("x", 5), Entry("x", 5, "2")], stored)


def test_a_name_may_stand_twice_but_counts_twice():
    assert compare([Entry("x", 5), Entry("x", 5)], [Entry("x", 5, "1")]).missing == ["x"]
    assert compare([Entry("x", 5)], [Entry("x", 5, "1"), Entry("x", 5, "1")]).unexpected == ["x"]


def test_names_are_compared_in_normal_form():
    assert not compare([Entry("Ka\u0308lte", 5)], [Entry("K\u00e4lte", 5, "1")])


def test_the_answer_lists_a_hundred_and_counts_all():
    listed = compare([Entry(f"f{n}", 1) for n in range(250)], []).listed()
    assert len(listed["missing"]) == 100
    assert listed["counts"] == {"missing": 250, "short": 0, "corrupt": 0, "unexpected": 0, "uploading": 0, "verifying": 0}


@given(entries, st.randoms(use_true_random=False))
def test_the_same_files_in_any_order_fit_with_or_without_digests(stored, random):
    announced = [without_digest(entry) if random.random() < 0.5 else entry for entry in stored]
    random.shuffle(announced)
    assert not compare(announced, stored)


@given(entries, entries)
def test_every_announced_and_every_stored_file_is_accounted_for_once(announced, stored):
    found = compare(announced, stored)
    bad = len(found.missing) + len(found.short) + len(found.corrupt)
    fitting = len(announced) - bad
    assert fitting >= 0
    assert len(stored) == fitting + len(found.short) + len(found.corrupt) + len(found.unexpected)


def test_fifty_thousand_files_of_one_name_are_compared_in_linear_time():
    stored = [Entry("x", 5, f"{n:064x}") for n in range(50_000)]
    begun = time.perf_counter()
    assert not compare([Entry("x", 5) for _ in stored], stored)
    assert not compare(list(reversed(stored)), stored)
    assert time.perf_counter() - begun < 2
