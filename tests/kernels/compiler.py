"""What the tests of all operators ask before they run a backend."""

import pytest

from visionattn.kernels.backends.cpp import build


def available(name: str) -> str:
    """The name of a backend; the test is skipped where ``cpp`` has no compiler."""
    if name == "cpp" and build.find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return name
