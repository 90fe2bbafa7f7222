import pytest


@pytest.fixture(params=["tiled", "cpp", "portable"])
def backend(request: pytest.FixtureRequest) -> str:
    """The backends that this machine must be able to run; `cpp` only where there is a compiler."""
    from visionattn.kernels.backends.cpp import build

    if request.param == "cpp" and build.find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return request.param
