"""What every mixer in conf/mixer promises. A new file there is tested without a change here."""

from importlib import resources

import pytest
import torch
from torch import nn

from visionattn import config

MIXERS = sorted(
    file.name.removesuffix(".yaml")
    for file in (resources.files("visionattn.conf") / "mixer").iterdir()
    if file.name.endswith(".yaml")
)
SIZES = [(1, 1), (2, 3), (7, 7), (8, 8), (11, 13), (17, 5)]


def build(name: str, index: int = 0, dim: int = 16, num_heads: int = 4) -> nn.Module:
    return config.instantiate(config.compose(f"mixer/{name}").mixer)(dim=dim, num_heads=num_heads, index=index)


def randomised(module: nn.Module) -> nn.Module:
    for param in module.parameters():
        nn.init.normal_(param, std=0.2)
    return module


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", MIXERS)
def test_keeps_the_shape_at_any_size(name, index):
    mixer = build(name, index)
    for size in SIZES:
        x = torch.randn(2, *size, 16)
        y = mixer(x)
        assert y.shape == x.shape
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", MIXERS)
def test_every_parameter_and_the_input_get_a_gradient(name, index):
    mixer = randomised(build(name, index))
    x = torch.randn(1, 19, 17, 16, requires_grad=True)
    (mixer(x) * torch.randn(1, 19, 17, 16)).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for parameter_name, param in mixer.named_parameters():
        assert param.grad is not None, parameter_name
        assert param.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", MIXERS)
def test_images_of_a_batch_do_not_see_each_other(name):
    mixer = randomised(build(name, 1)).double().eval()  # in training, batch norms mix by design
    x = torch.randn(3, 9, 10, 16, dtype=torch.float64)
    together = mixer(x)
    for i in range(3):
        torch.testing.assert_close(mixer(x[i : i + 1]), together[i : i + 1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MIXERS)
def test_does_not_write_into_its_input(name):
    x = torch.randn(1, 9, 10, 16)
    before = x.clone()
    build(name, 1)(x)
    assert torch.equal(x, before)
