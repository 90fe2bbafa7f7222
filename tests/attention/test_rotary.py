"""Rotary position: the angles, and who computes them."""

import pytest
import torch

from tests.shapes import checked_shapes  # noqa: F401
from visionattn.attention import FullAttention, LocalEncoding, LocallyEnhancedAttention, Rotary, StageContext
from visionattn.attention.qkv import QKVAttention
from visionattn.backbones import Block, HierarchicalBackbone


def complex_turn(x, angles):
    """Turned by multiplication with complex numbers, in float64."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


@pytest.mark.parametrize("axial", [False, True])
def test_pairs_turn_by_their_position(axial):
    x = torch.randn(2, 3, 5, 2, 4, 8)
    rows, columns = torch.arange(3.0).double()[:, None, None], torch.arange(5.0).double()[None, :, None]
    if axial:
        frequency = 10000 ** -torch.linspace(0, 1, 2).double()
        angles = torch.cat([rows * frequency + 0 * columns, columns * frequency + 0 * rows], -1)
    else:
        angles = (5 * rows + columns) * 10000 ** -torch.linspace(0, 1, 4).double()
    want = complex_turn(x, angles[:, :, None, None])
    torch.testing.assert_close(Rotary(8, axial=axial).turn(x, None).double(), want, rtol=0, atol=1e-5)


def test_axial_scores_depend_on_the_difference_of_positions_alone():
    q, k = (torch.randn(8).expand(1, 6, 6, 1, 1, 8) for _ in range(2))
    turned = [Rotary(8, axial=True).turn(x, None)[0, :, :, 0, 0] for x in (q, k)]
    for _ in range(2):
        torch.testing.assert_close(
            (turned[0][1, 2] * turned[1][3, 1]).sum(), (turned[0][2, 4] * turned[1][4, 3]).sum(), atol=1e-5, rtol=0
        )
    assert not torch.allclose((turned[0][1, 2] * turned[1][3, 1]).sum(), (turned[0][1, 2] * turned[1][3, 2]).sum())


def test_bfloat16_is_turned_by_float32_angles():
    x = torch.randn(1, 40, 50, 1, 1, 4)
    want = Rotary(4).turn(x.bfloat16().float(), None)
    torch.testing.assert_close(Rotary(4).turn(x.bfloat16(), None), want.bfloat16())


class Turned(QKVAttention):
    """Full attention with turned queries and keys."""

    def __init__(self, dim, num_heads, index=0):
        super().__init__(dim, num_heads, rotary=Rotary(dim // num_heads), lepe=5)

    attend = FullAttention.attend
    backend = "auto"


def test_a_stage_computes_the_table_once_for_its_blocks(monkeypatch):
    model = HierarchicalBackbone([16, 16], [2, 3], [2, 4], {"s1": Turned, "s2": FullAttention}, num_classes=3).eval()
    computed = []
    table = Rotary.table
    monkeypatch.setattr(Rotary, "table", lambda rule, *args: computed.append(rule.key) or table(rule, *args))
    x = torch.randn(1, 3, 32, 48)
    model(x)
    assert computed == ["flat 8 10000.0"]
    mixer = model.stages[0].blocks[0].mixer
    y = torch.randn(1, 5, 7, 16)
    torch.testing.assert_close(mixer(y), mixer(y, StageContext(rotary={mixer.rotary.key: table(mixer.rotary, 5, 7)})))
    torch.testing.assert_close(mixer(y), mixer(y, StageContext(rotary={mixer.rotary.key: table(mixer.rotary, 4, 7)})))


@pytest.mark.parametrize(("width", "axial", "pairs"), [(7, False, 2), (6, True, 4), (0, False, 2)])
def test_widths_that_cannot_be_paired_are_refused(width, axial, pairs):
    with pytest.raises(ValueError, match=f"head widths that are multiples of {pairs}, got {width}"):
        Rotary(width, axial=axial)


def test_the_encoding_is_a_convolution_of_the_values():
    mixer = LocallyEnhancedAttention(8, 2)
    assert isinstance(mixer.position, LocalEncoding)
    x = torch.randn(1, 4, 6, 8)
    values = mixer.qkv(x)[..., 16:].permute(0, 3, 1, 2)
    encoded = torch.nn.functional.conv2d(values, mixer.position.weight, mixer.position.bias, padding=1, groups=8)
    plain = FullAttention(8, 2)
    plain.load_state_dict({k: v for k, v in mixer.state_dict().items() if "position" not in k})
    want = plain(x) + encoded.permute(0, 2, 3, 1) @ mixer.proj.weight.T
    torch.testing.assert_close(mixer(x), want, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="a positive odd side, got 4"):
        FullAttention(8, 2, lepe=4)


def test_blocks_of_other_classes_share_no_table():
    stage = HierarchicalBackbone([16], [1], [2], {"s1": FullAttention}, block=Block).stages[0]
    assert stage.context(torch.zeros(1, 4, 4, 16)).rotary == {}
