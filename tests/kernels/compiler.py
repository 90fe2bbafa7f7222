"""What the tests of all operators ask before they run a backend."""

from collections.abc import Sequence
from typing import Any

import pytest

from visionattn.kernels.backends.cpp import build


def available(name: str) -> str:
    """The name of a backend; the test is skipped where ``cpp`` has no compiler."""
    if name == "cpp" and build.find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return name


def each_of(names: Sequence[str]) -> Any:
    """A fixture: these backends by turns."""

    @pytest.fixture(params=names)
    def name(request: pytest.FixtureRequest) -> str:
        return available(request.param)

    return name
