"""The comparison of whole backbones: small, but the real thing."""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from visionattn.benchmarks import backbones, contenders, runtimes
from visionattn.errors import ConfigError
from visionattn.export import runtimes as files
from visionattn.export import speed
from visionattn.kernels.backends.triton.fallback import SlowerCode


def test_rows_of_a_backbone_without_a_counterpart(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backbones, "gemm_limit", lambda dtype, device: (1e9, "oneDNN"))
    rows = backbones.run_backbones("swin_pico", batches=[2], repeats=2, device="cpu", output_dir=tmp_path)
    assert [(row["pass"], row["dtype"]) for row in rows] == [
        ("inference", "float32"),
        ("train", "float32"),
        ("inference", "bfloat16"),
        ("train", "bfloat16"),
    ]
    for row in rows:
        assert row["images_per_second"] == pytest.approx(row["device_images_per_second"])
        assert row["device_how"] == "wall"
        assert row["times_timm"] is row["times_timm_eager"] is None
    (path,) = tmp_path.glob("backbones_*.json")
    written = json.loads(path.read_text())
    assert written["rows"] == rows
    assert written["configuration"]["gemm_library"] == {"float32": "oneDNN", "bfloat16": "oneDNN"}
    assert max(map(len, capsys.readouterr().out.splitlines()[:-2])) <= 100  # the last two lines are paths


def test_plain_operators_stand_beside_the_kernels(monkeypatch):
    monkeypatch.setattr(backbones, "gemm_limit", lambda dtype, device: (1e9, "oneDNN"))
    options = {"batches": [1], "repeats": 1, "size": 32, "dtypes": ["float32"], "device": "cpu", "output_dir": None}
    rows = backbones.run_backbones("swin_pico", against=["plain"], **options)
    assert [(row["pass"], row["model"], row["reason"]) for row in rows] == [
        (kind, model, "") for kind in ("inference", "train") for model in ("visionattn", "plain")
    ]
    assert all(row["peak_bytes"] > 0 for row in rows)


def test_the_counterpart_has_the_same_weights():
    models = contenders.with_counterpart("swin_tiny", 224)
    assert set(models) == {"visionattn", "timm"}
    rates = {m.drop_prob for model in models.values() for m in model.modules() if isinstance(m, DropPath)}
    assert rates == {0.0}, "timm's Swin drops a tenth unless told otherwise, and would have more to do"


@pytest.mark.parametrize("wrong", [{"names": "nobody"}, {"passes": ["sleep"]}, {"dtypes": ["int4"]}])
def test_nothing_to_measure_is_an_error(wrong):
    with pytest.raises(ConfigError, match="nothing to measure"):
        backbones.run_backbones(**({"names": "swin_pico", "output_dir": None} | wrong))


def test_an_unknown_counterpart_is_an_error():
    with pytest.raises(ConfigError, match="against=caffe is not known; choose from timm, plain, onnxruntime, openvino"):
        backbones.run_backbones("swin_pico", against=["caffe"], output_dir=None)


def work(kind="inference", dtype="float32"):
    return contenders.Work(kind, dtype, torch.randn(2, 3, 8, 8))


