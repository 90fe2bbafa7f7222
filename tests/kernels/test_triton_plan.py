"""The tiling of the Triton kernels against the geometry's own statement of which keys a query sees."""

from itertools import product

import pytest

from visionattn.kernels.backends.triton.plan import Axis, candidates, default_plan, power_of_two, tile_side
from visionattn.kernels.backends.triton.window_plan import cut, default_window_plan, window_candidates
from visionattn.kernels.geometry import AxisRule

NEIGHBORHOODS = product((2, 3, 4, 7), (1, 2, 3), (1, 2))
WINDOWS = product((1, 3, 7), (1, 2))
RULES = [
    *(AxisRule(size, dilation, stride=stride) for size, dilation, stride in NEIGHBORHOODS),
    *(AxisRule(size, dilation=2, stride=size) for size in (3, 4, 7)),
    *(AxisRule(size, dilation, shift=size // 2) for size, dilation in WINDOWS),
    *(AxisRule(size) for size in (3, 7)),
]
LENGTHS = (21, 23, 24)


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


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_spans_hold_every_visible_pair(rule):
    for length in LENGTHS:
        axis = as_axis(rule, length)
        side = tile_side(axis, 8)
        keys, queries = axis.key_span(side), axis.query_span(side)
        for group in range(rule.dilation):
            seen = runs(rule, length, group)
            for tile in range(axis.tiles(side)):
                first = tile * side - axis.offset
                inside = range(max(first, 0), min(first + side, len(seen)))
                if inside:
                    assert max(seen[q][1] for q in inside) - min(seen[q][0] for q in inside) <= keys
                    viewers = [q for q, (start, stop) in enumerate(seen) if start < inside.stop and stop > inside.start]
                    assert viewers[-1] - viewers[0] < queries


def test_tiles_are_whole_strides():
    assert [tile_side(Axis(56, 7, stride, 1, False), 8) for stride in (1, 2, 3, 7)] == [8, 8, 6, 7]


def test_power_of_two():
    assert [power_of_two(number) for number in (1, 2, 3, 64, 65)] == [1, 2, 4, 64, 128]


def test_candidates_are_bounded_by_shared_memory():
    axis = Axis(56, 7, 1, 1, False)
    plenty, little = candidates(axis, axis, 2, 128, 232448), candidates(axis, axis, 2, 128, 49152)
    assert 1 < len(little) < len(plenty) <= 12
    assert plenty[0] == little[0] == default_plan(axis, axis, 2, 128)


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


def test_window_plans():
    plan = default_window_plan(49, 2, 32)
    assert (plan.block, plan.forward.num_warps, plan.forward.num_stages, plan.backward.num_stages) == (64, 4, 3, 3)
    assert default_window_plan(16, 2, 32).forward.num_warps == 1
    assert default_window_plan(49, 2, 128).backward.num_stages == 1
    candidates = window_candidates(plan)
    assert candidates[0] == plan
    assert len(candidates) == len(set(candidates)) <= 20
