"""TransNeXt and MoH-ViT against the recorded outputs of the official code, and aggregated attention written out."""

import pytest
import torch
from torch.nn import functional as F

from tests.parity.recordings import check_outputs, check_parameters
from visionattn.attention import AggregatedAttention

PARAMETERS = {
    "transnext_micro": 12_809_304,
    "transnext_tiny": 28_258_960,
    "transnext_small": 49_741_564,
    "transnext_base": 89_721_496,
    "transnext_micro_aaaa_256": 13_114_008,
    "transnext_small_384": 49_741_564,
    "transnext_base_384": 89_721_496,
    "moh_vit_small_80": 49_910_548,
    "moh_vit_small_75": 49_910_548,
    "moh_vit_base_75": 90_020_632,
    "moh_vit_base_50": 90_023_512,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "recording", "overrides"),
    [
        ("moh_vit_small_80", "moh_vit_small", {}),
        ("transnext_micro_aaaa_256", None, {}),
        ("transnext_small_384", None, {}),
        ("transnext_micro", "transnext_micro_linear", {f"mixers.s{stage}.pool_size": 7 for stage in (1, 2, 3)}),
    ],
)
def test_the_outputs_of_the_official_code(name, recording, overrides):
    check_outputs(name, recording, overrides, torch.float64 if name.startswith("moh_") else torch.float32)


@pytest.mark.parametrize("size", [(8, 12), (9, 14), (3, 2), (1, 1)], ids=str)
@pytest.mark.parametrize(("trained_map", "pool_size"), [(None, None), (14, None), (14, 3)])
@torch.no_grad()
def test_neighbors_and_means_share_one_softmax(size, trained_map, pool_size):
    """Written out with every neighbor copied and a bias computed for every pair."""
    mixer = AggregatedAttention(8, 2, reduction=4, pool_size=pool_size, trained_map=trained_map).double()
    for param in mixer.parameters():
        torch.nn.init.normal_(param, std=0.5)
    (h, w), x = size, torch.randn(2, *size, 8, dtype=torch.float64)
    cells = (max(h // 4, 1), max(w // 4, 1)) if pool_size is None else (min(h, pool_size), min(w, pool_size))

    def pooled(t):
        return F.adaptive_avg_pool2d(t, cells)

    means = mixer.norm(pooled(F.gelu(mixer.reduce(x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1))
    q, k, v = mixer.qkv(x).unflatten(-1, (3, 2, 4)).unbind(3)
    far_k, far_v = mixer.qkv(means).unflatten(-1, (3, 2, 4)).unbind(3)[1:]
    unit = F.normalize(q, dim=-1)

    def copies(t):  # (B, H, W, N, D) -> (B, H, W, N, D, 9)
        return F.unfold(t.flatten(3).permute(0, 3, 1, 2), 3, padding=1).view(2, 2, 4, 9, h, w).permute(0, 4, 5, 1, 2, 3)

    inside = F.unfold(torch.ones(1, 1, h, w, dtype=torch.float64), 3, padding=1).view(9, h, w).permute(1, 2, 0) > 0
    keys = inside.sum(-1) + cells[0] * cells[1]
    scaled = (unit + mixer.query_embedding) * F.softplus(mixer.temperature) * keys.log()[..., None, None]
    near = torch.einsum("bhwnd,bhwndl->bhwnl", scaled, copies(F.normalize(k, dim=-1))) + mixer.local_bias
    near = near.masked_fill(~inside[:, :, None], float("-inf"))
    places = torch.stack(torch.meshgrid(*(torch.arange(s, dtype=torch.float64) for s in size), indexing="ij"))
    apart = places.flatten(1)[:, :, None] - pooled(places).flatten(1)[:, None]
    whole = torch.tensor(size if trained_map is None else (14, 14), dtype=torch.float64)
    share = apart.permute(1, 2, 0) / (whole - 1).clamp(min=1) * 8
    bias = mixer.bias.network(share.sign() * (share.abs() + 1).log2() / 3).view(h, w, -1, 2).transpose(2, 3)
    far = torch.einsum("bhwnd,bpnd->bhwnp", scaled, F.normalize(far_k, dim=-1).flatten(1, 2)) + bias
    sharp, blurred = torch.cat([near, far], dim=-1).softmax(-1).split([9, far.shape[-1]], dim=-1)
    sharp = sharp + torch.einsum("bhwnd,ndl->bhwnl", unit, mixer.places) + mixer.place_bias
    out = torch.einsum("bhwnl,bhwndl->bhwnd", sharp, copies(v))
    out = out + torch.einsum("bhwnp,bpnd->bhwnd", blurred, far_v.flatten(1, 2))
    torch.testing.assert_close(mixer(x), mixer.proj(out.flatten(3)), rtol=1e-5, atol=1e-6)


def test_sizes_that_cannot_be_are_refused_with_the_numbers():
    with pytest.raises(ValueError, match="kernel_size is odd and reduction is positive, got kernel_size 4"):
        AggregatedAttention(8, 2, kernel_size=4)
    with pytest.raises(ValueError, match="pool_size must be positive, got 0"):
        AggregatedAttention(8, 2, pool_size=0)
    with pytest.raises(ValueError, match="trained_map must be positive, got 0"):
        AggregatedAttention(8, 2, trained_map=0)
