"""The ordered lists: "auto" takes the first backend that does not refuse. One line per backend and op."""

from __future__ import annotations

from visionattn.kernels import cpp, reference, tiled
from visionattn.kernels.op import Backend

WINDOW: tuple[Backend, ...] = (cpp.WINDOW, tiled.WINDOW, reference.WINDOW)
NEIGHBORHOOD: tuple[Backend, ...] = (cpp.NEIGHBORHOOD, tiled.NEIGHBORHOOD, reference.NEIGHBORHOOD)
