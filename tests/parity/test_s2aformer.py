"""S2AFormer: there is no published code to compare with, so its equations are written out here."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import visionattn
from visionattn.attention import StripSelfAttention
from visionattn.backbones import zoo
from visionattn.backbones.cost import count_parameters
from visionattn.backbones.families.s2aformer import HybridPerceptionBlock, ThreeConvStem

NAMES = visionattn.list_backbones("s2aformer*")
REDUCTIONS = (8, 4, 2, 1)


def excited(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double().eval()


def expected_parameters(dims, depths, heads):
    """Counted by hand from the description."""
    half, total = dims[0] // 2, 0
    total += 3 * half * 9 + 2 * half * half * 9 + 3 * 2 * half + half * dims[0] * 9 + 3 * dims[0]  # stem
    for i, (c, depth, n, r) in enumerate(zip(dims, depths, heads, REDUCTIONS, strict=True)):
        if i:
            total += dims[i - 1] * c * 9 + 3 * c  # patch embedding
        attention = 2 * 8 * n * c + 8 * n + 2 * (c * c + c) + (c * r * r + 3 * c if r > 1 else 0)
        local_interaction = 2 * (c * c + c) + 10 * c
        total += depth * (10 * c + attention + local_interaction + 8 * c * c + 5 * c + 3 * 2 * c)
    return total + 2 * dims[-1] + 1001 * dims[-1] - dims[-1] + 1000


def test_three_sizes():
    assert NAMES == ["s2aformer_base", "s2aformer_small", "s2aformer_tiny"]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_description(name):
    contents = zoo.backbone_files()[name]
    with torch.device("meta"):
        model = visionattn.create_backbone(name)
    expected = expected_parameters(contents["dims"], contents["depths"], contents["num_heads"])
    assert count_parameters(model) == contents["card"]["params"] == expected


@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 3)])
def test_attention_equals_the_equations_written_out(size, reduction):
    mixer = excited(StripSelfAttention(12, 3, reduction=reduction, thin=2))
    x = torch.randn(2, *size, 12, dtype=torch.float64)
    rows, columns = (-(-side // reduction) for side in size)
    cells = x
    if reduction > 1:
        padded = torch.zeros(2, rows * reduction, columns * reduction, 12, dtype=torch.float64)
        padded[:, : size[0], : size[1]] = x
        parts = padded.view(2, rows, reduction, columns, reduction, 12)
        kernel = mixer.reduce.weight[:, 0].permute(1, 2, 0)  # (row in the cell, column in the cell, channel)
        sums = (parts * kernel[None, None, :, None]).sum((2, 4)) + mixer.reduce.bias
        cells = F.layer_norm(sums, (12,), mixer.norm.weight, mixer.norm.bias)
    out = torch.empty(2, *size, 12, dtype=torch.float64)
    for head in range(3):
        thin, full = slice(2 * head, 2 * head + 2), slice(4 * head, 4 * head + 4)
        q, k, v = mixer.q(x)[..., thin], mixer.k(cells)[..., thin], mixer.v(cells)[..., full]
        logits = torch.einsum("bhwt,byxt->bhwyx", q, k) / 2**0.5
        weights = logits.flatten(3).softmax(-1).view_as(logits)
        out[..., full] = torch.einsum("bhwyx,byxd->bhwd", weights, v)
    torch.testing.assert_close(mixer(x), mixer.proj(out), rtol=1e-10, atol=1e-10)


def test_queries_and_keys_are_thin_and_values_are_not():
    mixer = StripSelfAttention(64, 4, reduction=4)
    assert (mixer.q.out_features, mixer.k.out_features, mixer.v.out_features) == (32, 32, 64)
    assert mixer.cells(torch.randn(1, 9, 16, 64)).shape == (1, 3, 4, 64)


def test_the_block_is_the_four_residual_equations():
    block = excited(HybridPerceptionBlock(8, StripSelfAttention(8, 2, reduction=2)))
    x = torch.randn(2, 5, 6, 8, dtype=torch.float64)

    def convolved(conv, value):
        return conv(value.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    f1 = x + convolved(block.position1.conv, x)
    f2 = f1 + block.mixer(block.norm1(f1))
    local = block.position2
    f3 = f2 + local.proj(F.gelu(convolved(local.conv, local.mix(local.norm(f2)))))
    f4 = f3 + block.ffn(block.norm2(f3))
    torch.testing.assert_close(block(x), f4, rtol=1e-10, atol=1e-10)


def test_drop_path_leaves_out_the_branches_after_the_convolution():
    block = HybridPerceptionBlock(8, StripSelfAttention(8, 2), drop_path=1 - 1e-9).train()
    x = torch.randn(2, 4, 4, 8)
    torch.testing.assert_close(block(x), block.position1(x))


@pytest.mark.parametrize(("size", "map_size"), [((32, 32), (8, 8)), ((33, 47), (9, 12)), ((1, 5), (1, 2))])
def test_the_stem_rounds_the_map_up(size, map_size):
    stem = ThreeConvStem(3, 16).eval()
    assert stem(torch.randn(1, 3, *size)).shape == (1, *map_size, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 5}, "dim 16 is not a multiple of num_heads 5"),
        ({"num_heads": 4, "reduction": 0}, "must be positive, got 0 and 8"),
        ({"num_heads": 4, "thin": 0}, "must be positive, got 1 and 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StripSelfAttention(16, **arguments)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(200, 333), (256, 320), (33, 47)])
def test_four_levels_at_any_size(name, size):
    model = visionattn.create_backbone(name, features_only=True, overrides=("depths=[1,1,1,1]",)).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, *size))
    for feature, channels, stride in zip(maps, model.feature_info.channels(), (4, 8, 16, 32), strict=True):
        assert feature.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.isfinite(feature).all()


def test_images_of_a_batch_do_not_see_each_other():
    model = excited(visionattn.create_backbone("s2aformer_tiny", num_classes=3, overrides=("depths=[1,1,1,1]",)))
    images = torch.randn(3, 3, 72, 40, dtype=torch.float64)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-9, atol=1e-9)
