"""What torch transforms is computed by its own operators: ``torch.func``, forward mode, traces, ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

import visionattn
from visionattn.kernels import (
    neighborhood_attention,
    routed_attention,
    selective_scan,
    token_attention,
    window_attention,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own: slow rules of vmap, sizes that a trace binds
TABLE = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(1))


def _map() -> Tensor:
    return torch.randn(3, 6, 7, 2, 8, generator=torch.Generator().manual_seed(0))


def _scan(x: Tensor) -> Tensor:
    x = x.flatten(3)
    steps = x.sigmoid()[:, :, :, None].expand(-1, -1, -1, 4, -1)
    states = x[..., None, :2].expand(-1, -1, -1, 4, -1)
    return selective_scan(x, steps, -torch.ones(4, x.shape[-1], 2), states, states)


OPS: dict[str, Callable[[Tensor], Tensor]] = {
    "window": lambda x: window_attention(x, x, x, window=(3, 3), shift=(1, 1), bias=TABLE),
    "neighborhood": lambda x: neighborhood_attention(x, x, x, kernel_size=3, bias=TABLE),
    "tokens": lambda x: token_attention(x.flatten(1, 2), x[:, 0], x[:, 0]),
    "routed": lambda x: routed_attention(x, x, x, torch.zeros(len(x), 4, 2, dtype=torch.int64), region=(3, 4)),
    "scan": _scan,
}


@pytest.mark.parametrize("name", OPS)
def test_gradients_of_single_images_and_forward_mode(name: str) -> None:
    op, images = OPS[name], _map()
    leaf = images.clone().requires_grad_()
    op(leaf).square().sum().backward()
    alone = vmap(grad(lambda image: op(image[None]).square().sum()))(images)
    torch.testing.assert_close(alone, leaf.grad, rtol=1e-4, atol=1e-4)
    direction = torch.ones_like(images)
    _, along = jvp(lambda x: op(x).square().sum(), (images,), (direction,))
    torch.testing.assert_close(along, leaf.grad.sum(), rtol=1e-4, atol=1e-3)
    with forward_ad.dual_level():
        dual = op(forward_ad.make_dual(images, direction)).square().sum()
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, along, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return visionattn.create_backbone("swin_pico", num_classes=3, depths=[1, 2, 1]).eval()


IMAGES = torch.randn(2, 3, 50, 37, generator=torch.Generator().manual_seed(2))


def test_a_model_gives_the_gradients_of_single_images(model: nn.Module) -> None:
    parameters = {name: one.detach() for name, one in model.named_parameters()}
    model.zero_grad()
    model(IMAGES).sum().backward()

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, parameters, (image[None],)).sum()

    of_each = vmap(grad(loss), (None, 0))(parameters, IMAGES)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(of_each[name].sum(0), parameter.grad, rtol=1e-3, atol=1e-4)


def test_a_traced_model_needs_no_operator_of_ours(model: nn.Module) -> None:
    traced = torch.jit.trace(model, IMAGES, check_trace=False)
    torch.testing.assert_close(traced(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert "visionattn::" not in str(traced.inlined_graph)


def test_an_onnx_file_needs_no_operator_of_ours_and_an_exported_program_keeps_them(
    model: nn.Module, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    torch.onnx.export(model, (IMAGES,), str(tmp_path / "model.onnx"), dynamo=True, verbose=False)
    graph = onnx.load(str(tmp_path / "model.onnx"), load_external_data=False)
    assert {node.domain for node in graph.graph.node} == {""}
    program = torch.export.export(model, (IMAGES,))
    torch.testing.assert_close(program.module()(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    assert any("visionattn" in str(node.target) for node in program.graph.nodes)


def test_a_backend_that_is_named_stays(model: nn.Module) -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return window_attention(x, x, x, window=(3, 3), backend="tiled")

    program = torch.export.export(Named(), (_map(),))
    assert any("visionattn" in str(node.target) for node in program.graph.nodes)
