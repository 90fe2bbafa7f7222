"""The decoders: published parameter counts, any maps, and what they refuse."""

import operator
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import visionattn
from visionattn.errors import ConfigError
from visionattn.export.graph_modules import traceable
from visionattn.export.graphs import exported
from visionattn.heads.features import FeatureNorms, check_maps
from visionattn.heads.segmentation import FullyConvolutional, SegFormerHead, SegmentationHead, SemanticFPN, UPerNet
from visionattn.heads.segmentation.upernet import PyramidPooling
from visionattn.kernels.geometry import rounded_up

SMALL = {
    "upernet": partial(UPerNet, channels=16),
    "semantic_fpn": partial(SemanticFPN, channels=16, branch_channels=8),
    "segformer": partial(SegFormerHead, channels=16),
}


def info(*dims, first=4):
    return [{"num_chs": dim, "reduction": first * 2**i, "module": f"stages.{i}"} for i, dim in enumerate(dims)]


def maps(feature_info, height=64, width=96, batch=2):
    return [
        torch.randn(batch, entry["num_chs"], -(-height // entry["reduction"]), -(-width // entry["reduction"]))
        for entry in feature_info
    ]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_upernet_with_swin_tiny_has_the_published_number_of_parameters():
    # mmsegmentation prints 59.94 M: backbone with four output norms, UPerHead of 512, auxiliary head of 256
    backbone = visionattn.create_backbone("swin_tiny", num_classes=0)
    head = SegmentationHead(backbone.feature_info, 150, decoder=UPerNet, auxiliary=FullyConvolutional)
    assert count(head.norms) == 2 * (96 + 192 + 384)
    assert count(head.decoder) == 31_497_366
    assert count(head.auxiliary) == 384 * 256 * 9 + 2 * 256 + 256 * 150 + 150
    assert count(backbone) + count(head) == 59_941_862


def test_semantic_fpn_and_segformer_have_the_published_numbers():
    assert count(SemanticFPN(info(256, 512, 1024, 2048), 150)) == 28_495_574 - 23_508_032  # with and without ResNet-50
    assert count(SegFormerHead(info(32, 64, 160, 256), 150)) == 433_302  # B0: 0.4 M
    assert count(SegFormerHead(info(64, 128, 320, 512), 150, channels=768)) == 3_265_686  # B2 to B5: 3.3 M


@pytest.mark.parametrize("decoder", SMALL.values(), ids=SMALL.keys())
@pytest.mark.parametrize("size", [(64, 96), (50, 37)])
def test_logits_have_the_size_of_the_first_map_and_reach_every_parameter(decoder, size):
    for dims in ((8, 12, 16), (8, 12, 16, 24)):
        feature_info = info(*dims)
        head = SegmentationHead(feature_info, 5, decoder=decoder, auxiliary=partial(FullyConvolutional, channels=8))
        features = maps(feature_info, *size)
        logits, extra = head(features)
        assert logits.shape == (2, 5, *features[0].shape[-2:])
        assert extra.shape == (2, 5, *features[-2].shape[-2:])
        (logits.square().sum() + extra.square().sum()).backward()
        assert all(parameter.grad is not None for parameter in head.parameters())
        assert head.eval()(features)[1] is None


def test_upernet_is_its_formula():
    torch.manual_seed(0)
    feature_info = info(4, 6, 8)
    head = UPerNet(feature_info, 3, channels=5, pool_sizes=(1, 2)).eval().double()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight)
    f = [x.double() for x in maps(feature_info, 40, 24)]

    def block(module, x):
        conv, norm = module[0], module[1]
        x = F.conv2d(x, conv.weight, padding=conv.weight.shape[-1] // 2)
        x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
        return (x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)

    def up(x, like):
        return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

    pooled = [f[2]] + [
        up(block(pool[1], F.adaptive_avg_pool2d(f[2], n)), f[2])
        for pool, n in zip(head.pooling.pools, (1, 2), strict=True)
    ]
    p2 = block(head.pooling.fuse, torch.cat(pooled, 1))
    p1 = block(head.lateral[1], f[1]) + up(p2, f[1])
    p0 = block(head.lateral[0], f[0]) + up(p1, f[0])
    levels = [block(head.smooth[0], p0), up(block(head.smooth[1], p1), f[0]), up(p2, f[0])]
    fused = block(head.fuse, torch.cat(levels, 1))
    expected = F.conv2d(fused, head.classify[1].weight, head.classify[1].bias)
    torch.testing.assert_close(head(f), expected, rtol=1e-12, atol=1e-12)


def test_feature_norms_normalize_channels_and_leave_the_last_map():
    feature_info = info(8, 12)
    features = maps(feature_info)
    normed = FeatureNorms(feature_info)(features)
    assert normed[1] is features[1]
    torch.testing.assert_close(normed[0].mean(1), torch.zeros_like(normed[0][:, 0]), atol=1e-5, rtol=0)
    assert FeatureNorms(feature_info, "none")(features)[0] is features[0]
    assert count(FeatureNorms(feature_info, "all")) == 2 * (8 + 12)
    with pytest.raises(ValueError, match="lower, all, instead, none"):
        FeatureNorms(feature_info, "some")


def test_wrong_maps_are_named_by_their_stage():
    feature_info = info(8, 12, 16)
    good = maps(feature_info)
    check_maps(good, feature_info)
    with pytest.raises(ValueError, match=r"stages\.1 declares 12 channels"):
        check_maps([good[0], good[0], good[2]], feature_info)
    with pytest.raises(ValueError, match=r"stages\.2 declares stride 16"):
        check_maps([good[0], good[1], torch.randn(2, 16, 8, 12)], feature_info)
    with pytest.raises(ValueError, match="declares 3 maps and gives 2"):
        check_maps(good[:2], feature_info)


def test_semantic_fpn_refuses_strides_it_cannot_double():
    strange = info(8, 12)
    strange[1]["reduction"] = 12
    with pytest.raises(ValueError, match=r"stages\.1 has stride 12"):
        SemanticFPN(strange, 5)


def test_upernet_says_why_one_image_is_too_few():
    head = UPerNet(info(8, 12), 3, channels=8)
    with pytest.raises(ConfigError, match=r"data\.batch_size=2"):
        head(maps(info(8, 12), batch=1))
    assert head.eval()(maps(info(8, 12), batch=1)).shape[0] == 1


def test_pyramid_pooling_becomes_a_graph_of_any_batch_and_size():
    pooling = traceable(PyramidPooling(8, 4).eval())
    program = exported(pooling, torch.rand(2, 8, 13, 11)).module()
    for size in ((1, 8, 5, 7), (3, 8, 16, 9)):
        x = torch.rand(size)
        torch.testing.assert_close(program(x), pooling(x))


def test_sizes_are_rounded_up_in_graphs_too():
    """In whole numbers from 0 on: ONNX rounds negative quotients towards 0."""

    class Sizes(torch.nn.Module):
        def forward(self, x):
            return x.new_zeros([rounded_up(side, 4) for side in x.shape[-2:]])

    program = exported(Sizes(), torch.rand(2, 1, 13, 11))
    assert program.module()(torch.rand(1, 1, 16, 17)).shape == (4, 5)
    assert operator.neg not in [node.target for node in program.graph.nodes]
