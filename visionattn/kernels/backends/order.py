"""The ordered lists: "auto" takes the first backend that does not refuse. One line per backend and op."""

from __future__ import annotations

from visionattn.kernels.backends import (
    cpp,
    flex,
    natten,
    reference,
    torch_scan,
    torch_tokens,
    traceable,
    traceable_routed,
    triton,
    whole_map,
    xformers,
)
from visionattn.kernels.backends.cpp import routed as cpp_routed
from visionattn.kernels.backends.cpp import scan as cpp_scan
from visionattn.kernels.backends.cpp import tokens as cpp_tokens
from visionattn.kernels.backends.tiled import ops as tiled
from visionattn.kernels.backends.tiled import routed as tiled_routed
from visionattn.kernels.backends.tiled import tokens as tiled_tokens
from visionattn.kernels.backends.triton import routed as triton_routed
from visionattn.kernels.backends.triton import scan as triton_scan
from visionattn.kernels.backends.triton import tokens as triton_tokens
from visionattn.kernels.op import Backend
from visionattn.kernels.routed_op import RoutedBackend
from visionattn.kernels.scan_op import ScanBackend
from visionattn.kernels.token_op import TokenBackend

WINDOW: tuple[Backend, ...] = (
    triton.WINDOW,
    cpp.WINDOW,
    whole_map.WINDOW,
    tiled.WINDOW,
    xformers.WINDOW,
    flex.WINDOW,
    traceable.WINDOW,
    reference.WINDOW,
)
NEIGHBORHOOD: tuple[Backend, ...] = (
    triton.NEIGHBORHOOD,
    cpp.NEIGHBORHOOD,
    tiled.NEIGHBORHOOD,
    natten.NEIGHBORHOOD,
    flex.NEIGHBORHOOD,
    traceable.NEIGHBORHOOD,
    reference.NEIGHBORHOOD,
)
TOKENS: tuple[TokenBackend, ...] = (
    cpp_tokens.TOKENS,
    torch_tokens.FUSED,
    triton_tokens.TOKENS,
    tiled_tokens.TOKENS,
    torch_tokens.TRACEABLE,
    reference.TOKENS,
)
SCAN: tuple[ScanBackend, ...] = (
    triton_scan.SCAN,
    cpp_scan.SCAN,
    torch_scan.REFERENCE,
    torch_scan.TRACEABLE,
)
ROUTED: tuple[RoutedBackend, ...] = (
    triton_routed.ROUTED,
    cpp_routed.ROUTED,
    tiled_routed.ROUTED,
    traceable_routed.ROUTED,
    reference.ROUTED,
)
