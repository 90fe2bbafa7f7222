"""Linear attention: recorded outputs of published modules, and each mixer as a matrix of weights."""

import re

import pytest
import torch
from torch import Tensor, nn

from tests.recorded import inputs_of, published_state, recorded, relative_error
from visionattn.attention import (
    BlockwiseLinearAttention,
    EfficientAttention,
    FlowAttention,
    FullAttention,
    LinearAttention,
    MagnitudeAttention,
)


@torch.no_grad()
def check(name: str, module: nn.Module, state: dict[str, Tensor], residual: bool = False) -> None:
    """The module with these weights, against all recorded cases."""
    published = recorded(name)
    module.load_state_dict(state)
    assert sum(param.numel() for param in module.parameters()) == published["params"]
    for case in published["cases"]:
        (x,) = inputs_of(case)
        y = module(x) + x if residual else module(x)
        assert relative_error(y, case) < 1e-5, case["shapes"]


def test_flow_attention_as_recorded():
    published = recorded("parts/flow_attention")
    check("parts/flow_attention", FlowAttention(**published["args"]), published_state(published))


@torch.no_grad()
def test_blockwise_attention_as_recorded():
    published = recorded("parts/mhla")
    given, args = published_state(published), published["args"]
    given["mixing"] = given.pop("piece_attn.conv.weight").flatten(1)
    ours = {"to_qkv.": "qkv.", "to_out.0.": "proj.", "lepe.": "position."}
    state = {re.sub("|".join(ours), lambda old: ours[old[0]], name): weight for name, weight in given.items()}
    for case in published["cases"]:
        module = BlockwiseLinearAttention(
            args["dim"], args["heads"], blocks=args["blocks"], mixed_queries=case["normaliser"] == "released"
        )
        module.load_state_dict(state)
        assert sum(param.numel() for param in module.parameters()) == published["params"]
        assert relative_error(module(*inputs_of(case)), case) < 1e-5, case["normaliser"]


def test_efficient_attention_as_recorded():
    published = recorded("parts/efficient_attention")
    given, args = published_state(published), published["args"]
    state = {
        f"qkv.{kind}": torch.cat(
            [
                given[f"{part}.{kind}"].flatten(1) if kind == "weight" else given[f"{part}.{kind}"]
                for part in ("queries", "keys", "values")
            ]
        )
        for kind in ("weight", "bias")
    }
    state |= {"proj.weight": given["reprojection.weight"].flatten(1), "proj.bias": given["reprojection.bias"]}
    widths = {"key_dim": args["key_channels"], "value_dim": args["value_channels"]}
    module = EfficientAttention(args["in_channels"], args["head_count"], **widths)
    check("parts/efficient_attention", module, state, residual=True)


def as_matrix(mixer: nn.Module, x: Tensor) -> Tensor:
    """Weights ``(B, N, T, T)``: what a mixer makes of values that are 1 at one token and 0 at all others."""
    b, h, w, c = x.shape
    heads, width = mixer.num_heads, c // mixer.num_heads
    q, k, _ = (part.flatten(1, 2).unflatten(2, (heads, width)) for part in mixer.qkv(x).split(c, dim=-1))
    tokens = torch.eye(h * w, dtype=x.dtype)
    columns = [
        mixer.of_tokens(q, k, token.view(1, -1, 1, 1).expand(b, -1, heads, width))[..., 0].transpose(1, 2)
        for token in tokens
    ]
    return torch.stack(columns, dim=-1)


def projected(mixer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    parts = mixer.qkv(x).split(x.shape[-1], dim=-1)[:2]
    return tuple(part.flatten(1, 2).unflatten(2, (mixer.num_heads, -1)).transpose(1, 2) for part in parts)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 4, 5, 12, dtype=torch.float64)


@pytest.mark.parametrize("smallest", [100.0, 0.1])
def test_linear_attention_is_a_clamped_matrix_of_weights(tokens, smallest):
    mixer = LinearAttention(12, 3, smallest=smallest).double()
    nn.init.normal_(mixer.temperature)
    q, k = (part.relu() for part in projected(mixer, tokens))
    weights = q @ k.mT
    want = weights / weights.sum(-1, keepdim=True).clamp(min=smallest) * mixer.temperature[:, :, None]
    torch.testing.assert_close(as_matrix(mixer, tokens), want)


def test_flow_attention_conserves_what_flows(tokens):
    mixer = FlowAttention(12, 3).double()
    q, k = (part.sigmoid() for part in projected(mixer, tokens))
    flow = q @ k.mT
    source = (flow / flow.sum(-1, keepdim=True)).sum(-2)  # of each key, after every query let in one unit
    sink = (flow / flow.sum(-2, keepdim=True)).sum(-1)
    competition = source.clamp(-1, 1).softmax(-1) * 20
    want = flow / flow.sum(-1, keepdim=True) * sink.sigmoid()[..., None] * competition[..., None, :]
    torch.testing.assert_close(as_matrix(mixer, tokens), want, rtol=1e-4, atol=1e-6)  # the published code adds 1e-6


def heads(x: Tensor) -> Tensor:
    """``(B, T, C) -> (B, 3, T, D)``."""
    return x.unflatten(2, (3, -1)).transpose(1, 2)


