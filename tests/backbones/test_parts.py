"""Parts that several families share: feed-forward networks with convolutions, stems, the projecting classifier."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from visionattn.attention import FullAttention, Pooling
from visionattn.backbones import (
    Block,
    ContextBroadcasting,
    ConvFeedForward,
    ConvPosition,
    FeedForward,
    GatedConvFeedForward,
    HierarchicalBackbone,
    LocalConcentration,
    PatchMerging,
    ProjectionHead,
    ResidualConvFeedForward,
    ResidualMixer,
    Stage,
    StridedConvStem,
    blocks_by_stage,
)
from visionattn.config import DEFAULT_POLICY, compose


def depthwise(layer, x):
    return F.conv2d(x.permute(0, 3, 1, 2), layer.weight, layer.bias, padding=1, groups=x.shape[-1]).permute(0, 2, 3, 1)


def test_feed_forward_networks_compute_what_their_papers_say():
    x = torch.randn(2, 5, 3, 6)
    net = ConvFeedForward(6, 12)
    torch.testing.assert_close(net(x), net.fc2(F.gelu(depthwise(net.conv, net.fc1(x)))))
    net = ResidualConvFeedForward(6, 12)
    hidden = F.gelu(net.fc1(x))
    torch.testing.assert_close(net(x), net.fc2(hidden + depthwise(net.conv, hidden)))
    net = GatedConvFeedForward(6, 12, act_layer=nn.SiLU)
    gate, values = net.fc1(x).split(8, dim=-1)
    torch.testing.assert_close(net(x), net.fc2(F.silu(depthwise(net.conv, gate)) * values))


def test_a_stem_has_its_strides():
    stem = StridedConvStem(3, 16, divisors=(2, 2, 1), strides=(2, 1, 2, 1), last_act=False).eval()
    assert stem.stride == 4
    assert [getattr(stem, f"conv{i}").stride[0] for i in range(1, 5)] == [2, 1, 2, 1]
    assert stem(torch.randn(1, 3, 33, 64)).shape == (1, 9, 16, 16)
    with pytest.raises(ValueError, match=r"a stem of 2 convolutions has as many strides, got \[2\]"):
        StridedConvStem(3, 16, strides=(2,))


def test_the_projecting_classifier():
    head = ProjectionHead(6, 4, width=10).eval()
    x = torch.randn(2, 6, 3, 5)
    pooled = F.silu(head.norm(head.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))).mean((2, 3))
    torch.testing.assert_close(head(x), head.fc(pooled))
    torch.testing.assert_close(head(x, pre_logits=True), pooled)
    projection = head.proj
    head.reset(7)
    assert head.proj is projection
    assert head(x).shape == (2, 7)
    head.reset(0, "")
    assert not list(head.parameters())
    assert torch.equal(head(x), x)
    head.reset(3, "avg", in_features=8)
    assert head(torch.randn(2, 8, 3, 5)).shape == (2, 3)


def model(**arguments):
    mixers = {"s1": FullAttention, "s2": FullAttention}
    return HierarchicalBackbone([8, 12], [1, 1], [2, 2], mixers, num_classes=3, **arguments).eval()


def test_a_backbone_with_a_projecting_classifier():
    backbone = model(head=partial(ProjectionHead, width=10), norm=lambda dim: nn.Identity())
    x = torch.randn(1, 3, 32, 32)
    assert backbone(x).shape == (1, 3)
    assert (backbone.num_features, backbone.head_hidden_size) == (12, 10)
    backbone.prune_intermediate_layers([0])
    assert not any(name.startswith("head") for name in backbone.state_dict())
    backbone.reset_classifier(5, "avg")
    assert backbone(x).shape == (1, 5)


def test_stages_may_have_blocks_of_their_own():
    block = blocks_by_stage({"s1": {}, "s2": {"mlp_ratio": 3.0, "layer_scale": 1e-6}}, mlp_ratio=2.0, layer_scale=None)
    first, second = (stage.blocks[0] for stage in model(block=block).stages)
    assert isinstance(first, Block)
    assert isinstance(first.ffn, FeedForward)
    assert (first.ffn.fc1.out_features, second.ffn.fc1.out_features) == (16, 36)
    assert isinstance(first.scale1, nn.Identity)
    assert second.scale1.gamma.detach()[0].item() == pytest.approx(1e-6)


@pytest.mark.parametrize("scaled", [False, True])
def test_context_broadcasting_adds_the_mean_of_all_tokens(scaled):
    torch.manual_seed(0)
    layer = ContextBroadcasting(6, 12, scaled=scaled).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    plain = layer.ffn(x)
    if scaled:
        torch.testing.assert_close(layer(x), plain)  # the scales start at 0
        layer.scale.data.normal_()
    means = torch.stack([one.flatten(0, 1).mean(0) for one in plain])[:, None, None]
    torch.testing.assert_close(layer(x), plain + means * layer.scale if scaled else (plain + means) / 2)
    if not scaled:  # before the second layer it is the same
        hidden = layer.ffn.act(layer.ffn.fc1(x))
        torch.testing.assert_close(layer.ffn.fc2((hidden + hidden.mean((1, 2), keepdim=True)) / 2), layer(x))
    assert layer(x[:, 0]).shape == (2, 5, 6)


def test_context_broadcasting_goes_into_every_block_of_a_backbone():
    cfg = compose("backbone_only", ["backbone=dinat_pico", "+block@backbone.block=context_broadcasting"])
    model = DEFAULT_POLICY.instantiate(cfg.backbone, num_classes=3)
    blocks = [block for stage in model.stages for block in stage.blocks]
    assert {type(block.ffn) for block in blocks} == {ContextBroadcasting}
    assert model(torch.randn(1, 3, 40, 64)).shape == (1, 3)


def test_blocks_of_a_stage_differ_in_turn():
    build = partial(Stage, 8, 8, 2, Pooling, Block, [0.0, 0.0, 0.1], first=True, downsample=PatchMerging)
    branches = {"mixer": None, "local": LocalConcentration, "ffn": None}
    stage = build(in_turn=[{"mlp_ratio": 2}, {"mlp_ratio": 3, "branches": branches}])
    assert [block.ffn.fc1.out_features for block in stage.blocks] == [16, 24, 16]
    assert isinstance(stage.blocks[1].local, LocalConcentration)
    assert not any(hasattr(stage.blocks[i], "local") for i in (0, 2))
    with pytest.raises(ValueError, match="the arguments of one block at least, got none"):
        build(in_turn=[])


def test_a_block_runs_its_branches_in_the_order_of_their_names():
    branches = {"before": ConvPosition, "ffn": None, "between": LocalConcentration, "mixer": None}
    block, x = Block(6, Pooling(6, 2), branches=branches).eval(), torch.randn(2, 5, 4, 6)
    y = block.before(x)
    y = block.between(y + block.ffn(block.norm2(y)))
    torch.testing.assert_close(block(x), y + block.mixer(block.norm1(y)))
    assert [name for name in ("before", "between") if f"{name}.conv.weight" in block.state_dict()] == ["before"]


def test_one_position_stands_before_both_branches():
    """The names of the weights are those of before there were branches by name."""
    block, x = Block(6, Pooling(6, 2), position=ConvPosition), torch.randn(2, 5, 4, 6)
    y = block.position1(x)
    y = block.position2(y + block.mixer(block.norm1(y)))
    torch.testing.assert_close(block(x), y + block.ffn(block.norm2(y)))
    assert Block(6, Pooling(6, 2), position=[None, ConvPosition]).branches == ("mixer", "position2", "ffn")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"branches": {"mixer": None}}, "hold mixer and ffn without a value"),
        ({"branches": {"mixer": Pooling, "ffn": None}}, "hold mixer and ffn without a value"),
        ({"branches": {"mixer": None, "ffn": None, "more": None}}, "branch more of a block has no factory"),
        ({"branches": {"mixer": None, "ffn": None, "norm1": ConvPosition}}, "a part norm1 already"),
        ({"branches": {"mixer": None, "ffn": None}, "position": ConvPosition}, "position cannot be given beside them"),
    ],
)
def test_branches_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Block(6, Pooling(6, 2), **arguments)


def test_a_branch_with_a_mixer_is_left_out_unless_it_must_stay():
    x = torch.randn(2, 3, 3, 6)
    gone, stays = (
        ResidualMixer(6, 2, mixer=FullAttention, droppable=droppable, drop_path=1 - 1e-9).train()
        for droppable in (True, False)
    )
    assert torch.equal(gone(x), x)
    torch.testing.assert_close(stays(x), x + stays.mixer(stays.norm(x)))


def test_a_branch_with_a_mixer_has_the_heads_of_its_stage():
    branches = {"mixer": None, "more": partial(ResidualMixer, mixer=FullAttention), "ffn": None}
    block = partial(Block, branches=branches)
    stage = Stage(8, 8, 4, Pooling, block, [0.0], first=True, downsample=PatchMerging)
    assert stage.blocks[0].more.mixer.num_heads == 4
    with pytest.raises(ValueError, match="dim 8 is not a multiple of num_heads 3"):
        Stage(8, 8, 3, Pooling, block, [0.0], first=True, downsample=PatchMerging)
    with pytest.raises(ValueError, match="branch more of a block has heads: the block needs num_heads"):
        block(8, Pooling(8, 2))


def test_local_concentration_norms_between_its_activation_and_its_second_convolution():
    part, x = LocalConcentration(6, kernel_size=3).eval(), torch.randn(2, 5, 3, 6)
    nn.init.normal_(part.bn.running_mean)
    local = part.bn(F.gelu(part.conv1(part.norm(x).permute(0, 3, 1, 2))))
    torch.testing.assert_close(part(x), x + part.conv2(local).permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match="must be odd to keep the size of the map, got 4"):
        LocalConcentration(6, kernel_size=4)


def test_a_stem_may_enlarge_the_image_first_and_norm_the_map():
    image = torch.randn(1, 3, 9, 14)
    plain = StridedConvStem(3, 8, bias=True).eval()
    stem = StridedConvStem(3, 8, bias=True, whole=True, norm=nn.LayerNorm).eval()
    assert stem.load_state_dict(plain.state_dict(), strict=False).missing_keys == ["norm.weight", "norm.bias"]
    want = F.layer_norm(plain(F.pad(image, (0, 2, 0, 3))), (8,))
    torch.testing.assert_close(stem(image), want)
    assert stem(image).shape == (1, 3, 4, 8)
    assert not torch.allclose(F.layer_norm(plain(image), (8,)), want)  # its border lies elsewhere
