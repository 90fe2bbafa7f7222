"""``format=onnx quantize=int8``: what becomes int8, what stays, and the file that a user gets."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.commands.hostile import contents
from tests.export.test_graphs import DENSE
from visionattn.cli import main
from visionattn.errors import ConfigError
from visionattn.export import graphs, int8, quantize, runtimes, samples, sensitivity, speed

pytestmark = pytest.mark.filterwarnings("default")
SMALL = ("backbone=swin_pico", "backbone.depths=[1,1,1]", "backbone.dims=[16,16,16]", "backbone.num_heads=[2,2,2]")


class Layers(nn.Module):
    """Two linear layers with biases, one without, and a product of two computed tensors."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16)
        self.third = nn.Linear(16, 8, bias=False)

    def forward(self, x):
        hidden = self.second(self.first(x).relu())
        return self.third((hidden @ hidden.mT).softmax(-1) @ hidden)


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    torch.manual_seed(0)
    path, model = tmp_path_factory.mktemp("layers") / "float.onnx", quantize.by_rows(Layers())
    graphs.to_onnx(graphs.exported(model, torch.randn(2, 5, 16), axes=(0,)), path, ["y"])
    return path


def batches(count=4):
    return [batch.numpy() for batch in torch.randn(count, 2, 5, 16, generator=torch.Generator().manual_seed(1))]


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_layers_by_rows_compute_the_same():
    torch.manual_seed(0)
    model, x = Layers(), torch.randn(3, 5, 16)
    before, state = model(x), model.state_dict()
    assert quantize.by_rows(model) is model
    torch.testing.assert_close(model(x), before)
    assert model.state_dict().keys() == state.keys()
    assert type(model.third) is nn.Linear  # without a bias there is nothing to put into the product


def test_linear_layers_become_int8_and_products_of_tensors_do_not(layers, tmp_path):
    assert operators(layers).count("Gemm") == 2
    assert len(quantize.linear_layers(layers)) == 3
    kept, error, expected = sensitivity.quantize_soundly(layers, tmp_path / "q.onnx", "images", batches(), print)
    assert kept == []
    assert 0 < error < 0.03
    assert all(map(np.array_equal, expected, quantize.outputs_of(runtimes.session_of(layers), "images", batches())))
    weights = {tensor.name: tensor for tensor in onnx.load(tmp_path / "q.onnx").graph.initializer}
    int8 = [
        tensor for tensor in weights.values() if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert sorted(tuple(sorted(tensor.dims)) for tensor in int8) == [(8, 16), (16, 32), (16, 32)]
    assert operators(tmp_path / "q.onnx").count("QuantizeLinear") == 3  # what enters the three layers


def test_what_int8_would_spoil_stays_float(layers, tmp_path, capsys):
    model = onnx.load(layers)  # one weight a thousand times the others of its channel: int8 rounds those to nothing
    spoiled = next(t for t in model.graph.initializer if sorted(t.dims) == [16, 32] and "second" in t.name)
    weight = onnx.numpy_helper.to_array(spoiled).copy()
    weight[:, 0] *= 1000
    spoiled.CopyFrom(onnx.numpy_helper.from_array(weight, spoiled.name))
    broken = [node.name for node in model.graph.node if spoiled.name in node.input]
    onnx.save(model, tmp_path / "float.onnx")
    data = batches()
    whole = sensitivity.quantize_soundly(tmp_path / "float.onnx", tmp_path / "q.onnx", "images", data, print, 1e9)
    kept, error, _ = sensitivity.quantize_soundly(
        tmp_path / "float.onnx", tmp_path / "q.onnx", "images", data, print, whole[1] / 2
    )
    assert kept[0] == broken[0]
    assert error < whole[1] / 2
    assert "looking for the layers that do most harm" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"float.onnx", "q.onnx"}


def test_the_deviation_is_that_of_the_worst_output():
    ours = [[np.ones(4), np.full(4, 2.0)], [np.ones(4), np.full(4, 2.0)]]
    theirs = [[np.ones(4), np.full(4, 2.0)], [np.ones(4), np.full(4, 1.0)]]
    assert quantize.deviation(ours, ours) == 0
    assert quantize.deviation(ours, theirs) == pytest.approx((4 / 32) ** 0.5)


def test_positions_are_evenly_spaced():
    assert samples.evenly(10, 4) == [0, 2, 5, 7]
    assert samples.evenly(3, 8) == [0, 1, 2]


