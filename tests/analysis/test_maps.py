"""Attention maps: exact for every mixer that has a matrix, on any size, and what is chosen is checked first."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import visionattn
from visionattn import analysis
from visionattn.analysis.implicit import implicit_attention
from visionattn.analysis.trace import Part, Recording
from visionattn.attention import (
    AdditiveMixing,
    AgentAttention,
    Alternate,
    BiLevelRoutingAttention,
    ChannelAttention,
    ContentFreeAttention,
    ContinuousWindowAttention,
    CosineWindowAttention,
    CrossShapedAttention,
    DepthwiseConvolution,
    FullAttention,
    GlobalQueryAttention,
    GridAttention,
    LocallyEnhancedAttention,
    MultipoleAttention,
    MultiScaleAttention,
    NeighborhoodAttention,
    NoMixing,
    OverlappingWindowAttention,
    Parallel,
    Pooling,
    SingleHeadAttention,
    StripSelfAttention,
    WindowAttention,
)
from visionattn.backbones import HierarchicalBackbone
from visionattn.backbones.families.fastervit import CarrierStage
from visionattn.backbones.stem import PatchMerging
from visionattn.kernels.recording import RecordedMap, RecordedTokens
from visionattn.kernels.routed import RecordedRoutes

MIXERS = {
    "window": partial(WindowAttention, window_size=4),
    "window_cut": partial(WindowAttention, window_size=4, mask_padding=True),
    "window_rectangle": partial(WindowAttention, window_size=(2, 5), bias=False),
    "grid": partial(GridAttention, grid_size=3),
    "neighborhood": partial(NeighborhoodAttention, kernel_size=3, dilation=[1, 2]),
    "strided": partial(NeighborhoodAttention, kernel_size=4, stride=2),
    "strips": partial(CrossShapedAttention, strip_size=2),
    "strips_cut": partial(CrossShapedAttention, strip_size=4, mask_padding=True),
    "strips_padded": partial(CrossShapedAttention, strip_size=4),
    "full": FullAttention,
    "enhanced": LocallyEnhancedAttention,
    "global_query": partial(GlobalQueryAttention, window_size=4),
    "continuous": partial(ContinuousWindowAttention, window_size=4),
    "strip_self": partial(StripSelfAttention, reduction=2, thin=4),
    "parallel": Parallel([partial(WindowAttention, window_size=4), partial(NeighborhoodAttention, kernel_size=3)]),
    "alternate": Alternate([partial(WindowAttention, window_size=4), FullAttention]),
    "cosine": partial(CosineWindowAttention, window_size=4),
    "overlapping": partial(OverlappingWindowAttention, window_size=4, overlap=1),
    "zero_padded": partial(NeighborhoodAttention, kernel_size=3, dilation=2, zero_padding=True),
    "multi_scale": partial(MultiScaleAttention, kernel_sizes=[2, 3]),
    "multipole": partial(MultipoleAttention, window_size=4, levels=2),
    "position_only": partial(ContentFreeAttention, window_size=4),
    "agents": partial(AgentAttention, agents=2, map_size=6),
    "routed": partial(BiLevelRoutingAttention, regions=3, topk=2, lepe=None),
    "carriers": partial(ContinuousWindowAttention, window_size=4, carriers=2),
}
WITHOUT = {"convolution": partial(DepthwiseConvolution, kernel_size=3), "pooling": Pooling, "channel": ChannelAttention}
WITHOUT |= {"additive": AdditiveMixing}


def backbone(mixer, dims=(16, 32), **options):
    """Two stages of two blocks, in float64."""
    mixers = {f"s{i + 1}": mixer for i in range(len(dims))}
    stage = partial(CarrierStage, downsample=PatchMerging)
    model = HierarchicalBackbone(
        dims, [2] * len(dims), [4] * len(dims), mixers, stage=stage, num_classes=5, **options
    )  # fmt: skip
    for parameter in model.parameters():  # a head of its own for every token
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("size", [(32, 32), (36, 28)])
def test_maps_times_values_are_what_the_mixer_computed(name, size):
    model = backbone(MIXERS[name])
    image = torch.randn(3, *size, dtype=torch.float64)
    kept = analysis.record(model, image)
    seen = 0
    for _, _, part in kept.parts():
        heads = []
        for call in part.matrices:
            rows = call.rows(torch.arange(call.num_queries))
            tokens, maps = isinstance(call, RecordedTokens), isinstance(call, RecordedMap | RecordedRoutes)
            v, out = (call.at_places(x) if tokens else x.flatten(1, 2) if maps else x for x in (call.v, call.out))
            dense = torch.einsum("bnqs,bsne->bqne", rows.dense(call.num_keys), v)
            torch.testing.assert_close(dense, out)
            heads.append(call.num_heads)
        assert sum(heads) == 4
        seen += 1
    assert seen == (8 if name == "carriers" else 4)
    for found in analysis.attention_maps(model, image, [(0.3, 0.9)]):
        torch.testing.assert_close(found.weights.sum((1, 2)) + found.front, found.front.new_ones(len(found.heads)))
        assert found.kind == "attention"
        assert found.real.sum() <= found.weights[0].numel()


def test_the_whole_block_is_computed_again_from_a_map():
    model = backbone(MIXERS["strips_padded"])
    image = torch.randn(3, 36, 28, dtype=torch.float64)
    kept = analysis.record(model, image)
    part = kept.stages[0].blocks[0].parts[0]
    down, across = (call for call in part.matrices)
    assert (down.query_grid, across.query_grid) == ((9, 8), (12, 7))
    maps = analysis.attention_maps(model, image, (0.0, 0.0), stages="s1", blocks=0)
    vertical, horizontal = maps
    assert (vertical.heads, horizontal.heads) == ((0, 1), (2, 3))
    assert vertical.origin == (0.0, 0.0)  # one missing column stands behind the map
    assert horizontal.origin == (-4.0, 0.0)  # one of three missing rows stands before it
    assert horizontal.real.any(1).tolist() == [False] + 9 * [True] + 2 * [False]
    assert 0 < horizontal.padding[0] < 1


def test_a_window_sees_its_own_tokens_and_a_shifted_one_the_others():
    model = backbone(MIXERS["window"])
    first, second = analysis.attention_maps(model, torch.randn(3, 32, 32).double(), (0.5, 0.5), stages=1)
    rows = [(found.weights[0] > 0).any(1).nonzero().flatten().tolist() for found in (first, second)]
    assert first.token == (4, 4)
    assert rows == [[4, 5, 6, 7], [2, 3, 4, 5]]


@pytest.mark.parametrize("name", WITHOUT)
def test_a_mixer_without_a_matrix_gets_its_implicit_attention(name):
    model = backbone(WITHOUT[name])
    found = analysis.attention_maps(model, torch.randn(3, 32, 32).double(), (0.5, 0.5), stages="s1", blocks=[0])
    (only,) = found
    assert only.kind == "implicit"
    assert only.mixer == type(model.stages[0].blocks[0].mixer).__name__
    torch.testing.assert_close(only.weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    reached = (only.weights[0] > 0).nonzero().tolist()
    assert len(reached) == (64 if name in ("channel", "additive") else 9)


def test_new_mixers_without_heads_can_be_looked_at():
    model = backbone(Alternate([partial(SingleHeadAttention, qk_dim=4), NoMixing]))
    seen, nothing = analysis.attention_maps(model, torch.randn(3, 32, 32).double(), (0.5, 0.5), stages=1, heads=0)
    assert (seen.kind, seen.weights.shape) == ("attention", (1, 8, 8))
    assert (nothing.kind, float(nothing.weights.sum())) == ("implicit", 0.0)


def test_implicit_attention_is_the_size_of_the_derivatives():
    mixer = DepthwiseConvolution(4, kernel_size=3)
    nn.init.constant_(mixer.conv.weight, 1.0)
    mixer.conv.weight.data[:, :, 0, 0] = 3.0
    found = implicit_attention(Part("mixer", mixer, (torch.randn(1, 5, 5, 4),)), (2, 2))
    torch.testing.assert_close(found[1, 1] / found[2, 2], torch.tensor(3.0))
    torch.testing.assert_close(found[1:4, 1:4].sum(), torch.tensor(1.0))


def test_recording_changes_no_output_and_ends_with_its_context():
    model = visionattn.create_backbone("swin_pico", num_classes=4).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = model(image)
        with analysis.recording(model) as kept:
            seen = model(image)
        again = model(image)
    assert torch.equal(plain, again)
    torch.testing.assert_close(plain, seen)
    assert [stage.grid for stage in kept.stages] == [(8, 8), (4, 4), (2, 2)]
    assert kept.stages[0].blocks[1].parts[0].matrices[0].q.shape == (2, 8, 8, 2, 24)
    before = len(kept.stages[0].blocks[1].parts[0].calls)
    model(image)
    assert len(kept.stages[0].blocks[1].parts[0].calls) == before
    assert not any(module._forward_hooks for module in model.modules())


def test_each_image_of_a_batch_is_itself():
    model = backbone(MIXERS["window"])
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad(), analysis.recording(model) as kept:
        model(images)
    alone = analysis.record(model, images[1])
    for (_, _, both), (_, _, one) in zip(kept.parts(), alone.parts(), strict=True):
        at = torch.arange(4)
        torch.testing.assert_close(both.matrices[0].rows(at).weights[1:], one.matrices[0].rows(at).weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"points": (0.5, 1.5)}, "the point \\[0.5, 1.5\\] lies outside of the image"),
        ({"points": "middle"}, "a point is \\[row, column\\]"),
        ({"points": [(112, 112)]}, "shares of the image's height and width"),
        ({"stages": "s4"}, "the model has no stage s4; its stages are s1, s2, s3"),
        ({"stages": 0}, "the model has no stage 0"),
        ({"blocks": 2}, "no block 2 in the blocks of s1, s2, s3: blocks are counted from 0, and they are 0 to 1"),
        ({"stages": ["s1"], "heads": [0, 2]}, "no head 2 in the blocks of s1: heads are counted from 0"),
    ],
)
def test_what_the_model_does_not_have_is_named_before_it_runs(options, words):
    model = visionattn.create_backbone("swin_pico", num_classes=4)
    model.stem.forward = lambda image: pytest.fail("the model ran")
    with pytest.raises(ValueError, match=words):
        analysis.attention_maps(model, torch.randn(3, 32, 32), **options)


def test_other_models_and_batches_are_refused():
    with pytest.raises(ValueError, match="not into a Linear"):
        analysis.attention_maps(nn.Linear(3, 3), torch.randn(3, 32, 32))
    with pytest.raises(ValueError, match="takes one image"):
        analysis.attention_maps(backbone(MIXERS["full"]), torch.randn(2, 3, 32, 32))


def test_heads_of_combinators_are_counted():
    model = backbone(MIXERS["parallel"])
    assert analysis.choosing.heads_of(model.stages[0].blocks[0].mixer) == 4
    assert [part.name for _, _, part in Recording(model).parts()] == ["mixer"] * 4


def test_the_example_of_the_page_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    exec(compile(example, "inspect.md", "exec"), {})
    assert "WindowAttention" in capsys.readouterr().out
