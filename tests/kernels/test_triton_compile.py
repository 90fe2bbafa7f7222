"""The Triton kernels through Triton's own compiler down to machine code, which needs no GPU."""

import pytest
import torch

from visionattn.kernels.geometry import neighborhood_geometry

triton = pytest.importorskip("triton", reason="the package triton is not installed")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from visionattn.kernels.backends.triton import launch, launcher  # noqa: E402

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
KINDS = {int: "i32", float: "fp32"}
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")
MOST_SHARED_MEMORY = 99 * 1024


@pytest.fixture
def taken(monkeypatch, capability) -> dict[str, int]:
    """Kernel to the shared memory that it takes: a launch compiles its kernel for the device instead."""
    found: dict[str, int] = {}

    def compiled(launch: launcher.Launch, *tensors: torch.Tensor) -> None:
        constants = {name: value for name, value in launch.constants.items() if name not in OPTIONS}
        signature = dict.fromkeys(constants, "constexpr")
        for name, value in zip(launch.kernel.arg_names, (*tensors, *launch.numbers), strict=False):
            signature[name] = TYPES[value.dtype] if isinstance(value, torch.Tensor) else KINDS[type(value)]
        ordered = {name: signature[name] for name in launch.kernel.arg_names}
        options = {name: launch.constants[name] for name in OPTIONS}
        source = ASTSource(launch.kernel, ordered, constants)
        result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        found[launch.kernel.__name__] = result.metadata.shared

    monkeypatch.setattr(launcher.Launch, "__call__", compiled)
    return found


def run(geometry, shape, dtype) -> None:
    """Forward and backward of the packed form."""
    batch, height, width, heads, depth = shape
    qkv = torch.empty(batch, height, width, 3, heads, depth, dtype=dtype)
    bias = torch.empty(heads, *geometry.table_shape)
    inputs, rule = (*qkv.unbind(3), bias), (geometry, 0.25)
    out, lse = launch.forward(*inputs, *rule)
    launch.backward(out, *inputs, out, lse, *rule, torch.empty_like(qkv).unbind(3))


@pytest.mark.parametrize(
    ("capability", "geometry", "shape", "kernels"),
    [
        (90, neighborhood_geometry(14, 14, 7, 2, 1), (1, 14, 14, 3, 128), 4),
    ],
    ids=["dilated neighborhood on sm_90"],
)
def test_compiles_within_shared_memory(taken, geometry, shape, kernels):
    run(geometry, shape, torch.bfloat16)
    assert len(taken) == kernels
    assert all(bytes_taken <= MOST_SHARED_MEMORY for bytes_taken in taken.values()), taken
