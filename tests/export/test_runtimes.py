"""ONNX files in ONNX Runtime and OpenVINO, here and in processes of their own."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from visionattn.errors import ConfigError
from visionattn.export import graphs, runtimes, speed

WITH_OPENVINO = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
BOTH = ["onnxruntime", pytest.param("openvino", marks=WITH_OPENVINO)]


class Doubled(torch.nn.Module):
    """Two outputs of different shapes."""

    def forward(self, x):
        return 2 * x, x.mean((2, 3))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("runtimes") / "doubled.onnx"
    graphs.to_onnx(graphs.exported(Doubled(), torch.randn(2, 3, 8, 8), axes=(0,)), path, ["doubled", "means"])
    return path


def images(count):
    return np.random.default_rng(count).standard_normal((count, 3, 8, 8), dtype=np.float32)


@pytest.mark.parametrize("runtime", BOTH)
def test_a_file_takes_every_batch(runtime, file):
    run = runtimes.prepare(runtime, file, threads=1)
    for count in (1, 3, 1):
        doubled, means = run(images(count))
        np.testing.assert_allclose(doubled, 2 * images(count), rtol=1e-6)
        np.testing.assert_allclose(means, images(count).mean((2, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("runtime", BOTH)
def test_a_process_of_its_own_measures_and_computes(runtime, file, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.001)
    found = speed.apart(runtime, file, [images(1), images(2)], threads=1)
    assert all(rate > 0 for rate, _ in found)
    for count, (_, (doubled, means)) in zip((1, 2), found, strict=True):
        np.testing.assert_allclose(doubled, 2 * images(count), rtol=1e-6)
        assert means.shape == (count, 3)


@pytest.mark.parametrize("runtime", BOTH)
def test_a_file_that_a_runtime_refuses_is_one_sentence(runtime, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    name = runtimes.NAMES[runtime]
    with pytest.raises(ConfigError, match=f"^{name} does not take the file: "):
        speed.apart(runtime, tmp_path / "broken.onnx", [images(1)], threads=1)


def test_a_process_that_ends_without_a_result_is_told(file, monkeypatch):
    monkeypatch.setattr(speed.sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="its process ended with 1"):
        speed.apart("onnxruntime", file, [images(1)], threads=1)


def test_a_runtime_that_is_missing_names_its_extra(file, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
    for ask in (lambda: runtimes.prepare("openvino", file), lambda: speed.apart("openvino", file, [], 1)):
        with pytest.raises(ConfigError, match=r"openvino is not installed: pip install 'visionattn\[openvino\]'"):
            ask()


def test_onnx_runtime_has_no_bfloat16(file):
    with pytest.raises(ConfigError, match="ONNX Runtime does not take the file: its CPU kernels have no bfloat16"):
        runtimes.prepare("onnxruntime", file, 1, "bfloat16")(images(1))


@WITH_OPENVINO
def test_openvino_computes_in_bfloat16_where_the_cpu_has_it(monkeypatch, file):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    assert runtimes.openvino_types() == ("float32",)
    with pytest.raises(ConfigError, match="OpenVINO does not take the file: it has no bfloat16 on this CPU"):
        runtimes.prepare("openvino", file, 1, "bfloat16")(images(1))
