"""Fused Triton kernels for both ops: forward, all gradients and the bias table's gradient, on CUDA devices.

Files: `plan` (how a map is cut into tiles), `device` (parts the kernels share), `forward`, `backward_query`, `backward_key`,
`backward_bias`, `backward_window` (the kernels), `launch` (from tensors to launches), `ops` (registered ops).
Nothing but the output and the log-sum-exp is kept for the backward, and no kernel uses atomics: two runs give equal bits.
With TRITON_INTERPRET=1 in the environment before the import, the same kernels run on the CPU, slowly, for checking.
"""

from importlib.util import find_spec

from torch import Tensor

from visionattn.kernels.geometry import Geometry
from visionattn.kernels.op import Backend

if find_spec("triton") is not None:
    from visionattn.kernels.triton.ops import attend, refuses
else:

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
        raise ValueError(refuses(q, k, v, bias, geometry, scale))

    def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
        return "the package triton is not installed"


WINDOW = Backend("triton", attend, refuses)
NEIGHBORHOOD = Backend("triton", attend, refuses)