def test_speeds_are_measured_in_turns(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.001)
    order = []
    found = speed.images_per_second({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, batch=2)
    assert found.keys() == {"a", "b"}
    assert min(found.values()) > 0
    assert order[:2] == ["a", "b"]
    assert order.index("b", 2) > order.index("a", 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small") / "small.ckpt"
    torch.save(contents(*SMALL), path)
    return path


@pytest.mark.heavy
def test_the_file_that_a_user_gets(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.001)
    words = [f"ckpt={checkpoint}", "format=onnx", "quantize=int8", "calibration_images=16", f"dir={tmp_path}/out"]
    assert main(["export", *words]) == 0, capsys.readouterr().err
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "15 of 15 linear layers" in told
    assert "16 images, evenly spaced over the training split" in told
    assert "on 359 validation images top1 of the int8 file in ONNX Runtime" in told
    assert ("top1 of the int8 file in OpenVINO" in told) == (find_spec("openvino") is not None)
    assert ("pip install 'visionattn[openvino]'" in told) == (find_spec("openvino") is None)
    for batch in (1, 8):
        assert f"images/s, batch {batch}" in told
    for form in ("int8 in ONNX Runtime", "float32 in ONNX Runtime", "visionattn float32", "bfloat16 weights"):
        assert told.count(form) >= 2  # at both batches
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.int8.onnx",
        "preprocessing.json",
        "README.md",
    }
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.int8.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        assert session.run(None, {"images": np.zeros((batch, 3, 32, 32), np.float32)})[0].shape == (batch, 10)
    about = json.loads(session.get_modelmeta().custom_metadata_map["visionattn"])
    assert about["image_size"] == [32, 32]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| int8 | 15 of 15 linear layers |" in card
    assert 'InferenceSession("model.int8.onnx"' in card
    assert "model.reshape([1, 3, 32, 32])" in card


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["format=timm", "quantize=int8"], "quantize=int8 goes with format=onnx, not timm"),
        (["format=onnx", "quantize=int4"], "quantize is int8 or null, got 'int4'"),
        (["format=onnx", "quantize=int8", "calibration_images=4"], "calibration_images is at least 8, got 4"),
        (
            ["format=onnx", "quantize=int8", "calibration_images=2000"],
            "the training split has 1,438 images: give calibration_images=1438",
        ),
        (["format=onnx", "quantize=int8", "data.rot=/nowhere"], "unknown key data.rot"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words, answer, checkpoint, tmp_path, capsys):
    assert main(["export", f"ckpt={checkpoint}", f"dir={tmp_path}/out", *words]) == 2
    assert answer in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("count", "asked", "used"), [(1438, None, 128), (32, None, 32), (32, 16, 16), (8, None, 8)])
def test_as_many_images_calibrate_as_asked_for_or_as_there_are(count, asked, used, monkeypatch):
    monkeypatch.setattr(int8, "number_of_samples", lambda data, split: count)
    assert int8.calibration_size(SimpleNamespace(data="there"), asked) == used


def test_too_few_images_calibrate_nothing(monkeypatch):
    monkeypatch.setattr(int8, "number_of_samples", lambda data, split: 7)
    with pytest.raises(ConfigError, match="needs 8 training images, and there are 7"):
        int8.calibration_size(SimpleNamespace(data="there"), None)


def test_data_of_the_command_line_take_the_place_of_the_runs(checkpoint, tmp_path, capsys):
    words = ["export", f"ckpt={checkpoint}", f"dir={tmp_path}/out", "format=onnx", "quantize=int8"]
    assert main([*words, "data=image_folder", "data.root=/nowhere"]) == 1
    assert "no such folder: /nowhere" in capsys.readouterr().err


def test_other_tasks_are_refused_before_anything_is_traced(tmp_path, capsys):
    made = contents(*DENSE["semantic_fpn"], *SMALL, "data.root=/nowhere", "data.num_classes=3", "data.image_size=64")
    torch.save(made, tmp_path / "x.ckpt")
    words = ["export", f"ckpt={tmp_path}/x.ckpt", "format=onnx", "quantize=int8"]
    assert main(words) == 2
    assert "options.part=features quantizes the backbone alone" in capsys.readouterr().err
    assert main([*words, "options.part=features"]) == 2
    assert "the run's data are not on this machine" in capsys.readouterr().err
