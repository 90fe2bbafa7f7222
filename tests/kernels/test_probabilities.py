"""Probabilities of both ops: times the values they are the op's output, and the recorder takes what the ops compute."""

import pytest
import torch

from visionattn.attention import ChannelAttention, StripSelfAttention, WindowAttention
from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.recording import Groups, RecordedChannels, RecordedMap, RecordedTokens, recorded
from visionattn.kernels.tokens import Places, token_attention

WINDOWS = [
    {"window": (3, 4)},
    {"window": (3, 4), "shift": (1, 2)},
    {"window": (9, 2)},
    {"window": (3, 3), "dilation": (3, 4)},
    {"window": (20, 20)},
]
NEIGHBORHOODS = [
    {"kernel_size": (3, 4)},
    {"kernel_size": 3, "dilation": (3, 2)},
    {"kernel_size": 4, "stride": 3},
    {"kernel_size": (2, 3), "dilation": 2, "stride": (1, 2)},
]


def maps(size=(9, 11), heads=2, width=4):
    q, k = (torch.randn(2, *size, heads, width, dtype=torch.float64) for _ in range(2))
    return q, k, torch.randn(2, *size, heads, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("op", "options"), [(window_attention, o) for o in WINDOWS] + [(neighborhood_attention, o) for o in NEIGHBORHOODS]
)
@pytest.mark.parametrize("with_bias", [False, True])
def test_probabilities_times_values_are_the_output(op, options, with_bias):
    q, k, v = maps()
    if with_bias:
        sizes = options.get("window", options.get("kernel_size"))
        rows, columns = (sizes, sizes) if isinstance(sizes, int) else sizes
        options = options | {"bias": torch.randn(2, 2 * rows - 1, 2 * columns - 1, dtype=torch.float64)}
    weights = op.probabilities(q, k, **options)
    assert weights.shape == (2, 2, 9, 11, 9, 11)
    torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(2, 2, 9, 11, dtype=torch.float64))
    expected = op(q, k, v, **options, backend="reference")
    torch.testing.assert_close(torch.einsum("bnhwij,bijne->bhwne", weights, v), expected)


def test_recorded_calls_give_rows_and_their_gradient():
    q, k, v = (x.requires_grad_() for x in maps())
    calls = []
    with recorded(calls.append):
        out = neighborhood_attention(q, k, v, kernel_size=3, dilation=2)
    (call,) = calls
    assert isinstance(call, RecordedMap)
    assert call.out is out
    queries = torch.tensor([0, 40, 98])
    rows = call.rows(queries)
    assert rows.keys.shape == (3, 9)
    torch.testing.assert_close(rows.attend(v.flatten(1, 2)), out.flatten(1, 2)[:, queries])
    grad = torch.randn_like(out)
    weights = neighborhood_attention.probabilities(q, k, kernel_size=3, dilation=2).detach().requires_grad_()
    again = torch.einsum("bnhwij,bijne->bhwne", weights, v)
    (expected,) = torch.autograd.grad(again, weights, grad)
    found = call.gradient(rows, grad)
    torch.testing.assert_close(found, expected.flatten(4).flatten(2, 3)[:, :, queries].gather(
        -1, rows.keys.expand(2, 2, 3, 9)))  # fmt: skip
    assert sum(len(part) for part in call.parts()) == 99


def test_nothing_is_kept_outside_of_the_context():
    calls = []
    q, k, v = maps()
    with recorded(calls.append):
        pass
    window_attention(q, k, v, window=3)
    assert calls == []


def test_a_mixer_compiles_to_one_graph_while_somebody_looks():
    mixer = WindowAttention(8, 2, window_size=4).eval()
    x, calls = torch.randn(1, 8, 8, 8), []
    with recorded(calls.append):
        compiled = torch.compile(mixer, fullgraph=True, backend="eager")(x)
        assert calls == []
        torch.testing.assert_close(mixer(x), compiled)
    assert len(calls) == 1


def test_attention_of_cells_and_of_channels_is_recorded():
    calls = []
    strip, channel = StripSelfAttention(8, 2, reduction=2, thin=4), ChannelAttention(8, 2)
    x = torch.randn(2, 5, 6, 8)
    with recorded(calls.append), torch.no_grad():
        strip(x)
        channel(x)
    cells, channels = calls
    assert isinstance(cells, RecordedTokens)
    assert (cells.query_grid, cells.key_grid, cells.cell) == ((5, 6), (3, 3), 2)
    rows = cells.rows(torch.arange(30))
    torch.testing.assert_close(rows.attend(cells.at_places(cells.v)), cells.at_places(cells.out))
    assert isinstance(channels, RecordedChannels)
    assert channels.matrix.shape == (2, 2, 4, 4)
    torch.testing.assert_close(channels.matrix.sum(-1), torch.ones(2, 2, 4))


def test_tokens_in_front_of_windows_keep_their_places():
    groups = Groups(rows=2, columns=3, side=2, front=1)
    q, k, v = (torch.randn(2 * 6, 5, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    bias, calls = torch.randn(2, 5, 5, dtype=torch.float64), []
    with recorded(calls.append):
        token_attention(q, k, v, bias=bias, places=Places(groups.grid, groups.grid, groups))
    (call,) = calls
    assert (call.num_queries, call.num_keys) == (30, 30)
    rows = call.rows(torch.arange(30).flip(0))
    torch.testing.assert_close(rows.attend(call.at_places(v)), call.at_places(call.out).flip(1))
    assert set(rows.keys[29].tolist()) == {0, 1, 6, 7, 24}  # the token at the top left: its window and its carrier
    assert set(rows.keys[0].tolist()) == {16, 17, 22, 23, 29}
    grad = torch.randn_like(call.out)
    (expected,) = torch.autograd.grad(call.out, v, grad)
    found = torch.einsum("bnqk,bqne->bqkne", rows.weights, call.at_places(grad)[:, rows.queries])
    total = torch.zeros_like(call.at_places(v)).index_add_(1, rows.keys.flatten(), found.flatten(1, 2))
    torch.testing.assert_close(total, call.at_places(expected))
    assert call.gradient(rows, grad).shape == rows.weights.shape
