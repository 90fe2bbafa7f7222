"""Graphs of whole models: ONNX in ONNX Runtime, torch.export, AOTInductor; every batch, every size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from tests.commands.hostile import contents
from visionattn import config
from visionattn.cli import main
from visionattn.errors import ConfigError
from visionattn.export import graph_modules, graphs

pytestmark = pytest.mark.filterwarnings("default")
SERVE = Path(__file__).resolve().parents[2] / "examples" / "serve_onnx.py"
WINDOWS = ("task.inference.stride=43", "task.inference.short_edge=64", "task.inference.long_edge=256")
DENSE = {
    "upernet": (
        *WINDOWS,
        "task=segmentation",
        "data=image_mask",
        "head=upernet",
        "head.decoder.channels=32",
        "head.auxiliary.channels=16",
    ),
    "semantic_fpn": (*WINDOWS, "task=segmentation", "data=image_mask", "head=semantic_fpn"),
    "segformer": (*WINDOWS, "task=segmentation", "data=image_mask", "head=segformer"),
    "retinanet": ("task=detection", "data=coco", "head=retinanet", "head.pyramid.channels=64"),
    "fcos": ("task=detection", "data=coco", "head=fcos", "head.pyramid.channels=64"),
    "mask_rcnn": ("task=detection", "data=coco", "head=mask_rcnn", "head.pyramid.channels=32"),
}


def checkpoint(folder, head):
    torch.manual_seed(0)
    made = contents(*DENSE[head], "data.root=/nowhere", "data.num_classes=3", "data.image_size=64")
    torch.save(made, folder / f"{head}.ckpt")
    return folder / f"{head}.ckpt"


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    """A model with one block in each stage: tracing takes time with each."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("shallow") / "shallow.ckpt"
    torch.save(contents("backbone.depths=[1,1,1]"), path)
    return path


@pytest.fixture(scope="module")
def onnx(shallow, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    assert main(["export", f"ckpt={shallow}", "format=onnx", f"dir={folder}"]) == 0
    return folder


def test_one_onnx_file_for_every_batch_and_size(onnx):
    session = onnxruntime.InferenceSession(onnx / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 32, 32), (4, 3, 40, 57), (2, 3, 97, 64)):
        assert session.run(None, {"images": np.zeros(shape, np.float32)})[0].shape == (shape[0], 10)
    about = json.loads((onnx / "preprocessing.json").read_text())
    assert about["mean"] == [0.5] * 3
    assert about["labels"] == [str(i) for i in range(10)]
    assert json.loads(session.get_modelmeta().custom_metadata_map["visionattn"]) == about


def test_served_without_torch(onnx, shallow, tmp_path):
    """The example gives our own answer on a picture of the validation set, without importing torch."""
    from visionattn.runs.open import open_run

    opened = open_run(shallow)
    task, data = opened.task, opened.data()
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    pixels = batch["image"][0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    with torch.no_grad():
        odds = task.eval()(data.to_model_input(batch)["image"][:1])[0].softmax(0)
    code = f"import sys; sys.argv[1:] = [{str(onnx / 'model.onnx')!r}, {str(tmp_path / 'digit.png')!r}]\n"
    code += f"exec(compile(open({str(SERVE)!r}).read(), 'serve', 'exec'))\n"
    code += "assert not {'torch', 'visionattn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert next(iter(answer)) == str(int(odds.argmax()))
    for name, value in answer.items():
        assert value == pytest.approx(float(odds[int(name)]), abs=2e-4)


def test_served_over_http(onnx, tmp_path):
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "red.png")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, str(SERVE), str(onnx / "model.onnx"), "--port", str(port)])
    try:
        for data, status in (((tmp_path / "red.png").read_bytes(), 200), (b"no picture", 400)):
            assert _post(port, data)[0] == status
    finally:
        server.terminate()
        server.wait(10)


def _post(port, data):
    import time
    import urllib.error

    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", data, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.mark.parametrize("head", ["retinanet", "fcos"])
