"""Gated positional self-attention equals timm's ConViT's, in float64."""

import pytest
import torch
from timm.models.convit import GPSA

import visionattn
from tests.parity.timm_pairs import excite
from visionattn.analysis import record
from visionattn.attention import FullAttention, GatedPositionalAttention


def ours_beside(theirs: GPSA, heads: int) -> GatedPositionalAttention:
    state = theirs.state_dict()
    ours = GatedPositionalAttention(theirs.dim, heads, qkv_bias=theirs.v.bias is not None).double()
    named = {
        "qkv.weight": state["qk.weight"],
        "qkv.value": state["v.weight"],
        "gate": state["gating_param"],
        "place": state["pos_proj.weight"],
        "proj.weight": state["proj.weight"],
        "proj.bias": state["proj.bias"],
    }
    if "v.bias" in state:
        named |= {"qkv.bias": state["qk.bias"], "qkv.value_bias": state["v.bias"]}
    ours.load_state_dict(named)
    return ours


@pytest.mark.parametrize(("side", "heads", "bias"), [(7, 4, False), (5, 9, True), (2, 1, False)])
def test_the_mixer_is_timms(side, heads, bias):
    theirs = excite(GPSA(36, heads, qkv_bias=bias).double())
    ours = ours_beside(theirs, heads)
    x = torch.randn(2, side, side, 36, dtype=torch.float64, requires_grad=True)
    (got, want), rows = (ours(x), theirs(x.flatten(1, 2)).view(2, side, side, 36)), torch.randn(2, side, side, 36)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
    pair = (torch.autograd.grad((y * rows).sum(), x)[0] for y in (got, want))
    torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("heads", [1, 4, 6, 9])
def test_heads_start_as_the_taps_of_a_kernel_and_values_as_the_input(heads):
    theirs = GPSA(36, heads)
    theirs.local_init()
    model = visionattn.create_backbone(
        "swin_pico", overrides=["mixer@mixers.s1=gated_positional", "dims=[36,96,192]", f"num_heads=[{heads},4,8]"]
    )
    ours = model.stages[0].blocks[0].mixer
    taps = int(heads**0.5) ** 2
    torch.testing.assert_close(ours.place[:taps], theirs.pos_proj.weight[:taps])
    torch.testing.assert_close(ours.qkv.value, theirs.v.weight)
    torch.testing.assert_close(ours.gate, theirs.gating_param)
    assert {"stages.0.blocks.0.mixer.gate", "stages.0.blocks.0.mixer.place"} <= model.no_weight_decay()


def test_maps_that_are_not_square():
    ours = GatedPositionalAttention(16, 2).double()
    with torch.no_grad():
        ours.place.normal_(std=0.3)
        ours.gate.fill_(40.0)  # position alone
    x = torch.randn(1, 3, 5, 16, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    down, across = (axis.flatten()[None] - axis.flatten()[:, None] for axis in (rows, columns))
    offsets = torch.stack([across, down, across**2 + down**2], -1).double()
    weights = (offsets @ ours.place.T).softmax(1)
    values = ours.qkv(x)[..., 32:].view(15, 2, 8)
    want = ours.proj(torch.einsum("qkn,knd->qnd", weights, values).reshape(1, 3, 5, 16))
    torch.testing.assert_close(ours(x), want, rtol=1e-9, atol=1e-11)
    with torch.no_grad():
        ours.gate.fill_(-40.0)  # content alone
        full = FullAttention(16, 2, qkv_bias=False).double()
        full.qkv.weight.copy_(torch.cat([ours.qkv.weight, ours.qkv.value]))
        full.proj.load_state_dict(ours.proj.state_dict())
    torch.testing.assert_close(ours(x), full(x), rtol=1e-9, atol=1e-11)


def test_both_matrices_are_recorded():
    model = visionattn.create_backbone("swin_pico", overrides=["mixer@mixers.s3=gated_positional"]).eval()
    with torch.no_grad():
        kept = record(model, torch.randn(1, 3, 32, 48))
    part = kept.stages[2].blocks[0].parts[0]
    content, position = part.matrices
    for call in (content, position):
        rows = call.rows(torch.arange(call.num_queries))
        torch.testing.assert_close(rows.attend(call.v.flatten(1, 2)), call.out.flatten(1, 2), rtol=1e-4, atol=1e-5)


def test_a_locality_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"locality must be positive, got -1\.0"):
        GatedPositionalAttention(16, 2, locality=-1.0)
