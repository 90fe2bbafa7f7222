"""Every structure of backbone as one ONNX file and one torch.export program, at three sizes and three batches."""

import onnxruntime
import pytest
import torch

from tests.contracts.structures import CLUSTERED, REPRESENTATIVES, excited, small
from visionattn.errors import ConfigError
from visionattn.export import graph_modules, graphs

SIZES = [(64, 64), (113, 150), (33, 47)]


@pytest.mark.heavy
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", [name for name in REPRESENTATIVES if name not in CLUSTERED])
def test_a_backbone_is_one_graph(name, tmp_path):
    torch.manual_seed(0)
    model = excited(small(name)).eval()
    with torch.no_grad():
        program = graphs.exported(graph_modules.traceable(model), torch.randn(2, 3, 128, 160))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    graphs.to_onnx(program, tmp_path / "model.onnx", ["logits"])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for size in SIZES:
        for batch in graphs.BATCHES:
            images = torch.randn(batch, 3, *size)
            with torch.no_grad():
                expected, again = model(images), loaded(images)
            (got,) = session.run(None, {graphs.INPUT: images.numpy()})
            for kind, found in (("onnx", torch.from_numpy(got)), ("torch_export", again)):
                error = float((found - expected).abs().max() / expected.abs().max())
                assert error < graphs.TOLERANCE, (kind, size, batch, error)


@pytest.mark.heavy
@pytest.mark.parametrize("name", CLUSTERED)
def test_clusters_are_refused_with_the_reason(name):
    model = graph_modules.traceable(small(name))
    with pytest.raises(ConfigError, match="no graph of any size holds content attention"):
        graphs.exported(model, torch.randn(2, 3, 128, 160))