def test_what_is_left_to_do_after_a_graph_of_a_detector_gives_the_detections(head, tmp_path):
    """Threshold and suppression on the graph's boxes and scores: how the command scores the graph."""
    from visionattn.runs.open import open_run

    task = open_run(checkpoint(tmp_path, head)).task.eval()
    task.head.detector.topk_candidates = 10**6
    for name, parameter in task.head.named_parameters():
        if "cls_logits" in name:
            torch.nn.init.normal_(parameter, std=0.3)  # sure of something, and no two scores alike
    images, sizes = torch.randn(2, 3, 64, 64), [(64, 64), (60, 50)]
    with torch.no_grad():
        ours = task(images, sizes)
        theirs = (graph := graph_modules.graph_of(task, "model")).prediction(graph(images), sizes)
    for one, other in zip(ours, theirs, strict=True):
        assert len(one["scores"]) > 3
        for name in ("scores", "boxes"):
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-4)
        assert torch.equal(one["labels"], other["labels"])


@pytest.mark.heavy
def test_torch_export_loads_without_visionattn(shallow, tmp_path):
    assert main(["export", f"ckpt={shallow}", "format=torch_export", f"dir={tmp_path}"]) == 0
    code = f"""
import sys, torch
model = torch.export.load({str(tmp_path / "model.pt2")!r}).module()
assert model(torch.zeros(3, 3, 50, 41)).shape == (3, 10)
assert "visionattn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.heavy
def test_aot_inductor(shallow, tmp_path):
    assert main(["export", f"ckpt={shallow}", "format=aot_inductor", f"dir={tmp_path}"]) == 0
    assert (tmp_path / "model.aot.pt2").stat().st_size > 10_000


@pytest.mark.heavy
@pytest.mark.parametrize("head", [head for head in DENSE if head != "mask_rcnn"])
def test_dense_models(head, tmp_path):
    words = [f"ckpt={checkpoint(tmp_path, head)}", "format=onnx", f"dir={tmp_path}/out"]
    assert main(["export", *words]) == 0


def test_what_cannot_be_a_graph_is_refused_and_its_backbone_is_not(tmp_path, capsys):
    path = checkpoint(tmp_path, "mask_rcnn")
    assert main(["export", f"ckpt={path}", "format=onnx", f"dir={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert "RCNN cannot be exported as one graph" in error
    assert "options.part=features" in error
    assert (
        main(["export", f"ckpt={path}", "format=onnx", f"dir={tmp_path}/out", "options.part=features", "--dry-run"])
        == 0
    )
    assert main(["export", f"ckpt={path}", "format=onnx", "options.part=neck"]) == 2


def test_a_graph_that_differs_is_an_error(swin, tmp_path, capsys, monkeypatch):

    def wrong(graph, example, path, about):
        path.write_bytes(b"")
        return lambda images: [graph(images) * 1.001]

    monkeypatch.setattr(graphs, "_onnx", wrong)
    assert main(["export", f"ckpt={swin}/checkpoints/best.ckpt", "format=onnx", f"dir={tmp_path}"]) == 1
    assert "the graph differs at 1x3x" in capsys.readouterr().err


def test_without_onnx_the_error_says_what_to_install(swin, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'visionattn\[onnx\]'"):
        graphs.check_packages("onnx")


def test_means_over_cells_are_adaptive_pooling():
    for size in (1, 2, 3, 6):
        x = torch.randn(2, 3, 7, 13)
        torch.testing.assert_close(graph_modules.MeanCells(size)(x), torch.nn.AdaptiveAvgPool2d(size)(x))


def test_the_task_is_left_as_it_was(tmp_path):
    made = contents(*DENSE["upernet"], "data.root=/nowhere", "data.num_classes=3", "data.image_size=64")
    task = config.instantiate(OmegaConf.create(made["config"]).task).eval()
    graph = graph_modules.graph_of(task, "model")
    assert {m.backend for m in graph.modules() if hasattr(m, "backend")} == {"traceable"}
    assert {m.backend for m in task.modules() if hasattr(m, "backend")} == {"auto"}
    assert any(isinstance(m, graph_modules.MeanCells) for m in graph.modules())
    assert not any(isinstance(m, graph_modules.MeanCells) for m in task.modules())
