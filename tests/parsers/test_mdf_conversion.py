"""Conversions of MDF channels: every type, every raw type, tables that refer to further conversions, and blocks that lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.blocks import STORAGES
from parsers.limits import Limits
from parsers.mdf.blocks import BlockFile
from parsers.mdf.conversion import MAX_DEPTH, MAX_MASKS, Conversion, read_conversion
from parsers.mdf.formula import MAX_DEPTH as MAX_LEVELS
from parsers.mdf.formula import MAX_LENGTH, MAX_TOKENS, FormulaError, parse
from parsers.mdf.plans import Plan
from parsers.mdf.rules import RangePlaces
from parsers.source import BytesSource
from parsers.texts import MAX_TEXTS
from tests import mdf

WHOLE = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
REAL = [np.dtype("f2"), np.dtype("f4"), np.dtype("f8")]
NAN, INF = math.nan, math.inf


def loaded(block: mdf.Block, unit: str = "") -> tuple[Conversion, list[str]]:
    """The conversion of a block, and what was wrong with it."""
    data = mdf.mdf(mdf.hd(events=block))
    problems: list[str] = []
    file = BlockFile(BytesSource(data), Limits(), lambda offset, reason: problems.append(reason) if 0 <= offset <= len(data) else None)
    return read_conversion(file, block.offset, unit), problems


def sound(block: mdf.Block) -> Conversion:
    """A conversion that nothing is wrong with."""
    conversion, problems = loaded(block)
    assert problems == []
    return conversion


def applied(plan: Plan, raw: np.ndarray[Any, Any]) -> list[Any]:
    """The converted column as a list, None where it is absent; checks what a column must be."""
    kept = raw.copy()
    column, mask = plan.apply(raw)
    assert column.dtype.name == plan.storage
    assert plan.storage in STORAGES
    assert column.flags.c_contiguous
    assert len(column) == len(raw)
    assert np.array_equal(raw, kept, equal_nan=raw.dtype.kind == "f")
    if mask is None:
        return list(column.tolist())
    assert mask.dtype == np.uint8
    return [value if valid else None for value, valid in zip(column.tolist(), mask.tolist(), strict=True)]


def numbers(block: mdf.Block, raw: list[float], dtype: str = "f8") -> list[Any]:
    """What raw numbers become."""
    return applied(sound(block).plan(np.dtype(dtype)), np.array(raw, dtype))


def named(block: mdf.Block, raw: list[float], dtype: str = "u1") -> list[Any]:
    """What raw numbers become, by name where there is one."""
    plan = sound(block).plan(np.dtype(dtype))
    column = applied(plan, np.array(raw, dtype))
    assert plan.choices is not None
    return [plan.choices.get(value, value) for value in column]


# --- numbers


@pytest.mark.parametrize("dtype", WHOLE)
def test_without_a_conversion_whole_numbers_stay_as_they_are(dtype: np.dtype[Any]) -> None:
    data = mdf.mdf(mdf.hd())
    conversion = read_conversion(BlockFile(BytesSource(data), Limits()), 0, "km")
    plan = conversion.plan(dtype)
    assert (plan.storage, plan.choices, conversion.unit, conversion.linear) == (dtype.name, None, "km", (0.0, 1.0))
    ends = [np.iinfo(dtype).min, 0, np.iinfo(dtype).max]
    assert applied(plan, np.array(ends, dtype)) == ends


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("order", "<>")
def test_real_numbers_become_doubles(dtype: np.dtype[Any], order: str) -> None:
    plan = sound(mdf.cc(0)).plan(dtype)
    assert plan.storage == "float64"
    column, mask = plan.apply(np.array([1.5, -2, NAN, INF], dtype.newbyteorder(order)))
    assert np.array_equal(column, [1.5, -2, NAN, INF], equal_nan=True)
    assert mask is None


def test_a_column_with_gaps_comes_out_without() -> None:
    plan = sound(mdf.cc(0)).plan(np.dtype("u2"))
    assert applied(plan, np.arange(10, dtype=np.uint16)[::3]) == [0, 3, 6, 9]


def test_truth_values_become_whole_numbers() -> None:
    assert applied(sound(mdf.cc(1, [1, 2])).plan(np.dtype(bool)), np.array([True, False])) == [3, 1]


@pytest.mark.parametrize(
    ("dtype", "offset", "factor", "storage"),
    [
        ("u1", 0, 1, "uint8"),
        ("u1", -40, 1, "int16"),
        ("u1", 0, 10, "int16"),
        ("u1", 255, -1, "int16"),
        ("i1", 0, -1, "int16"),
        ("u2", 0, 65537, "uint32"),
        ("u4", 1, 1, "int64"),
        ("u4", 0, 0.5, "float64"),
        ("u4", 0.5, 1, "float64"),
        ("u8", 0, 1, "uint64"),
        ("u8", 1, 1, "float64"),
        ("i8", 0, 2, "float64"),
        ("u1", 0, 1e300, "float64"),
        ("u1", INF, 1, "float64"),
        ("u1", NAN, NAN, "float64"),
        ("f4", 0, 2, "float64"),
    ],
)
def test_a_linear_conversion_keeps_whole_numbers_that_cannot_overflow(dtype: str, offset: float, factor: float, storage: str) -> None:
    plan = sound(mdf.cc(1, [offset, factor])).plan(np.dtype(dtype))
    assert plan.storage == storage
    raw = np.array([0, 1, 100], dtype)
    expected = [offset + factor * value for value in (0, 1, 100)]
    assert np.array_equal(np.array(applied(plan, raw), np.float64), expected, equal_nan=True)


@given(st.sampled_from(WHOLE), st.integers(-300, 300), st.integers(-300, 300), st.data())
@settings(max_examples=300, deadline=None)
def test_whole_linear_conversions_are_exact(dtype: np.dtype[Any], offset: int, factor: int, data: st.DataObject) -> None:
    plan = sound(mdf.cc(1, [offset, factor])).plan(dtype)
    raw = data.draw(st.lists(st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)), min_size=1, max_size=20))
    found = applied(plan, np.array(raw, dtype))
    if plan.storage == "float64":
        assert found == [float(value) * factor + offset for value in raw]
    else:
        assert found == [value * factor + offset for value in raw]


def test_a_rational_conversion_divides_two_polynomials() -> None:
    assert numbers(mdf.cc(2, [1, 2, 3, 0, 0, 2]), [0, 1, 2], "u1") == [1.5, 3, 5.5]
    inverse = numbers(mdf.cc(2, [0, 0, 1, 0, 1, 0]), [0, 4, -2, NAN])
    assert inverse[:3] == [INF, 0.25, -0.5]
    assert math.isnan(inverse[3])


def test_an_algebraic_conversion_is_a_formula() -> None:
    assert numbers(mdf.cc(3, refs=["2*X + sqrt(X1)"]), [0, 4, 9], "u1") == [0, 10, 21]


@pytest.mark.parametrize("dtype", ["u1", "i4", "u8", "f4", "f8"])
def test_a_table_is_interpolated_between_its_keys(dtype: str) -> None:
    table = [10, 100, 20, 200, 30, 0]
    assert numbers(mdf.cc(4, table), [0, 10, 15, 20, 25, 30, 99], dtype) == [100, 100, 150, 200, 100, 0, 0]


@pytest.mark.parametrize("dtype", ["u1", "i4", "u8", "f4", "f8"])
def test_a_table_without_interpolation_takes_the_nearest_key_and_the_lower_one_in_the_middle(dtype: str) -> None:
    table = [10, 100, 20, 200, 30, 0]
    assert numbers(mdf.cc(5, table), [0, 10, 14, 15, 16, 20, 25, 26, 99], dtype) == [100, 100, 100, 100, 200, 200, 200, 0, 0]


def test_tables_are_sorted_and_stay_without_a_number_for_no_number() -> None:
    for kind in (4, 5):
        found = numbers(mdf.cc(kind, [3, 30, 1, 10, NAN, 7, 2, 20]), [1, 2, 3, NAN])
        assert found[:3] == [10, 20, 30]
        assert math.isnan(found[3])


def test_ranges_of_whole_numbers_hold_both_ends_and_ranges_of_reals_the_lower_one() -> None:
    block = mdf.cc(6, [0, 9, 1, 10, 20, 2, 30, 30, 3, -1])
    assert numbers(block, [0, 9, 10, 20, 21, 30], "u1") == [1, 1, 2, 2, -1, 3]
    assert numbers(block, [0, 8.9, 9, 10, 19.9, 20, 30, 30.1]) == [1, 1, -1, 2, 2, -1, 3, -1]
    assert numbers(block, [NAN]) == [-1]


def test_a_number_outside_of_all_ranges_is_none_when_there_is_no_default() -> None:
    found = numbers(mdf.cc(6, [0, 9, 1]), [5, 10], "u1")
    assert found[0] == 1
    assert math.isnan(found[1])


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=0, max_size=12),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_the_first_range_that_holds_a_value_counts(ranges: list[tuple[int, int]], real: bool) -> None:
    places = RangePlaces(np.array([low for low, _ in ranges], np.float64), np.array([high for _, high in ranges], np.float64))
    raw = np.arange(-22, 23, 0.5) if real else np.arange(-22, 23)
    found = places.find(raw.astype(np.float64 if real else np.int16)).tolist()
    for value, place in zip(raw.tolist(), found, strict=True):
        holding = [
            index
            for index, (low, high) in enumerate(ranges)
            if (low <= value < high or low == value == high if real else low <= value <= high)
        ]
        assert place == (holding[0] if holding else -1), value


# --- texts


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "u8"])
def test_named_whole_numbers_stay_the_numbers_they_are(dtype: str) -> None:
    block = mdf.cc(7, [0, 1, 100], ["off", "on", "error", None])
    plan = sound(block).plan(np.dtype(dtype))
    assert plan.storage == np.dtype(dtype).name
    assert applied(plan, np.array([0, 1, 2, 100], dtype)) == [0, 1, 2, 100]
    assert plan.choices == {0: "off", 1: "on", 100: "error"}


def test_named_real_numbers_stay_when_there_is_no_text_for_all_others() -> None:
    assert named(mdf.cc(7, [0, 0.5], ["off", "half"]), [0, 0.5, 0.25], "f4") == ["off", "half", 0.25]
    plan = sound(mdf.cc(7, [0], ["off"])).plan(np.dtype("f4"))
    assert (plan.storage, plan.choices) == ("float64", {0: "off"})


def test_keys_that_the_raw_type_cannot_have_name_nothing() -> None:
    plan = sound(mdf.cc(7, [-1, 0.5, 300, 1e30, NAN, 7], ["a", "b", "c", "d", "e", "seven"])).plan(np.dtype("u1"))
    assert plan.choices == {7: "seven"}
    top = sound(mdf.cc(7, [2.0**63, 2.0**64], ["top", "beyond"])).plan(np.dtype("u8"))
    assert top.choices == {1 << 63: "top"}


def test_the_text_for_all_others_names_the_values_that_are_met() -> None:
    block = mdf.cc(7, [0], ["off", "other"])
    assert named(block, [0, 9, 9, 7]) == ["off", "other", "other", "other"]
    plan = sound(block).plan(np.dtype("u4"))
    applied(plan, np.arange(0, 10, dtype=np.uint32))
    applied(plan, np.arange(5, 100_000, dtype=np.uint32))
    assert plan.choices is not None
    assert len(plan.choices) == MAX_TEXTS
    assert plan.choices[9] == "other"


def test_the_text_for_all_others_makes_real_numbers_an_enumeration_of_texts() -> None:
    block = mdf.cc(7, [0], ["off", "other"])
    assert sound(block).plan(np.dtype("f8")).storage == "int32"
    assert named(block, [0, 0.1, NAN], "f8") == ["off", "other", "other"]


def test_ranges_of_whole_numbers_name_each_number_in_them() -> None:
    block = mdf.cc(8, [0, 2, 10, 10], ["low", "ten", None])
    plan = sound(block).plan(np.dtype("u1"))
    assert (plan.storage, plan.choices) == ("uint8", {0: "low", 1: "low", 2: "low", 10: "ten"})
    assert named(block, [0, 2, 3, 10]) == ["low", "low", 3, "ten"]


def test_wide_ranges_of_whole_numbers_name_what_is_met() -> None:
    block = mdf.cc(8, [0, 10, 11, 60_000], ["low", "high"])
    plan = sound(block).plan(np.dtype("u2"))
    assert plan.storage == "uint16"
    assert applied(plan, np.array([5, 11, 500, 65_000], np.uint16)) == [5, 11, 500, 65_000]
    assert plan.choices == {5: "low", 11: "high", 500: "high"}


def test_ranges_of_real_numbers_become_an_enumeration_of_texts() -> None:
    block = mdf.cc(8, [0, 1, 1, 2], ["low", "high", "outside"])
    plan = sound(block).plan(np.dtype("f4"))
    assert plan.storage == "int32"
    assert named(block, [0, 0.5, 1, 1.5, 2, NAN], "f4") == ["low", "low", "high", "high", "outside", "outside"]


def test_a_real_number_outside_of_all_ranges_is_its_own_text() -> None:
    assert named(mdf.cc(8, [0, 1], ["low", None]), [0.5, 2.25, -1, NAN], "f8") == ["low", "2.25", "-1", "nan"]


def test_texts_beyond_the_limit_are_absent() -> None:
    plan = sound(mdf.cc(8, [0, 1], ["low", None])).plan(np.dtype("f8"))
    found = applied(plan, np.arange(2, 10_000, dtype=np.float64))
    assert found[:3] == [0, 1, 2]
    assert found.count(None) == 10_000 - 2 - MAX_TEXTS
    assert applied(plan, np.array([0.5, 2.0, 99_999.0])) == [None, 0, None]


def test_a_table_that_scales_the_rest_gives_numbers_with_names_on_the_same_scale() -> None:
    block = mdf.cc(7, [254, 255], ["error", "not available", mdf.cc(1, [-40, 0.5], unit="C")])
    plan = sound(block).plan(np.dtype("u1"))
    assert plan.storage == "float64"
    assert applied(plan, np.array([0, 1, 254, 255], np.uint8)) == [-40, -39.5, 87, 87.5]
    assert plan.choices == {87: "error", 87.5: "not available"}


def test_ranges_may_have_scales_of_their_own() -> None:
    block = mdf.cc(8, [0, 9, 10, 19, 20, 29], [mdf.cc(1, [0, 2]), mdf.cc(1, [1000, 1]), "text", None])
    plan = sound(block).plan(np.dtype("u1"))
    assert applied(plan, np.array([1, 12, 3, 25, 40, 0], np.uint8)) == [2, 1012, 6, 25, 40, 0]
    assert plan.choices == dict.fromkeys(range(20, 30), "text")


@pytest.mark.parametrize("dtype", ["u1", "u4", "f4", "f8"])
def test_tables_without_keys_or_rows(dtype: str) -> None:
    scale = mdf.cc(1, [0, 2])
    for block in (
        mdf.cc(7, [], [scale]),
        mdf.cc(8, [5, 1], [scale, "x"]),
        mdf.cc(7, [NAN], [scale, None]),
        mdf.cc(6, [1]),
        mdf.cc(8, [], ["all"]),
    ):
        plan = sound(block).plan(np.dtype(dtype))
        assert applied(plan, np.empty(0, dtype)) == []
        assert len(applied(plan, np.array([1, 2], dtype))) == 2


def test_tables_may_lead_to_tables() -> None:
    inner = mdf.cc(8, [10, 19], ["teens", "many"])
    assert named(mdf.cc(7, [1], ["one", inner]), [1, 12, 30]) == ["one", "teens", "many"]
    assert named(mdf.cc(8, [1, 15], [inner, None]), [1, 12, 30]) == ["many", "teens", 30]
    assert named(mdf.cc(7, [1], ["one", mdf.cc(0)]), [1, 2]) == ["one", 2]


def test_a_bit_field_puts_texts_together() -> None:
    light = mdf.cc(7, [0, 1], ["off", "on"], name="light")
    gear = mdf.cc(8, [2, 4, 6, 6], ["low", "high"])
    block = mdf.cc(11, refs=[light, gear], masks=[1, 6])
    for dtype in ("u1", "i4", "u8", "f8"):
        assert named(block, [0, 1, 3, 6, 7], dtype) == [
            "light = off",
            "light = on",
            "light = on|low",
            "light = off|high",
            "light = on|high",
        ]
    assert sound(block).plan(np.dtype("u1")).storage == "int32"


def test_a_bit_field_of_signed_numbers_looks_at_their_bits() -> None:
    top = mdf.cc(7, [2.0**63, 0], ["negative", "positive"])
    assert named(mdf.cc(11, refs=[top], masks=[1 << 63]), [-1, 5, -128], "i1") == ["negative", "positive", "negative"]


def test_numbers_are_looked_up_by_text() -> None:
    conversion = sound(mdf.cc(9, [1, 2.5, -1], ["one", "more"]))
    plan = conversion.plan(np.dtype(object))
    assert conversion.reads_texts
    assert (plan.storage, plan.choices) == ("float64", None)
    assert applied(plan, np.array(["more", "one", "?"], object)) == [2.5, 1, -1]
    assert applied(sound(mdf.cc(9, [1], ["one"])).plan(np.dtype("U5")), np.array(["one", "?"])) == [1, None]


def test_texts_are_translated() -> None:
    conversion = sound(mdf.cc(10, refs=["ein", "on", "aus", None, "other"]))
    plan = conversion.plan(np.dtype(object))
    found = applied(plan, np.array(["ein", "aus", "?"], object))
    assert plan.choices is not None
    assert [plan.choices[code] for code in found] == ["on", "aus", "other"]
    assert [conversion.value(text) for text in ("ein", "aus", "?")] == ["on", "aus", "other"]


def test_texts_without_a_conversion_are_an_enumeration() -> None:
    plan = sound(mdf.cc(0)).plan(np.dtype(object))
    assert applied(plan, np.array(["b", "a", "b"], object)) == [0, 1, 0]
    assert plan.choices == {0: "b", 1: "a"}


def test_an_empty_text_names_nothing() -> None:
    assert named(mdf.cc(7, [0, 1], ["", "on", ""]), [0, 1, 2]) == [0, "on", 2]


# --- single values


def test_single_values() -> None:
    assert sound(mdf.cc(1, [5, 0])).value(17) == 5
    assert sound(mdf.cc(1, [0.5, 1])).value(1) == 1.5
    assert sound(mdf.cc(7, [1], ["on"])).value(1) == "on"
    assert sound(mdf.cc(7, [1], ["on"])).value(2) == 2
    assert sound(mdf.cc(0)).value((1 << 64) - 1) == (1 << 64) - 1
    assert sound(mdf.cc(0)).value("text") == "text"
    assert sound(mdf.cc(9, [7], ["seven"])).value("seven") == 7
    assert sound(mdf.cc(1, [0, 2])).value(1 << 70) == 2.0**71


def test_units_and_limits_come_from_the_block() -> None:
    conversion = sound(mdf.cc(1, [0, 2], unit="km/h", limits=(0, 250)))
    assert (conversion.unit, conversion.minimum, conversion.maximum, conversion.linear) == ("km/h", 0, 250, (0, 2))
    assert loaded(mdf.cc(0), "V")[0].unit == "V"
    assert loaded(mdf.cc(0, unit=mdf.md("<CCunit><TX>kg</TX></CCunit>")), "V")[0].unit == "kg"
    assert loaded(mdf.cc(0, limits=(NAN, INF)))[0].minimum is None


def test_channels_with_one_conversion_share_its_plan() -> None:
    conversion = sound(mdf.cc(7, [1], ["on"]))
    assert conversion.plan(np.dtype("u1")) is conversion.plan(np.dtype("u1"))
    assert conversion.plan(np.dtype("u1")) is not conversion.plan(np.dtype("i1"))


# --- blocks that lie


@pytest.mark.parametrize(
    "block",
    [
        mdf.cc(12),
        mdf.cc(255),
        mdf.cc(1, [1]),
        mdf.cc(2, [1, 2, 3, 4, 5]),
        mdf.cc(3),
        mdf.cc(3, refs=["exec('x')"]),
        mdf.cc(4),
        mdf.cc(5, [NAN, 1]),
        mdf.cc(6),
        mdf.cc(11, refs=[mdf.cc(7, [1], ["on"])] * (MAX_MASKS + 1), masks=[1] * (MAX_MASKS + 1)),
        mdf.Block("CC", [None] * 4, bytes(10)),
        mdf.Block("CC", [], bytes(24), length=10),
        mdf.tx("no conversion"),
    ],
)
def test_what_cannot_be_read_leaves_raw_values_without_a_unit(block: mdf.Block) -> None:
    conversion, problems = loaded(block, "V")
    assert problems
    assert conversion.unit == ""
    assert applied(conversion.plan(np.dtype("u1")), np.array([1, 2], np.uint8)) == [1, 2]


def test_declared_lengths_are_not_believed() -> None:
    block = mdf.cc(7, [0, 1], ["off", "on"], refs_told=60_000, values_told=60_000)
    conversion, problems = loaded(block)
    assert len(problems) == 1
    assert conversion.plan(np.dtype("u1")).choices == {0: "off", 1: "on"}
    assert loaded(mdf.cc(10, refs=["a"], refs_told=9))[1] == []
    assert numbers(mdf.cc(7, [0, 1, 2], ["off"]), [0, 1], "u1") == [0, 1]


def test_a_conversion_that_refers_to_itself_ends() -> None:
    block = mdf.cc(7, [0], ["off", None])
    block.links[-1] = block
    conversion, problems = loaded(block)
    assert any("itself" in problem for problem in problems)
    assert conversion.plan(np.dtype("u1")).choices == {0: "off"}


def test_conversions_nest_only_so_deep() -> None:
    block = mdf.cc(1, [0, 2])
    blocks = [block]
    for key in range(MAX_DEPTH + 3):
        block = mdf.cc(7, [key], [f"text {key}", block])
        blocks.append(block)
    _, problems = loaded(block)
    assert any(str(MAX_DEPTH) in problem for problem in problems)
    assert loaded(blocks[MAX_DEPTH - 1])[1] == []
    data = mdf.mdf(mdf.hd(events=block))
    problems = []
    file = BlockFile(BytesSource(data), Limits(), lambda _, reason: problems.append(reason))
    for inner in blocks:  # from the inside, so that every reference is known already
        read_conversion(file, inner.offset)
    assert any(str(MAX_DEPTH) in problem for problem in problems)


def test_a_bit_field_in_a_bit_field_is_left_out() -> None:
    inner = mdf.cc(11, refs=[mdf.cc(7, [1], ["on"])], masks=[1])
    outer = mdf.cc(11, refs=[mdf.cc(7, [1], ["one", inner]), mdf.cc(7, [2], ["two"])], masks=[1, 2])
    assert named(outer, [0, 1, 3]) == ["", "", "two"]


def test_tables_of_one_file_are_bounded_together() -> None:
    blocks = [mdf.cc(4, [float(i) for i in range(60_000)]) for _ in range(4)]
    table = mdf.cc(7, range(400), [block for block in blocks for _ in range(100)])
    # Shared blocks are read once; many large ones are not all read.
    _, problems = loaded(table)
    assert problems == []
    head = mdf.cc(7, range(40), [mdf.cc(4, [float(i) for i in range(60_000)]) for _ in range(40)])
    _, problems = loaded(head)
    assert any("more than" in problem for problem in problems)


@pytest.mark.parametrize("link", [1, 3, 64, 1 << 40, (1 << 64) - 1])
def test_references_that_lead_nowhere_name_nothing(link: int) -> None:
    conversion, problems = loaded(mdf.cc(7, [0, 1], [link, "on"]))
    assert problems
    assert conversion.plan(np.dtype("u1")).choices == {1: "on"}


@given(st.integers(0, 12), st.lists(st.floats(), max_size=8), st.lists(st.sampled_from(["a", "b", "x+1", None]), max_size=8), st.data())
@settings(max_examples=500, deadline=None)
def test_any_block_gives_columns_of_what_it_says(kind: int, values: list[float], refs: list[str | None], data: st.DataObject) -> None:
    conversion, _ = loaded(mdf.cc(kind, values, refs))
    dtype = data.draw(st.sampled_from([*WHOLE, *REAL]))
    elements = (
        st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) if dtype.kind in "iu" else st.floats(width=8 * dtype.itemsize)  # type: ignore[call-overload]
    )
    raw = np.array(data.draw(st.lists(elements, max_size=10)), dtype)
    plan = conversion.plan(dtype)
    column = applied(plan, raw)
    for value, result in zip(raw.tolist(), column, strict=True):
        single = conversion.value(value)
        if isinstance(single, str):
            assert plan.choices is not None
            assert result is None or plan.choices.get(result, single) == single
    texts = conversion.plan(np.dtype(object))
    applied(texts, np.array(["a", "?"], object))


# --- formulas


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X", 3),
        (" x1 + 1 ", 4),
        ("2*X-1", 5),
        ("-X^2", -9),
        ("(-X)^2", 9),
        ("2^3^2", 512),
        ("2**-1", 0.5),
        ("7/2", 3.5),
        ("7 % 4", 3),
        ("1e3 + .5 + 2.", 1002.5),
        ("0x10", 16),
        ("SIN(0) + Cos(0) + tan(0)", 1),
        ("asin(1) - pi/2", 0),
        ("exp(0) + ln(e) + log(1) + log10(100)", 4),
        ("sqrt(16) + abs(-1) + pow(2, 3)", 13),
        ("floor(1.7) + ceil(1.2)", 3),
        ("sinh(0) + cosh(0) + tanh(0) + atan(0) + acos(1)", 1),
        ("X > 2 ? 10 : 20", 10),
        ("X == 3 && !(X < 1) || 0", 1),
        ("(X & 2) | 8", 10),
        ("X xor 1", 2),
        ("~0", -1),
        ("1 << X", 8),
        ("16 >> 2", 4),
        ("min(X, 2) + max(X, 5)", 7),
        ("- - X", 3),
        ("1 + 2 * X ^ 2 / 9 - 3", 0),
    ],
)
def test_a_formula_has_the_value(text: str, expected: float) -> None:
    assert parse(text).evaluate(np.array([3.0])).tolist() == pytest.approx([expected])


def test_a_formula_works_on_every_row() -> None:
    x = np.arange(20_000, dtype=np.float64)
    assert np.array_equal(parse("2*x+1").evaluate(x), 2 * x + 1)
    assert parse("5").evaluate(x).tolist() == [5.0] * 20_000
    assert len(parse("x").evaluate(np.empty(0))) == 0


def test_what_is_not_defined_becomes_no_number_without_a_warning() -> None:
    found = parse("log(X) / X").evaluate(np.array([-1.0, 0.0, NAN, 1e308]))
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == -INF
    assert parse("exp(X)").evaluate(np.array([1e9])).tolist() == [INF]
    assert parse("1/0").evaluate(np.array([1.0])).tolist() == [INF]
    assert parse("X << 99 & ~X").evaluate(np.array([NAN, INF, -1e300])).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "x +",
        "(x",
        "x)",
        "x x",
        "1..2",
        "foo(x)",
        "x2",
        "sin",
        "sin()",
        "pow(x)",
        "pow(x, 1, 2)",
        "1, 2",
        "x ? 1",
        "x ? 1 :",
        "__import__('os')",
        "x.__class__",
        "x[0]",
        "lambda: 1",
        "a = 1; x",
        "'x'",
        "x\0",
        "0x",
        "0x" + "f" * 100,
        "(" * (MAX_LEVELS + 1) + "x" + ")" * (MAX_LEVELS + 1),
        "-" * 1000 + "x",
        "x^" * 1000 + "x",
        "x?" * 300 + "x" + ":x" * 300,
        "x+" * MAX_TOKENS + "x",
        "1" * (MAX_LENGTH + 1),
    ],
)
def test_what_is_no_formula_is_refused_where_it_stops_being_one(text: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert 0 <= caught.value.position <= len(text)


@given(st.text(alphabet="xX12.e+-*/^()%<>=!&|~?:, sinpow", max_size=40))
@settings(max_examples=1000, deadline=None)
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    try:
        formula = parse(text)
    except FormulaError:
        return
    assert len(formula.evaluate(np.array([-1.5, 0.0, NAN, 1e300]))) == 4
