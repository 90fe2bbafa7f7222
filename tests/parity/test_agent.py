"""Agent attention on three hosts against the recorded outputs of the official code, and on maps of other sizes."""

import pytest
import torch
from torch.nn import functional as F

import visionattn
from tests.parity.recordings import check_parameters
from tests.parity.timm_pairs import leak
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.attention import AgentAttention, FullAttention, Leading, WindowAttention
from visionattn.attention.agent import AgentBias
from visionattn.attention.resizing import mean_cells
from visionattn.backbones.cost import count_parameters
from visionattn.backbones.families.pvt import AbsolutePosition

PARAMETERS = {
    "agent_pvt_tiny": 11_570_352,
    "agent_pvt_small": 20_635_066,
    "agent_pvt_medium": 35_921_746,
    "agent_pvt_medium_256": 36_083_682,
    "agent_pvt_large": 48_738_180,
    "agent_swin_tiny": 28_902_964,
    "agent_swin_small": 49_666_684,
    "agent_swin_small_288": 49_707_964,
    "agent_swin_base": 88_095_096,
    "agent_swin_base_384": 88_305_016,
    "agent_cswin_tiny": 20_458_672,
    "agent_cswin_small": 32_814_100,
    "agent_cswin_base": 73_249_696,
    "agent_cswin_base_384": 73_328_416,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


HEAVY = (pytest.param(name, marks=pytest.mark.heavy) for name in ("agent_pvt_tiny", "agent_cswin_tiny"))


@pytest.mark.parametrize("name", ["agent_swin_tiny", *HEAVY])
def test_the_outputs_of_the_official_code(name):
    published = recorded(name)
    model = visionattn.create_backbone(name, weights=published_state(published)).eval()
    assert count_parameters(model) == published["params"]
    with torch.no_grad():
        for case in published["cases"]:
            assert relative_error(model(image_of(case)), case) < 1e-5, case["size"]


def test_any_size_and_no_leaks():
    model = visionattn.create_backbone("agent_pvt_tiny", depths=[1, 1, 1, 1], num_classes=3).eval()
    assert leak(model, (50, 70)) < 1e-5


@pytest.mark.parametrize(("size", "used"), [((14, 14), 3), ((9, 20), 3), ((14, 14), 5), ((20, 9), 4), ((1, 2), 3)])
def test_biases_are_resized_as_in_the_published_detection_code(size, used):
    """First to the map, the sum of rows and columns as one map, then along the agents; ours does it in other order."""
    bias = AgentBias(2, 3, 14, used).double()

    def to_agents(maps):
        of_places = maps.reshape(2, 3, 3, -1).permute(0, 3, 1, 2)
        return F.interpolate(of_places, size=(used, used), mode="bilinear").flatten(2).transpose(1, 2)

    lines = bias.rows[..., None] + bias.columns[..., None, :]
    want = sum(to_agents(F.interpolate(maps, size=size, mode="bilinear")) for maps in (bias.coarse, lines))
    torch.testing.assert_close(bias(size), want, rtol=1e-9, atol=1e-12)


def test_the_mixer_is_two_attentions_written_out():
    mixer = AgentAttention(8, 2, agents=2, map_size=5).double()
    x = torch.randn(2, 5, 7, 8, dtype=torch.float64)
    q, k, v = mixer.qkv(x).flatten(1, 2).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    agents = F.adaptive_avg_pool2d(q.transpose(2, 3).reshape(2, 8, 5, 7), 2).view(2, 2, 4, 4).transpose(2, 3)
    gathered = (agents @ k.mT / 2 + mixer.gathering((5, 7))).softmax(-1) @ v
    out = (q @ agents.mT / 2 + mixer.spreading((5, 7)).mT).softmax(-1) @ gathered
    local = F.conv2d(v.mT.reshape(2, 8, 5, 7), mixer.position.weight, mixer.position.bias, padding=1, groups=8)
    want = mixer.proj(out.transpose(1, 2).reshape(2, 5, 7, 8) + local.permute(0, 2, 3, 1))
    torch.testing.assert_close(mixer(x), want)


@pytest.mark.parametrize("size", [(7, 7), (5, 13), (1, 3), (14, 9)])
def test_means_of_cells_are_those_of_adaptive_pooling(size):
    x = torch.randn(2, *size, 5, dtype=torch.float64)
    want = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    torch.testing.assert_close(mean_cells(x, (4, 4)), want)


def test_positions_are_resized_as_published():
    part = AbsolutePosition(6, map_size=7)
    want = F.interpolate(part.table.permute(2, 0, 1)[None], size=(9, 5), mode="bilinear")[0].permute(1, 2, 0)
    torch.testing.assert_close(part(torch.zeros(1, 9, 5, 6))[0], want)


def test_weights_of_another_map_are_resized():
    small, large = (
        visionattn.create_backbone(name, depths=[1, 1, 1, 1], num_classes=2)
        for name in ("agent_pvt_medium", "agent_pvt_medium_256")
    )
    report = visionattn.load_weights(large, small.state_dict())
    assert len(report.resized) == 4 * (4 + 1)
    bias, own = (model.stages[0].blocks[0].mixer.gathering for model in (small, large))
    want = F.interpolate(bias.rows, size=64, mode="linear")
    torch.testing.assert_close(own.rows, want)


def test_the_first_blocks_have_one_mixer_and_the_others_another():
    build = Leading(FullAttention, WindowAttention, count=2)
    mixers = [build(dim=8, num_heads=2, index=index) for index in range(5)]
    assert [type(mixer) for mixer in mixers] == [FullAttention] * 2 + [WindowAttention] * 3
    assert [mixer.shifted for mixer in mixers[2:]] == [False, True, False]
    with pytest.raises(ValueError, match="cannot be negative, got -1"):
        Leading(FullAttention, WindowAttention, count=-1)


def test_what_cannot_be_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match="must be positive, got 7, None and 0"):
        AgentAttention(8, 2, map_size=0)
    with pytest.raises(ValueError, match="dim 8 is not a multiple of num_heads 3"):
        AgentAttention(8, 3)
