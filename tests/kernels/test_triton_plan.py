"""The tiling of the Triton kernels against the geometry's own statement of which keys a query sees."""

from itertools import product

import pytest

from visionattn.kernels.backends.triton import layout
from visionattn.kernels.backends.triton.plan import Axis, candidates, default_plan
from visionattn.kernels.backends.triton.window_plan import cut, default_window_plan, fits_one_block, window_candidates
from visionattn.kernels.geometry import AxisRule

NEIGHBORHOODS = product((2, 3, 4, 7), (1, 2, 3), (1, 2))
WINDOWS = product((1, 3, 7, 11), (1, 2))
RULES = [
    *(AxisRule(size, dilation, stride=stride) for size, dilation, stride in NEIGHBORHOODS if stride <= size),
    *(AxisRule(size, dilation=2, stride=size) for size in (3, 4, 7)),
    *(AxisRule(size, dilation, shift=size // 2) for size, dilation in WINDOWS),
    *(AxisRule(size) for size in (3, 7)),
]
LENGTHS = (21, 23, 24)
SIDE = 4


def as_axis(rule: AxisRule, length: int) -> Axis:
    return Axis(length, rule.size, rule.stride or rule.shift, rule.dilation, rule.is_window)


def runs(rule: AxisRule, length: int, group: int) -> list[tuple[int, int]]:
    """First key and end of each query of a group, clipped to the group."""
    groups, _, starts, extents = (span.tolist() for span in rule.spans(length))
    both = zip(groups, starts, extents, strict=True)
    return [(start, start + extent) for own, start, extent in both if own == group]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_first_key_agrees_with_the_geometry(rule):
    for length in LENGTHS:
        axis = as_axis(rule, length)
        for group in range(rule.dilation):
            seen = runs(rule, length, group)
            found = [max(axis.first_key(query, len(seen)), 0) for query in range(len(seen))]
            assert found == [start for start, _ in seen]


@pytest.mark.parametrize("by_keys", [False, True], ids=["query tiles", "key tiles"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_views_are_those_of_the_geometry(rule, by_keys):
    for length in LENGTHS:
        axis = as_axis(rule, length)
        for group in range(rule.dilation):
            met = seen = runs(rule, length, group)
            if by_keys:
                viewers = [[q for q, (first, end) in enumerate(seen) if first <= key < end] for key in range(len(seen))]
                met = [
                    (min(queries, default=key), max(queries, default=key - 1) + 1)
                    for key, queries in enumerate(viewers)
                ]
            points = []
            for tile in range(layout.count(axis, SIDE, len(seen))):
                start, stop, _ = layout.bounds(axis, SIDE, len(seen), tile)
                first, end, shifted = layout.view(axis, SIDE, len(seen), tile, by_keys)
                own = range(max(start, 0), stop)
                points += own
                if own:
                    assert [(a + start, b + start) for a, b in shifted[1:]] == [met[point] for point in own]
                    assert (first + start, end + start) == (min(met[p][0] for p in own), max(met[p][1] for p in own))
                    assert end - first <= layout.span(axis, SIDE, by_keys)
            assert points == list(range(len(seen)))  # each point has one owner


def number(found: layout.Relations, tile: int, tiles: int) -> int:
    """The relation of a tile of a group of ``tiles``, as the kernels compute it."""
    if tile < found.edge:
        return tile
    if tile < tiles - found.tail:
        return found.edge + (tile - found.edge) % found.period
    return found.edge + found.period + tile - (tiles - found.tail)


@pytest.mark.parametrize("by_keys", [False, True], ids=["query tiles", "key tiles"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_tiles_of_one_relation_have_one_view(rule, by_keys):
    for length in (*LENGTHS, 97):
        axis = as_axis(rule, length)
        found = layout.relations(axis, SIDE, by_keys)
        classes = layout.views(axis, SIDE, by_keys)
        assert len(classes) == found.classes
        for views in classes:
            held: dict[int, object] = {}
            for tile, view in enumerate(views):
                relation = number(found, tile, len(views))
                assert 0 <= relation < found.count
                assert held.setdefault(relation, view) == view


def test_a_large_map_has_few_relations():
    axis = Axis(560, 7, 1, 1, False)
    assert layout.relations(axis, 8, by_keys=False).numbers == (1, 1, 1, 3, 3)
    assert layout.members(axis, 8) == 68
    strided, shifted = Axis(560, 7, 3, 1, False), Axis(560, 24, 12, 1, True)
    assert layout.relations(strided, 8, by_keys=False).period == 3  # tiles of 8 meet stride groups of 3 in three ways
    assert layout.relations(shifted, 8, by_keys=False).numbers == (3, 3, 3, 9, 9)  # a cut window at either end


@pytest.mark.parametrize(
    ("columns", "expected"), [(14, (16, 16)), (12, (12, 4)), (7, (8, 8)), (87, (88, 8)), (95, (96, 32))]
)
def test_few_columns_are_added(columns, expected):
    assert layout.width(columns) == expected


def test_tiles_are_whole_strides():
    axes = [Axis(56, 7, stride, 1, False) for stride in (1, 2, 3, 7)]
    assert [layout.tile_side(axis, 8) for axis in axes] == [8, 8, 6, 7]
    assert layout.tile_side(Axis(56, 13, 13, 1, False), 8) == 8  # but never a single query


def test_windows_are_covered_without_waste():
    for size, tile in ((24, (8, 8)), (48, (4, 16)), (12, (4, 12))):
        axis = Axis(96, size, 0, 1, True)
        assert default_plan(axis, axis, 2, 32).tile == tile


def test_large_kernels_load_keys_for_many_queries():
    axis = Axis(256, 80, 1, 1, False)
    plans = [
        default_plan(axis, axis, 2, 128, backward, warpgroups)
        for backward in (False, True)
        for warpgroups in (True, False)
    ]
    assert [(plan.tile, plan.block_m, plan.block_n) for plan in plans] == [
        ((8, 16), 128, 64),
        ((8, 16), 128, 32),
        ((8, 8), 64, 32),
        ((8, 8), 64, 32),
    ]


def test_power_of_two():
    assert [layout.power_of_two(number) for number in (1, 2, 3, 64, 65)] == [1, 2, 4, 64, 128]


def test_candidates_are_bounded_by_shared_memory():
    axis = Axis(56, 7, 1, 1, False)
    plenty, little = candidates(axis, axis, 2, 128, 232448), candidates(axis, axis, 2, 128, 49152)
    assert 2 < len(little) < len(plenty) <= 20
    defaults = [default_plan(axis, axis, 2, 128, backward) for backward in (False, True)]
    assert plenty[:2] == little[:2] == defaults
    assert len(plenty) == len(set(plenty))


def window_positions(rule: AxisRule, length: int, group: int, tile: int) -> tuple[list[int], list[bool]]:
    """Positions of a window's points as the kernels compute them, and which of them are in a second, merged window."""
    axis = as_axis(rule, length)
    own = cut(axis)
    first = group + (tile * rule.size - own.offset) * rule.dilation
    second = [own.merged and first < 0 and index < own.offset for index in range(rule.size)]
    after = own.tiles * rule.size * rule.dilation
    return [first + index * rule.dilation + after * moved for index, moved in enumerate(second)], second


WINDOW_RULES = [AxisRule(size, d, shift=shift) for size in (1, 3, 7) for d in (1, 2, 5) for shift in range(0, size, 2)]


@pytest.mark.parametrize("rule", WINDOW_RULES, ids=str)
def test_cut_windows_hold_each_query_once_with_all_its_keys(rule):
    for length in (1, 4, 6, 7, 14, 20, 21, 23):
        own, spans = cut(as_axis(rule, length)), rule.spans(length)
        found = []
        for group, tile in product(range(rule.dilation), range(own.tiles)):
            positions, second = window_positions(rule, length, group, tile)
            assert own.border or all(0 <= position < length for position in positions)
            for part in (False, True):
                keys = [p for p, moved in zip(positions, second, strict=True) if moved == part and 0 <= p < length]
                for query in keys:
                    start, extent = int(spans.start[query]), int(spans.extent[query])
                    assert keys == [query % rule.dilation + rule.dilation * (start + j) for j in range(extent)]
                found += keys
        assert sorted(found) == list(range(length))


def test_shifted_windows_merge_on_maps_they_divide():
    shifted = cut(Axis(56, 7, 3, 1, True))
    assert (shifted.tiles, shifted.offset, shifted.merged, shifted.border) == (8, 4, True, False)
    assert not cut(Axis(56, 7, 0, 8, True)).border
    assert cut(Axis(57, 7, 3, 1, True)).border


def test_what_fits_one_block():
    swin, strip, wide = Axis(56, 7, 3, 1, True), Axis(14, 14, 0, 1, True), Axis(56, 12, 0, 1, True)
    assert fits_one_block(swin, swin, 2, 128, biased=True)
    assert fits_one_block(swin, swin, 4, 32, biased=True)
    assert not fits_one_block(swin, swin, 4, 64, biased=True)
    assert fits_one_block(strip, swin, 2, 32, biased=False)
    assert not fits_one_block(strip, swin, 2, 32, biased=True)
    assert not fits_one_block(wide, wide, 2, 32, biased=False)
    assert not fits_one_block(Axis(56, 7, 1, 1, False), Axis(56, 7, 1, 1, False), 2, 32, biased=False)


def test_window_plans():
    plan = default_window_plan(49, 2, 32)
    assert (plan.block, plan.forward.num_warps, plan.forward.num_stages, plan.backward.num_stages) == (64, 4, 3, 3)
    assert (plan.forward.programs, plan.backward.programs) == (8, 2)
    small = default_window_plan(16, 2, 32).forward
    assert (small.num_warps, small.programs) == (1, 32)
    assert default_window_plan(49, 2, 128).backward.num_stages == 1
    candidates = window_candidates(plan)
    assert candidates[0] == plan
    assert len(candidates) == len(set(candidates)) <= 16
