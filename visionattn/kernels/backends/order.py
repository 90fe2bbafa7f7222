"""The ordered lists: "auto" takes the first backend that does not refuse. One line per backend and op."""

from __future__ import annotations

from visionattn.kernels.backends import cpp, flex, natten, reference, traceable, triton, xformers
from visionattn.kernels.backends.tiled import ops as tiled
from visionattn.kernels.op import Backend

WINDOW: tuple[Backend, ...] = (
    triton.WINDOW,
    cpp.WINDOW,
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
