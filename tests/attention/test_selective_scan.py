"""The mixer ``scan`` against the published order of work, with the published parameters."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.attention import SelectiveScan


def published(module: SelectiveScan, x: Tensor) -> Tensor:
    """The map copied four times into the order of the scans, projected there, scanned token by token, and added up."""
    image = x.permute(0, 3, 1, 2)
    channels, height, width = image.shape[1:]
    lines = torch.stack([image.flatten(2), image.transpose(2, 3).flatten(2)], dim=1)
    lines = torch.cat([lines, lines.flip(3)], dim=1)
    chosen = F.conv1d(lines.flatten(1, 2), module.x_proj_weight, groups=4).unflatten(1, (4, -1))
    low, b, c = chosen.split([module.rank, module.state, module.state], dim=2)
    delta = F.conv1d(low.flatten(1, 2), module.dt_projs_weight.reshape(4 * channels, -1, 1), groups=4)
    step = F.softplus(delta + module.dt_projs_bias.reshape(-1, 1)).unflatten(1, (4, -1))
    a, h, out = -module.A_logs.exp().view(4, channels, -1), torch.zeros((), dtype=x.dtype), []
    for t in range(height * width):
        now = step[..., t, None]
        h = (now * a).exp() * h + now * lines[..., t, None] * b[:, :, None, :, t]
        out.append((h * c[:, :, None, :, t]).sum(-1))
    scanned = torch.stack(out, dim=-1) + module.Ds.view(4, channels, 1) * lines
    rows, columns = (scanned[:, way] + scanned[:, way + 2].flip(2) for way in (0, 1))
    merged = rows.unflatten(2, (height, width)) + columns.unflatten(2, (width, height)).transpose(2, 3)
    return merged.permute(0, 2, 3, 1)


@pytest.mark.parametrize(("dim", "state", "size"), [(20, 1, (4, 5)), (8, 3, (1, 6)), (33, 1, (5, 2))])
def test_equals_the_published_order_of_work(dim: int, state: int, size: tuple[int, int]) -> None:
    module = SelectiveScan(dim, state=state).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, *size, dim, dtype=torch.float64)
    torch.testing.assert_close(module(x), published(module, x), rtol=1e-10, atol=1e-11)


def test_parameters_have_the_published_names_and_shapes() -> None:
    shapes = {name: tuple(parameter.shape) for name, parameter in SelectiveScan(40).named_parameters()}
    assert shapes == {
        "x_proj_weight": (20, 40, 1),
        "dt_projs_weight": (4, 40, 3),
        "dt_projs_bias": (4, 40),
        "A_logs": (160, 1),
        "Ds": (160,),
    }
    wide = dict(SelectiveScan(8, expansion=2.0, state=2).named_parameters())
    assert (wide["proj.weight"].shape, wide["yproj.weight"].shape) == ((16, 8), (8, 16))
    assert wide["A_logs"].shape == (64, 2)


def test_steps_start_between_a_thousandth_and_a_tenth() -> None:
    torch.manual_seed(0)
    steps = F.softplus(SelectiveScan(64).dt_projs_bias)
    assert 1e-3 * 0.999 < steps.min() < 2e-3
    assert 0.08 < steps.max() < 0.1001
    assert math.isclose(float(SelectiveScan(4, state=3).A_logs[0, 2].detach().exp()), 3, rel_tol=1e-6)


def test_sizes_that_leave_nothing_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="state 0, rank 1, 8 channels"):
        SelectiveScan(8, state=0)
    with pytest.raises(ValueError, match="rank 1, 0 channels"):
        SelectiveScan(4, expansion=0.1)
