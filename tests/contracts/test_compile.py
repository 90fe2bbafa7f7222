"""torch.compile and torch.export with dynamic batch and sizes: one graph, no break, always the eager result."""

import pytest
import torch

import visionattn
from tests.contracts.structures import REPRESENTATIVES, excited, precision, small

QUICK = visionattn.list_backbones("*_pico")
MODELS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.heavy) for name in REPRESENTATIVES]
ON_THE_FLOOR = [name if name in QUICK else pytest.param(name, marks=pytest.mark.floor) for name in REPRESENTATIVES]


@pytest.mark.parametrize("name", MODELS)
def test_exports_with_dynamic_batch_and_sizes(name):
    """What is traced at one size holds for other ones, whether or not windows and strides divide them."""
    dtype = precision(name)
    model = excited(small(name)).eval().to(dtype)
    axes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        traced = torch.export.export(model, (torch.randn(2, 3, 128, 160, dtype=dtype),), dynamic_shapes=(axes,))
        assert all(limits.upper > 10_000 for limits in traced.range_constraints.values())
        for batch, *size in ((1, 224, 224), (2, 113, 150), (3, 200, 333)):
            image = torch.randn(batch, 3, *size, dtype=dtype)
            expected = model(image)
            got = traced.module()(image)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def training_step(name: str):
    """A compiled forward pass in training mode under autocast, with drop path; a break in the graph is an error."""
    torch._dynamo.reset()
    model = excited(small(name, drop_path_rate=0.2)).train()
    compiled = torch.compile(lambda images: model(images).square().mean(), fullgraph=True, backend="aot_eager")

    def step(images: torch.Tensor, stance: str) -> None:
        with torch.compiler.set_stance(stance), torch.autocast("cpu", torch.bfloat16):
            loss = compiled(images)
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)

    return step


@pytest.mark.parametrize("name", ON_THE_FLOOR)
def test_trains_as_one_graph_that_serves_every_step(name):
    step = training_step(name)
    step(torch.randn(2, 3, 64, 96), "default")
    step(torch.randn(2, 3, 64, 96), "fail_on_recompile")


@pytest.mark.heavy
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_trains_as_one_graph_of_any_batch(name):
    step = training_step(name)
    images = torch.randn(2, 3, 64, 96)
    torch._dynamo.mark_dynamic(images, 0)
    step(images, "default")
    step(torch.randn(3, 3, 64, 96), "fail_on_recompile")


@pytest.mark.heavy
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_compiles_whole_with_dynamic_sizes(name):
    torch._dynamo.reset()
    dtype = precision(name)
    model = excited(small(name)).eval().to(dtype)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for batch, *size in ((2, 128, 160), (3, 113, 150)):
            image = torch.randn(batch, 3, *size, dtype=dtype)
            expected = model(image)
            with torch.compiler.set_stance("default" if batch == 2 else "fail_on_recompile"):
                got = compiled(image)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
