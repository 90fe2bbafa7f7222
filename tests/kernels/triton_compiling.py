"""What compiled Triton kernels take, from Triton's own compiler down to machine code, which needs no GPU."""

import subprocess
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from visionattn.kernels.backends.triton import launch, launcher
from visionattn.kernels.backends.triton.plan import Plan
from visionattn.kernels.custom_op import signed
from visionattn.kernels.geometry import Geometry
from visionattn.kernels.signature import Layout, Wanted

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
TYPES |= {torch.int32: "*i32", torch.int64: "*i64"}
KINDS = {int: "i32", float: "fp32"}
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion", "maxnreg")


@dataclass(frozen=True)
class Taken:
    """Bytes of shared memory of a program, bytes of stack of a thread, asynchronous copies of a compiled kernel.

    A stack means that registers were spilled.
    """

    shared: int
    stack: int
    copies: int


def compile_instead(monkeypatch: pytest.MonkeyPatch, capability: int) -> dict[str, Taken]:
    """Kernel to what it takes: from now on a launch compiles its kernel for a device, with a launch's own assumptions.

    Those are what Triton takes for granted of a launch's arguments: tensors aligned, numbers 1 or multiples of 16.
    """
    found: dict[str, Taken] = {}

    def compiled(own: launcher.Launch, *tensors: torch.Tensor) -> None:
        constants = {name: value for name, value in own.constants.items() if name not in OPTIONS}
        signature = dict.fromkeys(constants, "constexpr")
        attributes = {}
        for index, value in enumerate((*tensors, *own.numbers)):
            name = own.kernel.arg_names[index]
            signature[name] = TYPES[value.dtype] if isinstance(value, torch.Tensor) else KINDS[type(value)]
            if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0):
                attributes[index,] = [["tt.divisibility", 16]]
            elif value == 1:
                signature[name], constants[name] = "constexpr", 1
        ordered = {name: signature[name] for name in own.kernel.arg_names}
        options = {name: value for name, value in own.constants.items() if name in OPTIONS}
        source = ASTSource(own.kernel, ordered, constants, attributes)
        result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        copies = result.asm["ptx"].count("cp.async.c")
        found[own.kernel.__name__] = Taken(result.metadata.shared, stack_of(result.asm["cubin"]), copies)

    monkeypatch.setattr(launcher.Launch, "__call__", compiled)
    return found


def stack_of(binary: bytes) -> int:
    """Bytes of stack of a thread, from Triton's copy of NVIDIA's cuobjdump."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(usage.split("STACK:")[1].split()[0])


def run_packed(
    geometry: Geometry,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.bfloat16,
    biased: bool = True,
    plan: Plan | None = None,
) -> None:
    """Forward and backward of the packed form of a map (B, H, W, N, D); ``plan`` is that of the backward."""
    batch, height, width, heads, depth = shape
    qkv = torch.empty(batch, height, width, 3, heads, depth, dtype=dtype, device="meta")
    maps, gradients = qkv.unbind(3), torch.empty_like(qkv).unbind(3)
    bias = torch.empty(heads, *geometry.table_shape, device="meta") if biased else None
    call = signed(*maps, bias, geometry, 0.25)
    out, lse = launch.forward(call)(*maps, bias)
    wanted = Wanted(tuple(Layout.of(gradient) for gradient in gradients), maps=True, table=biased)
    launch.backward(call, wanted, plan)(out, *maps, bias, out, lse, gradients)
