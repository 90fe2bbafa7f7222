"""Tests that need a CUDA device: `pytest -m gpu`."""

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder, and skips it, with the reason, where there is no device."""
    for item in items:
        if "gpu" in item.path.parent.parts[-1:]:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch.cuda.is_available() is false"))


@pytest.fixture
def cuda() -> torch.device:
    return torch.device("cuda")