class Stub(nn.Sequential):
    """As small as a model can be."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))


def test_each_form_of_each_model_is_a_contender(monkeypatch):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda model, mode, dynamic: modes.append((mode, dynamic)) or model)
    models = {"visionattn": Stub(), "timm": Stub()}
    found = list(contenders.contenders(models, work("train"), [False, True, "reduce-overhead"], [False, True]))
    labels = ["visionattn", "visionattn compiled", "visionattn reduce-overhead"]
    labels += [label.replace("visionattn", "timm") for label in labels]
    assert [one.label for one in found] == labels + [f"{label} nhwc" for label in labels]
    assert set(modes) == {("default", False), ("reduce-overhead", False)}
    assert all(one.run is not None and one.first_seconds > 0 for one in found)


def test_options_of_the_compiler_are_a_form_that_the_row_names(monkeypatch):
    given = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: given.append(options) or model)
    (found,) = contenders.contenders({"visionattn": Stub()}, work(), ["combo_kernels=true, max_fusion_size=8"], [False])
    assert found.label == "visionattn combo_kernels=true, max_fusion_size=8"
    assert given == [{"options": {"combo_kernels": True, "max_fusion_size": 8}, "dynamic": False}]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ("combo_kernel=true", "has no option combo_kernel; did you mean combo_kernels?"),
        ("reduce_overhead", "has no mode reduce_overhead; choose from default, "),
    ],
)
def test_a_form_that_torch_does_not_have_is_refused_before_anything_is_measured(form, sentence):
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")):
        backbones.run_backbones("swin_pico", compile=[form], output_dir=None)


def test_a_kernel_that_fails_is_the_reason_of_its_row():
    def run():
        warnings.warn("norms on cuda:0 take slower code: ptxas failed", SlowerCode, stacklevel=1)

    assert contenders.called(contenders.Contender("visionattn"), run).reason.endswith("slower code: ptxas failed")


def test_a_compiler_that_fails_is_the_reason_of_its_row(monkeypatch):
    def failing(model, **options):
        def call(images):
            raise RuntimeError("no compiler here\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    eager, compiled = contenders.contenders({"visionattn": Stub()}, work(), [False, True], [False])
    assert eager.run is not None
    assert (compiled.run, compiled.reason) == (None, "RuntimeError: no compiler here")


@pytest.mark.parametrize(
    ("name", "of", "reason"),
    [
        ("openvino", work("train"), "an exported graph cannot be trained"),
        ("onnxruntime", work(dtype="bfloat16"), "ONNX Runtime's CPU kernels have no bfloat16"),
    ],
)
def test_what_a_runtime_cannot_do_is_the_reason_of_its_row(name, of, reason):
    (found,) = contenders.runtime_contenders([name], Stub(), of, lambda: pytest.fail("no graph is needed"), 1)
    assert (found.run, found.reason) == (None, reason)


def test_a_runtime_that_is_missing_names_its_extra(monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
    (found,) = contenders.runtime_contenders(["openvino"], Stub(), work(), lambda: pytest.fail("no graph is needed"), 1)
    assert found.reason == "openvino is not installed: pip install 'visionattn[openvino]'"


def test_another_output_is_not_timed(monkeypatch):
    monkeypatch.setattr(runtimes, "apart", lambda *how: [(1.0, [torch.ones(2, 5).numpy()])])
    (found,) = contenders.runtime_contenders(["onnxruntime"], Stub(), work(), lambda: None, 1)
    assert found.run is found.seconds is None
    assert "its output differs from ours by" in found.reason


@pytest.mark.heavy
def test_onnx_runtime_beside_ours(tmp_path):
    options = {"batches": [1, 2], "dtypes": ["float32"], "passes": ["inference"], "repeats": 2, "device": "cpu"}
    rows = backbones.run_backbones(
        "swin_pico", against=["onnxruntime"], graphs=tmp_path, output_dir=None, size=64, **options
    )
    assert [(row["batch"], row["model"], row["reason"]) for row in rows] == [
        (batch, model, "") for batch in (1, 2) for model in ("visionattn", "onnxruntime")
    ]
    assert all(row["relative_error"] <= 1e-4 for row in rows if row["model"] == "onnxruntime")
    assert [path.name[:3] + path.name[15:] for path in (tmp_path / "swin_pico").iterdir()] == ["64-.onnx"]


@pytest.mark.heavy
def test_int8_in_the_runtimes_that_are_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(backbones, "gemm_limit", lambda dtype, device: (1e9, "oneDNN"))
    options = {
        "batches": [2],
        "dtypes": ["float32", "int8"],
        "passes": ["train", "inference"],
        "repeats": 2,
        "size": 32,
    }
    against = ["onnxruntime", "openvino"]
    rows = backbones.run_backbones(
        "swin_pico", against=against, graphs=tmp_path, output_dir=tmp_path / "rows", device="cpu", **options
    )
    found = {row["model"]: row for row in rows if row["dtype"] == "int8"}
    assert list(found) == against  # visionattn itself has no int8, and nothing is trained in it
    here = [name for name in against if not files.why_not(name)]
    assert [name for name in against if found[name]["images_per_second"]] == here
    assert all(0 < found[name]["relative_error"] <= 0.1 for name in here)
    kept = {path.name[:3] + path.name[15:] for path in (tmp_path / "swin_pico").iterdir()}
    assert kept == {"32-.onnx", "32-.int8.onnx"}
    assert "int8" in capsys.readouterr().out


def test_a_kept_graph_is_measured_only_with_its_weights_and_code(tmp_path, monkeypatch, capsys):
    def traced(graph, example):
        written.append(graph)
        return graph

    written: list = []
    monkeypatch.setattr(runtimes, "exported", traced)
    monkeypatch.setattr(runtimes, "to_onnx", lambda graph, path, outputs: path.write_bytes(b"graph"))
    model = torch.nn.Linear(2, 2)
    for name in ("64.onnx", "64-mine.onnx", "64-0123456789ab.int8.onnx", "32-0123456789ab.onnx"):
        (tmp_path / name).touch()
    others = set(tmp_path.iterdir())
    first = runtimes.write_graph(model, 64, tmp_path, "float32")
    assert runtimes.write_graph(model, 64, tmp_path, "float32") == first
    assert len(written) == 1
    with torch.no_grad():
        model.bias += 1e-6
    second = runtimes.write_graph(model, 64, tmp_path, "float32")
    assert f"{first} is of other weights, code or versions" in capsys.readouterr().err
    monkeypatch.setattr(runtimes, "_code", lambda: b"another")
    third = runtimes.write_graph(model, 64, tmp_path, "float32")
    assert len({first, second, third}) == len(written) == 3
    assert set(tmp_path.iterdir()) == others | {third}


def test_the_code_of_a_graph_is_that_of_the_package():
    assert runtimes._code.__wrapped__() == runtimes._code.__wrapped__()
    assert all((Path(runtimes.visionattn.__file__).parent / room).is_dir() for room in runtimes._ROOMS)


@pytest.mark.parametrize("wrong", [{"against": ["timm"]}, {"passes": ["train"], "against": ["openvino"]}])
def test_int8_belongs_to_a_runtimes_inference(wrong):
    with pytest.raises(ConfigError, match=r"passes=\[inference\] against=\[openvino,onnxruntime\]"):
        backbones.run_backbones("swin_pico", dtypes=["int8"], output_dir=None, **wrong)


def test_an_image_size_that_timm_refuses_is_told_with_the_way_around():
    with pytest.raises(ConfigError, match=r"no image of 64 pixels .*against=\[plain\] measures swin_tiny without"):
        contenders.with_counterpart("swin_tiny", 64)
