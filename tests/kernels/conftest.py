"""The backends that every machine must be able to run, found by the ordered lists of ``kernels/backends/order.py``."""

import pytest
import torch

from tests.kernels.compiler import available
from visionattn.kernels.backends.order import NEIGHBORHOOD, WINDOW

TRUTH = "reference"
ELSEWHERE = ("triton", "flex")
"""Backends that need another device or type; each has test files of its own."""
IN_BOTH = {backend.name for backend in WINDOW} & {backend.name for backend in NEIGHBORHOOD}
HERE = [backend.name for backend in WINDOW if backend.name in IN_BOTH - {TRUTH, *ELSEWHERE}]


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest) -> str:
    """The backends that compute both ops in float64 on the CPU; ``cpp`` only where there is a compiler."""
    return available(request.param)


@pytest.fixture(params=[name for name in HERE if hasattr(torch.ops.visionattn, name)])
def registered_backend(request: pytest.FixtureRequest) -> str:
    """Those among them that are registered torch ops."""
    return available(request.param)
