"""The Triton kernels through Triton's own compiler down to machine code, which needs no GPU."""

import pytest
import torch

from visionattn.kernels.geometry import neighborhood_geometry, window_geometry

triton = pytest.importorskip("triton", reason="the package triton is not installed")
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from visionattn.kernels.backends.triton import launch  # noqa: E402

KERNELS = [name for name in vars(launch) if name.endswith("_kernel")]
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
MOST_SHARED_MEMORY = 99 * 1024


class Compiling:
    """Stands for a kernel: a launch compiles it for a target instead, and notes the shared memory it takes."""

    def __init__(self, kernel, target, taken: dict[str, int]) -> None:
        self.kernel, self.target, self.taken = kernel, target, taken

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **named):
        options = {name: named.pop(name) for name in ("num_warps", "num_stages", "enable_fp_fusion")}
        signature = dict.fromkeys(named, "constexpr")
        for name, value in zip(self.kernel.arg_names, arguments, strict=False):
            kinds = {int: "i32", float: "fp32"}
            signature[name] = TYPES[value.dtype] if isinstance(value, torch.Tensor) else kinds[type(value)]
        ordered = {name: signature[name] for name in self.kernel.arg_names}
        source = ASTSource(self.kernel, ordered, named)
        compiled = triton.compile(source, target=self.target, options=options)
        self.taken[self.kernel.__name__] = compiled.metadata.shared


@pytest.fixture
def taken(monkeypatch, capability) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in KERNELS:
        monkeypatch.setattr(launch, name, Compiling(getattr(launch, name), GPUTarget("cuda", capability, 32), found))
    return found


def run(geometry, shape, dtype) -> None:
    batch, height, width, heads, depth = shape
    q, k, v = torch.empty(batch, height, width, 3, heads, depth, dtype=dtype).unbind(3)
    bias = torch.empty(heads, *geometry.table_shape)
    call = launch.problem(q, k, v, bias, geometry.rows.encode(), geometry.cols.encode(), 0.25)
    out, lse = launch.forward(call)
    launch.backward(call, out, lse, out, maps=True, table=True)


@pytest.mark.parametrize(
    ("capability", "geometry", "shape", "kernels"),
    [
        (80, window_geometry(14, 14, 7, 3, 1), (1, 14, 14, 3, 32), 2),
        (90, window_geometry(14, 14, 7, 3, 1), (1, 14, 14, 3, 32), 2),
        (90, neighborhood_geometry(14, 14, 7, 2, 1), (1, 14, 14, 3, 128), 4),
    ],
    ids=["swin on sm_80", "swin on sm_90", "dilated neighborhood on sm_90"],
)
def test_compiles_within_shared_memory(taken, geometry, shape, kernels):
    run(geometry, shape, torch.bfloat16)
    assert len(taken) == kernels
    assert all(bytes_taken <= MOST_SHARED_MEMORY for bytes_taken in taken.values()), taken
