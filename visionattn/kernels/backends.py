"""The ordered lists: "auto" takes the first backend that does not refuse. One line per backend and op."""

from __future__ import annotations

from visionattn.kernels import cpp, flex, natten, portable, reference, tiled, triton, xformers
from visionattn.kernels.op import Backend

WINDOW: tuple[Backend, ...] = (
    triton.WINDOW,
    cpp.WINDOW,
    tiled.WINDOW,
    xformers.WINDOW,
    flex.WINDOW,
    portable.WINDOW,
    reference.WINDOW,
)
NEIGHBORHOOD: tuple[Backend, ...] = (
    triton.NEIGHBORHOOD,
    cpp.NEIGHBORHOOD,
    tiled.NEIGHBORHOOD,
    natten.NEIGHBORHOOD,
    flex.NEIGHBORHOOD,
    portable.NEIGHBORHOOD,
    reference.NEIGHBORHOOD,
)
