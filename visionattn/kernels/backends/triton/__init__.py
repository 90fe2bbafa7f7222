"""Fused Triton kernels for both ops: forward, all gradients and the bias table's gradient, on CUDA devices.

Files: ``axis``, ``layout`` and ``plan`` (how a map is cut into tiles), ``device`` (parts that all kernels share),
``tiles`` (parts of the kernels that work by tiles), ``pictures``, ``forward``, ``backward_query``, ``backward_key``,
``backward_bias`` (those kernels), ``walk_plan``, ``walk_device``, ``walk_backward`` (another backward of
neighborhoods, for plans that name it), ``window_plan``, ``window_device``, ``window_forward``, ``window_backward``
(the same for windows that fit one block), ``problem`` (what launches depend on), ``launcher`` (one launch),
``toolchain`` (whether Triton works here), ``fallback`` (where one kernel does not), ``tiled_launch``, ``walk_launch``
and ``window_launch`` (the launches of a call), ``launch`` (from tensors to launches), ``ops`` (registered ops), and,
each with ``_launch`` and ``_kernels``, ``scan`` (the selective scan), ``routed`` (listed regions), ``token`` (a map
against few tokens), ``depthwise`` (depthwise convolutions), ``rows`` and ``batch_norm`` (norms, GELU's gradient). Of
attention, nothing but the output and the log-sum-exp is kept for the backward. No kernel uses atomics: two runs give
equal bits. With TRITON_INTERPRET=1 in the environment before the import, the same kernels run on the CPU, slowly, for
checking. Triton takes half a second to import, so it is imported by the first call that may use it.
"""

from torch import Tensor

from visionattn.kernels.backends.triton import toolchain
from visionattn.kernels.geometry import Geometry
from visionattn.kernels.op import Backend


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Fused attention of either op; see ``visionattn.kernels.op`` for the arguments."""
    from visionattn.kernels.backends.triton import ops

    return ops.attend(q, k, v, bias, geometry, scale)


def attend_packed(qkv: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """The same of ``(B, H, W, 3, N, D)``; its gradient is one such tensor."""
    from visionattn.kernels.backends.triton import ops

    return ops.attend_packed(qkv, bias, geometry, scale)


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why the kernels cannot run this call, or ""."""
    if reason := toolchain.refuses(q):
        return reason
    if geometry.decay and bias is not None:
        return "its kernels take a decay or a bias table, not both"
    from visionattn.kernels.backends.triton import ops

    return ops.refuses(q, k, v)


WINDOW = Backend("triton", attend, refuses, attend_packed)
NEIGHBORHOOD = Backend("triton", attend, refuses, attend_packed)