@pytest.mark.parametrize("mixed_queries", [False, True])
def test_blocks_are_mixed_by_the_matrix(tokens, mixed_queries):
    """Every query reads every key, by the factor of their blocks: windows of 2 x 3, of which the right ones are cut."""
    mixer = BlockwiseLinearAttention(12, 3, blocks=2, lepe=None, mixed_queries=mixed_queries).double()
    nn.init.uniform_(mixer.mixing)
    block = (2 * torch.tensor([0, 0, 1, 1])[:, None] + torch.tensor([0, 0, 0, 1, 1])).flatten()
    q, k, v = mixer.qkv(mixer.norm(tokens)).flatten(1, 2).split(12, dim=2)
    q, k, v = heads(mixer.q_norm(q).relu() + 1e-6), heads(mixer.k_norm(k).relu() + 1e-6), heads(v)
    factor = mixer.mixing[block][:, block]
    weights = factor * (q @ k.mT)
    total = weights.sum(-1, keepdim=True)
    if mixed_queries:
        place = torch.tensor([0, 1, 2, 0, 1, 3, 4, 5, 3, 4] * 2)
        own = ((q @ k.mT) * (block[:, None] == block)).sum(-1, keepdim=True)
        total = (factor * (place[:, None] == place)) @ own
    want = (weights / (total + 1e-6) @ v).transpose(1, 2).reshape(tokens.shape)
    torch.testing.assert_close(mixer(tokens), mixer.proj(want))


def test_one_block_is_all_and_near_blocks_count_more():
    assert BlockwiseLinearAttention(8, 2, blocks=1).mixing.tolist() == [[1]]
    mixing = BlockwiseLinearAttention(8, 2, blocks=(2, 3)).mixing
    torch.testing.assert_close(mixing.sum(1), torch.ones(6))
    assert mixing[0, 0] > mixing[0, 1] > mixing[0, 4] > mixing[0, 5] == 0


def test_magnitude_attention_is_a_matrix_whose_rows_sum_to_one(tokens):
    mixer = MagnitudeAttention(12, 3, lepe=None, output_gate=False).double()
    q, k = (nn.functional.elu(part) + 1 for part in projected(mixer, tokens))
    score = q @ k.mT / 2
    z = score.mean(-1, keepdim=True)
    rows = ((1 + 1 / z) * score - z).sum(-1) / 20
    torch.testing.assert_close(rows, torch.ones_like(rows))
    turn = torch.complex(*mixer.rotary.table(4, 5).double().flatten(1, 2))
    q, k = (torch.view_as_complex(part.unflatten(-1, (-1, 2)).contiguous()) * turn for part in (q, k))
    weights = ((1 + 1 / (z + 1e-6)) * (q @ k.mH).real / 2 - z) / 20
    want = weights @ heads(mixer.qkv(tokens)[..., 24:].flatten(1, 2))
    torch.testing.assert_close(mixer(tokens), mixer.proj(want.transpose(1, 2).reshape(tokens.shape)))


def test_a_row_of_efficient_attention_sums_to_one(tokens):
    mixer = EfficientAttention(12, 3).double()
    with torch.no_grad():
        mixer.qkv.weight[24:], mixer.qkv.bias[24:] = 0, torch.arange(12.0)
        mixer.proj.weight.copy_(torch.eye(12)), mixer.proj.bias.zero_()
    torch.testing.assert_close(mixer(tokens), torch.arange(12.0).double().expand(2, 4, 5, 12))


@torch.no_grad()
@pytest.mark.parametrize(
    "kind", [LinearAttention, FlowAttention, EfficientAttention, BlockwiseLinearAttention, MagnitudeAttention]
)
def test_sums_over_a_map_are_of_float32(kind):
    mixer, x = kind(8, 2), torch.randn(1, 64, 64, 8)
    nn.init.normal_(mixer.qkv.weight, std=4)  # in half precision the sums of 4,096 such tokens overflow
    nn.init.eye_(mixer.proj.weight)
    want = mixer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float((mixer(x).float() - want).norm() / want.norm()) < 0.02
    assert float((mixer.half()(x.half()).float() - want).norm() / want.norm()) < 0.003


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LinearAttention(10, 4), "dim 10 is not a multiple of num_heads 4"),
        (lambda: LinearAttention(8, 4, smallest=0), "must be positive, got smallest 0"),
        (
            lambda: BlockwiseLinearAttention(8, 4, blocks=(0, 2)),
            r"one block or more in each direction, got blocks \(0, 2\)",
        ),
        (lambda: MagnitudeAttention(24, 4), "head widths that are multiples of 4, got 6"),
        (lambda: FullAttention(24, 4, rotary="rows"), "rotary is axial, flat or null, got rows"),
        (lambda: FlowAttention(10, 4), "dim 10 is not a multiple of num_heads 4"),
        (lambda: EfficientAttention(8, 0), "value_dim 8 must be positive multiples of num_heads 0"),
        (lambda: EfficientAttention(8, 4, key_dim=6), "key_dim 6 and value_dim 8 must be positive multiples of"),
    ],
)
def test_what_cannot_be_is_refused_with_the_numbers(build, message):
    with pytest.raises(ValueError, match=message):
        build()
