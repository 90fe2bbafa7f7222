"""Every mixer as one compiled graph of any size, as one torch.export program and as one ONNX file.

The mixers of published backbones are traced with them, too; these tests find those that no backbone names.
"""

from __future__ import annotations

import copy
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

from tests.contracts.structures import excited
from tests.contracts.test_mixers import DIM, MIXING, build, randomized
from visionattn.errors import ConfigError
from visionattn.export import graph_modules, graphs

pytestmark = pytest.mark.heavy
SIZES = [(1, 8, 8), (2, 17, 13), (3, 3, 5)]


class Map(nn.Module):
    """A mixer, inside of something as in a model, with the map's axes where graphs expect those of images."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.mixer(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return mixed


@pytest.mark.parametrize("name", MIXING)
def test_trains_as_one_graph_of_any_size(name: str) -> None:
    """Values and the gradients of input and parameters are those outside of the graph, without a second compilation."""
    torch._dynamo.reset()
    mixer = Map(randomized(build(name, 1))).double().eval()  # in training, batch norms keep what they see
    compiled = torch.compile(mixer, fullgraph=True, backend="aot_eager", dynamic=True)
    for number, (batch, *size) in enumerate(((2, 30, 34), (3, 43, 37))):
        x = torch.randn(batch, DIM, *size, dtype=torch.float64, requires_grad=True)
        inputs = [x, *mixer.parameters()]
        expected = mixer(x)
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            got = compiled(x)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * float(expected.detach().abs().max()))
        of_graph, outside = (torch.autograd.grad(y.square().sum(), inputs) for y in (got, expected))
        torch.testing.assert_close(of_graph, outside, rtol=1e-7, atol=1e-9 * max(float(g.abs().max()) for g in outside))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", MIXING)
def test_is_one_file_of_any_size(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    mixer = Map(excited(build(name, 1))).eval()
    graph = graph_modules.traceable(mixer)
    if name.startswith(("content", "boat")):
        with pytest.raises(ConfigError, match="no graph of any size holds content attention"):
            graphs.exported(graph, torch.randn(2, DIM, 14, 18))
        return
    program = graphs.exported(graph, torch.randn(2, DIM, 15, 22))
    module = program.module()
    graphs.to_onnx(program, tmp_path / "mixer.onnx", ["map"])
    session = onnxruntime.InferenceSession(tmp_path / "mixer.onnx", providers=["CPUExecutionProvider"])
    for batch, *size in SIZES:
        images = torch.randn(batch, DIM, *size)
        with torch.no_grad():
            expected, again = mixer(images), module(images)
            exact = copy.deepcopy(mixer).double()(images.double())
        scale = float(exact.abs().max())
        allowed = max(graphs.TOLERANCE, 4 * float((expected - exact).abs().max()) / scale)  # that of rounding itself
        (got,) = session.run(None, {graphs.INPUT: images.numpy()})
        for kind, found in (("onnx", torch.from_numpy(got)), ("torch_export", again)):
            error = float((found - exact).abs().max()) / scale
            assert error < allowed, (kind, batch, size, error)
