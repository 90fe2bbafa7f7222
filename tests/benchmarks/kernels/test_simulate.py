"""The tile simulator against figures worked out by hand, and against a count of pairs."""

import io

import pytest
from rich.console import Console

from visionattn.benchmarks.kernels import simulate
from visionattn.benchmarks.kernels.simulate import axis_work
from visionattn.kernels.backends.reference import visible
from visionattn.kernels.geometry import AxisRule


def quiet(*arguments, **named):
    return simulate(*arguments, console=Console(file=io.StringIO()), **named)


def test_blocks_that_match_the_tile_waste_nothing():
    # kernel 4, stride 4 on 8 x 8: four blocks, each attends to itself alone
    (row,) = quiet(8, 4, stride=4, tile=(4, 4))
    assert (row["query_tiles"], row["visits_mean"], row["visits_most"]) == (4, 1, 1)
    assert row["useful_share"] == row["halo_share"] == 1
    assert row["speedup_bound"] == row["speedup_ideal"] == 4


def test_small_neighborhood_on_a_small_map():
    # each axis of 8: queries 0..3 see keys 0..4, queries 4..7 see keys 3..7; both touch both key tiles of 4
    (row,) = quiet(8, 3, tile=4)
    assert (row["query_tiles"], row["visits_mean"], row["visits_most"]) == (4, 4, 4)
    assert row["useful_share"] == (8 * 3) ** 2 / (4 * 4 * 16 * 16)
    assert row["halo_share"] == (8 * 3) ** 2 / (4 * 16 * 25)
    assert row["speedup_bound"] == 1
    assert row["speedup_ideal"] == 64 / 9


def test_query_and_key_tiles_differ():
    # rows of 12, kernel 5: key tiles of 6 hold 0..5 and 6..11; queries 0..3 see 0..5, 4..7 see 2..9, 8..11 see 6..11
    work = axis_work(AxisRule(5, stride=1), 12, tile=4, key_tile=6)
    assert (work.query_tiles, work.visits, work.worst_visits, work.halo_keys) == (3, 4, 2, 6 + 8 + 6)


def test_dilation_tiles_each_group_apart():
    # 9 positions, dilation 2: groups of 5 and 4; kernel 3; tiles of 3 -> two per group, 0..2 sees 0..3
    work = axis_work(AxisRule(3, dilation=2, stride=1), 9, tile=3, key_tile=3)
    assert work.query_tiles == 4
    assert work.pairs == 27
    assert work.halo_keys == (4 + 3) + (4 + 3)


def test_shifted_windows_are_tiled_at_their_lines():
    (row,) = quiet(14, 7, shift=3, tile=7)
    assert row["query_tiles"] == 9
    assert row["visits_mean"] == 1
    # per axis windows of 3, 7 and 4 tokens
    assert row["useful_share"] == (9 + 49 + 16) ** 2 / (9 * 49 * 49)


@pytest.mark.parametrize("rule", [AxisRule(3, 2, stride=1), AxisRule(4, 1, stride=3), AxisRule(5, 1, shift=2)], ids=str)
def test_pairs_are_those_of_the_reference(rule):
    assert axis_work(rule, 13, 4, 4).pairs == int(visible(rule, 13).sum())


def test_several_tiles_by_default_and_a_table():
    screen = Console(file=io.StringIO(), width=100)
    rows = simulate((56, 56), 7, dilation=2, console=screen)
    assert len(rows) == 5
    assert all(0 < row["useful_share"] <= row["halo_share"] <= 1 for row in rows)
    assert all(1 <= row["speedup_bound"] <= row["speedup_ideal"] for row in rows)
    assert "map 56x56, kernel 7" in screen.file.getvalue()


def test_impossible_requests_name_the_numbers():
    with pytest.raises(ValueError, match=r"9 \* 1 = 9 > 8"):
        quiet(8, 9)
    with pytest.raises(ValueError, match=r"\(0, 0\)"):
        quiet(8, 3, tile=0)
