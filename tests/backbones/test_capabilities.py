"""What a user's own mixer declares, its stage gives; what it does not declare, it does not get."""

from functools import partial

import pytest
import torch
from torch import nn

from visionattn.attention import FullAttention
from visionattn.backbones import Block, CarrierStage, GCViTStage


class Mine(nn.Module):
    """Adds the mean of the map and, where its stage computed one, that of the global query."""

    def __init__(self, dim: int, num_heads: int, index: int, **declarations: object):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.seen: list = []
        for name, value in declarations.items():
            setattr(self, name, value)

    def forward(self, x, context=None):
        tokens = None if context is None else context.tokens
        self.seen.append(None if tokens is None else tuple(tokens.shape))
        return self.scale * x.mean((1, 2), keepdim=True).expand(x.shape)


class MineWithCarriers(Mine):
    """Carriers and tokens of a window are averaged; so are all carriers."""

    def __init__(self, dim: int, num_heads: int, index: int):
        super().__init__(dim, num_heads, index, carriers=1, encoded_window=2)

    def with_carriers(self):
        return WindowMean()

    def among_carriers(self):
        return FullAttention(self.scale.numel(), 1)


class WindowMean(nn.Module):
    def forward(self, tokens, context=None):
        return tokens.mean(3, keepdim=True).expand(tokens.shape)


def build(stage, mixer):
    return stage(8, 8, 2, mixer, Block, [0.0, 0.0], first=True, downsample=nn.Identity)


def test_own_norms_leave_nothing_but_a_residual():
    x = torch.randn(2, 4, 5, 8)
    bare = build(CarrierStage, partial(Mine, own_norms=True))
    assert {name.split(".")[-1] for name, _ in bare.named_parameters()} == {"scale"}
    want = x
    for _ in range(2):
        want = want + want.mean((1, 2), keepdim=True)
    torch.testing.assert_close(bare(x), want)
    assert [type(block) for block in build(CarrierStage, partial(Mine, own_norms=False)).blocks] == [Block, Block]


def test_a_global_query_is_computed_for_a_mixer_that_declares_halvings():
    x = torch.randn(2, 8, 12, 8)
    for halvings, shape in ((0, (2, 8, 12, 8)), (1, (2, 4, 6, 8)), (2, (2, 2, 3, 8))):
        stage = build(GCViTStage, partial(Mine, halvings=halvings))
        stage(x)
        assert [block.mixer.seen for block in stage.blocks] == [[shape], [shape]]


@pytest.mark.parametrize("stage", [GCViTStage, CarrierStage])
def test_a_mixer_that_declares_nothing_gets_the_ordinary_block_and_no_tokens(stage):
    built = build(stage, Mine)
    assert getattr(built, "global_query", None) is None
    assert [type(block) for block in built.blocks] == [Block, Block]
    built(torch.randn(1, 4, 4, 8))
    assert built.blocks[0].mixer.seen == [None]


def test_mixers_that_declare_different_halvings_cannot_share_a_query():
    def mixer(dim, num_heads, index):
        return Mine(dim, num_heads, index, halvings=index)

    with pytest.raises(ValueError, match=r"one global query, but ask for \[0, 1\] halvings"):
        build(GCViTStage, mixer)


def test_windows_of_a_users_mixer_are_connected_by_its_carriers():
    stage = build(CarrierStage, MineWithCarriers).double().eval()
    x = torch.randn(1, 4, 6, 8, dtype=torch.float64)
    other = x.clone()
    other[:, 2:, 4:] += torch.randn(2, 2, 8, dtype=torch.float64)  # the last window
    changed = (stage(other) - stage(x)).abs().amax(dim=(0, 3)) > 1e-12
    assert changed.all()
    assert stage(x[:, :3, :5]).shape == (1, 3, 5, 8)


@pytest.mark.parametrize("missing", ["encoded_window", "with_carriers"])
def test_carriers_without_what_they_need_are_refused(missing):
    class Incomplete(MineWithCarriers):
        def __init__(self, dim, num_heads, index):
            super().__init__(dim, num_heads, index)
            if missing == "encoded_window":
                del self.encoded_window

    mixer = Incomplete if missing == "encoded_window" else partial(Mine, carriers=1, encoded_window=2)
    with pytest.raises(TypeError, match=r"declares carriers=1; it also needs encoded_window, with_carriers\(\)"):
        build(CarrierStage, mixer)


def test_an_encoded_window_adds_positions_and_enlarges_the_map():
    stage = build(CarrierStage, partial(Mine, encoded_window=3)).double().eval()
    assert all(hasattr(block, "encoding") for block in stage.blocks)
    assert stage(torch.randn(1, 4, 5, 8, dtype=torch.float64)).shape == (1, 4, 5, 8)
    assert stage.blocks[0].local.mixer.seen == [None]
