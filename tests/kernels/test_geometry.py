"""The per-axis rules, against plain statements of them, and the errors of calls that do not fit."""

import inspect
from typing import Any

import pytest
import torch

from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.backends.tiled.tiles import axis_tiles
from visionattn.kernels.geometry import AxisRule, Geometry, decode


def test_shift_three_means_first_window_of_three_rows() -> None:
    spans = AxisRule(7, shift=3).spans(14)
    assert spans.start.tolist() == [0] * 3 + [3] * 7 + [10] * 4
    assert spans.extent.tolist() == [3] * 3 + [7] * 7 + [4] * 4


@pytest.mark.parametrize(("size", "length"), [(7, 28), (4, 12), (8, 8)])
def test_shifted_lines_are_the_rolled_and_masked_partition(size: int, length: int) -> None:
    for shift in range(size):
        rolled = torch.arange(length).roll(-shift)
        window = torch.empty(length, dtype=torch.int64)
        window[rolled] = torch.arange(length) // size
        wrapped = torch.arange(length) < shift
        same = (window[:, None] == window[None]) & (wrapped[:, None] == wrapped[None])
        spans = AxisRule(size, shift=shift).spans(length)
        keys = torch.arange(length)[None]
        inside = (keys >= spans.start[:, None]) & (keys < (spans.start + spans.extent)[:, None])
        assert torch.equal(inside, same)


def test_even_neighborhood_leans_left_and_moves_inward_at_the_border() -> None:
    assert AxisRule(4, stride=1).spans(8).start.tolist() == [0, 0, 0, 1, 2, 3, 4, 4]
    assert AxisRule(3, stride=3).spans(8).start.tolist() == [0, 0, 0, 3, 3, 3, 5, 5]


@pytest.mark.parametrize(
    "rule", [AxisRule(3, 2, stride=1), AxisRule(5, 1, stride=4), AxisRule(4, 3, shift=1), AxisRule(6)]
)
@pytest.mark.parametrize("length", [15, 16, 23])
def test_tiles_cover_every_query_once_and_show_it_its_keys(rule: AxisRule, length: int) -> None:
    spans = rule.spans(length)
    seen = []
    for tile in axis_tiles(rule, length, 4):
        keys = list(tile.key_positions())
        for i, query in enumerate(tile.query_positions()):
            first = int(spans.group[query] + rule.dilation * spans.start[query])
            visible = keys[tile.shape.low[i] : tile.shape.high[i]]
            assert visible == list(range(first, first + int(spans.extent[query]) * rule.dilation, rule.dilation))
            seen.append(query)
    assert sorted(seen) == list(range(length))


def test_encoding_round_trip_and_pairs() -> None:
    geometry = Geometry(AxisRule(3, 2, stride=2), AxisRule(4, 1, shift=1))
    assert decode(geometry.rows.encode(), geometry.cols.encode()) == geometry
    assert Geometry(AxisRule(7, stride=1), AxisRule(7, stride=1)).pairs(14, 14) == 14 * 14 * 49


Q = torch.zeros(1, 6, 8, 2, 4)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kernel_size": 7}, ValueError, r"rows, 7 \* 1 = 7 > 6"),
        ({"kernel_size": (3, 3), "dilation": (1, 3)}, ValueError, r"columns, 3 \* 3 = 9 > 8"),
        ({"kernel_size": 1}, ValueError, "at least 2 on the rows, got 1"),
        ({"kernel_size": (3, 3, 3)}, ValueError, "got 3 values"),
        ({"kernel_size": 3.0}, TypeError, "3.0 of type float"),
        ({"kernel_size": 3, "stride": 4}, ValueError, "got stride 4 with kernel_size 3"),
        ({"kernel_size": 3, "dilation": 0}, ValueError, "dilation must be at least 1 on the rows, got 0"),
        ({"kernel_size": 3, "bias": torch.zeros(2, 3, 5)}, ValueError, r"= \(2, 5, 5\), got \(2, 3, 5\)"),
        ({"kernel_size": 3, "bias": torch.zeros(2, 5, 5).long()}, TypeError, "bias must be floating point"),
        ({"kernel_size": 3, "backend": "fastest"}, ValueError, r"no backend 'fastest'.*tiled"),
        ({"kernel_size": 3, "q": Q[0]}, ValueError, r"5 dimensions.*\(6, 8, 2, 4\)"),
        ({"kernel_size": 3, "k": Q[..., :3]}, ValueError, r"same shape.*\(1, 6, 8, 2, 3\)"),
        ({"kernel_size": 3, "v": Q[:, :5]}, ValueError, r"\(1, 5, 8, 2, 4\)"),
        ({"kernel_size": 3, "v": Q.double()}, TypeError, "torch.float64"),
        ({"kernel_size": 3, "q": Q.long()}, TypeError, "torch.int64"),
    ],
)
def test_neighborhood_errors_name_the_numbers(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        neighborhood_attention(**{"q": Q, "k": Q, "v": Q, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "window must be at least 1 on the rows, got 0"),
        ({"window": 4, "shift": 4}, "got shift 4 with window 4"),
        ({"window": 4, "shift": (0, -1)}, "columns, got shift -1 with window 4"),
        ({"window": 4, "bias": torch.zeros(3, 7, 7)}, r"\(2, 7, 7\), got \(3, 7, 7\)"),
    ],
)
def test_window_errors_name_the_numbers(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        window_attention(Q, Q, Q, **changes)


def test_a_named_backend_that_cannot_run_says_why() -> None:
    half = Q.half()
    reason = window_attention.explain(half, half, half, window=4)["cpp"]
    assert "torch.float16" in reason
    with pytest.raises(ValueError, match=r"backend 'cpp' refuses: .*torch.float16"):
        window_attention(half, half, half, window=4, backend="cpp")
    assert window_attention(half, half, half, window=4).dtype == torch.float16


def test_a_former_backend_name_still_works_and_says_the_new_one():
    q = torch.randn(1, 4, 4, 1, 8)
    with pytest.warns(FutureWarning, match="'portable' is now called 'traceable'"):
        out = window_attention(q, q, q, window=2, backend="portable")
    assert torch.equal(out, window_attention(q, q, q, window=2, backend="traceable"))


@pytest.mark.parametrize("op", [window_attention, neighborhood_attention])
def test_an_op_shows_its_signature_and_its_documentation(op):
    names = list(inspect.signature(op).parameters)
    assert names[:3] == ["q", "k", "v"]
    assert names[-3:] == ["bias", "scale", "backend"]
    assert op.__name__ == op.name
    assert "Args:" in op.__doc__
    with pytest.raises(TypeError, match="unexpected keyword argument 'widow'"):
        op(*[torch.randn(1, 4, 4, 1, 8)] * 3, widow=2)
