"""Every structure of backbone as one ONNX file, in ONNX Runtime, at three sizes and three batches."""

import onnxruntime
import pytest
import torch

from visionattn.commands.exporting import graphs, whole

from .structures import REPRESENTATIVES, excited, small

SIZES = [(64, 64), (113, 150), (33, 47)]


@pytest.mark.heavy
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_a_backbone_is_one_onnx_file(name, tmp_path):
    torch.manual_seed(0)
    model = excited(small(name)).eval()
    with torch.no_grad():
        program = graphs._traced(
            lambda: torch.onnx.export(
                whole.portable(model),
                (torch.randn(2, 3, 128, 160),),
                dynamo=True,
                dynamic_shapes=(graphs._axes(),),
                input_names=[graphs.INPUT],
                external_data=False,
                verbose=False,
            )
        )
    program.save(str(tmp_path / "model.onnx"), external_data=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for size in SIZES:
        for batch in graphs.BATCHES:
            images = torch.randn(batch, 3, *size)
            with torch.no_grad():
                expected = model(images)
            (got,) = session.run(None, {graphs.INPUT: images.numpy()})
            error = float((torch.from_numpy(got) - expected).abs().max() / expected.abs().max())
            assert error < graphs.TOLERANCE, (size, batch, error)
