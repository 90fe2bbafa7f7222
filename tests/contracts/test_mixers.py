"""What every mixer in conf/mixer promises. A new file there is tested without a change here.

Presets differ from their mixer in numbers. Each of them is built; of those that differ in sizes alone, one is tested.
"""

from importlib import resources
from inspect import signature
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.shapes import checked_shapes  # noqa: F401
from visionattn import attention, config
from visionattn.config.catalog import choices

ALL = choices("mixer")
FOLDER = resources.files("visionattn.conf") / "mixer"
DIM = 32
"""Enough for gated convolutions of order 5; of fewer channels a ReLU may close all."""
SIZES = [(1, 1), (2, 3), (7, 7), (8, 8), (11, 13), (17, 5)]


def kind(value: Any) -> Any:
    """A value without its size: 1 stays, larger numbers are even or odd."""
    if isinstance(value, dict):
        return frozenset((key, kind(one)) for key, one in value.items())
    if isinstance(value, bool) or not isinstance(value, int):
        return "list" if isinstance(value, list) else value
    return value if value < 2 else "odd" if value % 2 else "even"


def structure(name: str) -> frozenset[Any]:
    """What a mixer's file and those in its defaults set, sizes left aside."""
    contents = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for entry in contents.pop("defaults", ()):
        if isinstance(entry, dict):
            ((place, file),) = entry.items()
            found[place] = structure(file)
        elif entry != "_self_":
            file, _, place = entry.partition("@")
            inherited = structure(file.removeprefix("/mixer/"))
            found |= dict(inherited) if place == "_here_" else {place: inherited}
    return frozenset((found | {key: kind(value) for key, value in contents.items()}).items())


def representatives() -> list[str]:
    """The mixers themselves, and a preset of each other structure."""
    first: dict[frozenset[Any], str] = {}
    for name in sorted(ALL, key=lambda name: ("/" in name, name)):
        first.setdefault(structure(name), name)
    return sorted(first.values())


MIXERS = representatives()
MIXING = [name for name in MIXERS if name != "none"]


def build(name: str, index: int = 0, dim: int = DIM, num_heads: int = 4) -> nn.Module:
    node = config.compose(f"mixer/{name}").mixer
    for folder in name.split("/")[:-1]:
        node = node[folder]
    return config.instantiate(node)(dim=dim, num_heads=num_heads, index=index)


def is_mixer(thing: Any) -> bool:
    """Whether it is a class that is built as mixers are."""
    needed = {"dim", "num_heads", "index"}
    return isinstance(thing, type) and issubclass(thing, nn.Module) and needed <= set(signature(thing).parameters)


def test_the_mixers_themselves_are_among_those_tested():
    assert {name for name in ALL if "/" not in name} <= set(MIXERS) < set(ALL)
    files = [yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")) for name in ALL if "/" not in name]
    own = {contents.get("_target_") for contents in files}
    assert {f"visionattn.attention.{name}" for name in attention.__all__ if is_mixer(getattr(attention, name))} <= own
    assert structure("swin/4") == structure("swin/12") != structure("window") != structure("davit/window_7")


@pytest.mark.parametrize("name", sorted(set(ALL) - set(MIXERS)))
def test_every_other_preset_runs(name):
    x = torch.randn(1, 5, 9, DIM)
    y = build(name, 1)(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


def randomized(module: nn.Module) -> nn.Module:
    for param in module.parameters():
        nn.init.normal_(param, std=0.2)
    return module


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", MIXERS)
def test_keeps_the_shape_at_any_size(name, index):
    mixer = build(name, index)
    for size in SIZES:
        x = torch.randn(2, *size, DIM)
        y = mixer(x)
        assert y.shape == x.shape
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", MIXING)
def test_every_parameter_and_the_input_get_a_gradient(name, index):
    mixer = randomized(build(name, index))
    x = torch.randn(1, 19, 17, DIM, requires_grad=True)
    (mixer(x) * torch.randn(1, 19, 17, DIM)).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for parameter_name, param in mixer.named_parameters():
        assert param.grad is not None, parameter_name
        assert param.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", MIXERS)
def test_images_of_a_batch_do_not_see_each_other(name):
    mixer = randomized(build(name, 1)).double().eval()  # in training, batch norms mix by design
    x = torch.randn(3, 9, 10, DIM, dtype=torch.float64)
    together = mixer(x)
    for i in range(3):
        torch.testing.assert_close(mixer(x[i : i + 1]), together[i : i + 1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MIXERS)
def test_does_not_write_into_its_input(name):
    x = torch.randn(1, 9, 10, DIM)
    before = x.clone()
    build(name, 1)(x)
    assert torch.equal(x, before)


class Products(TorchDispatchMode):
    """The largest product of two tensors of equal shape, element by element, whose sum is taken at once."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[torch.Tensor] = []
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul.Tensor and args[0].shape == getattr(args[1], "shape", None):
            self.products.append(out)
        if func is torch.ops.aten.sum.dim_IntList and any(args[0] is product for product in self.products):
            self.largest = max(self.largest, args[0].numel())
        return out


@pytest.mark.parametrize("name", MIXERS)
def test_dot_products_that_torch_does_not_count_are_declared(name):
    """Whoever multiplies queries with keys element by element says so, or GMACs are too low."""
    mixer = build(name, 1).eval().to("meta")
    with torch.no_grad(), Products() as found, FlopCounterMode(display=False) as counter:
        mixer(torch.randn(1, 16, 16, DIM, device="meta"))
    declares = any(hasattr(module, "elementwise_macs") for module in mixer.modules())
    assert declares or 2 * found.largest < 1e-3 * counter.get_total_flops() or not found.largest
