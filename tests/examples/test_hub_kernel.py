"""``scripts/hub_kernel.py``: the operators in the kernel Hub's layout load beside the package and compute the same."""

import base64
import hashlib
import json
import os
import runpy
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from visionattn import kernels

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "hub_kernel.py"))
LOADED = """
import sys
from pathlib import Path

import torch
from kernels import get_local_kernel
from kernels._rust import Digest, DigestAlgorithm, Metadata

folder = Path(sys.argv[1])
loaded = get_local_kernel(folder, backend="cpu")
q = torch.ones(1, 4, 4, 1, 8)
assert torch.equal(loaded.window_attention(q, q, q, window=(2, 2)), q)
assert "visionattn" not in sys.modules
variant = folder / "build" / "torch-cpu"
Metadata.read_from_file(variant / "metadata.json").digest.validate(Digest.hash_variant(DigestAlgorithm.SHA256, variant))
print(loaded.__name__)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "kernel"
    SCRIPT["write"](folder, 3)
    return folder


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_the_metadata_are_those_of_the_hub(repository, backend):
    variant = repository / "build" / f"torch-{backend}"
    about = json.loads((variant / "metadata.json").read_text())
    assert (about["name"], about["version"], about["backend"]["type"]) == ("visionattn-kernels", 3, backend)
    files = {path.relative_to(variant).as_posix(): path for path in variant.rglob("*") if path.is_file()}
    assert set(about["digest"]["files"]) == set(files) - {"metadata.json"}
    for name, digest in about["digest"]["files"].items():
        assert base64.b64decode(digest) == hashlib.sha256(files[name].read_bytes()).digest()
    with pytest.raises(FileExistsError):
        SCRIPT["write"](repository, 3)


def test_the_operators_load_beside_the_package_under_a_name_of_their_own(repository):
    variant = repository / "build" / "torch-cpu"
    name = json.loads((variant / "metadata.json").read_text())["id"]
    older = spec_from_file_location("visionattn_kernels", variant / "visionattn_kernels" / "__init__.py")
    loaded = module_from_spec(older)
    try:
        older.loader.exec_module(loaded)  # loads the variant itself first
        assert loaded.window_attention is sys.modules[name].window_attention
        assert loaded.__all__ == kernels.__all__
        copies = {one.partition(".")[2] for one in sys.modules if one.startswith(f"{name}.")}
        assert {"op", "backends.cpp.library", "backends.triton"} <= copies
        q, k, v = (torch.randn(1, 7, 6, 2, 8, requires_grad=True) for _ in range(3))
        results = []
        for attend in (loaded.neighborhood_attention, kernels.neighborhood_attention):
            out = attend(q, k, v, kernel_size=3, dilation=2)
            results.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
        assert all(map(torch.equal, *results))
        assert getattr(torch.ops, name).cpp is not torch.ops.visionattn.cpp
    finally:
        for one in [one for one in sys.modules if one.partition(".")[0] == name]:
            del sys.modules[one]


@pytest.mark.docs
def test_the_package_kernels_loads_it(repository):
    try:
        version("kernels")
    except PackageNotFoundError:
        pytest.skip("the package kernels is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", LOADED, str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=repository)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("_visionattn_kernels_cpu_")
