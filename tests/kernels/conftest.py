"""The backends that every machine must be able to run, found by the ordered lists of ``kernels/backends/order.py``."""

import torch

from tests.kernels.compiler import each_of
from visionattn.kernels.backends.order import NEIGHBORHOOD, WINDOW

TRUTH = "reference"
ELSEWHERE = ("triton", "flex")
"""Backends that need another device or type; each has test files of its own."""
IN_BOTH = {backend.name for backend in WINDOW} & {backend.name for backend in NEIGHBORHOOD}
HERE = [backend.name for backend in WINDOW if backend.name in IN_BOTH - {TRUTH, *ELSEWHERE}]


backend = each_of(HERE)
"""The backends that compute both ops in float64 on the CPU; ``cpp`` only where there is a compiler."""
registered_backend = each_of([name for name in HERE if hasattr(torch.ops.visionattn, name)])
"""Those among them that are registered torch ops."""
