"""Shared by all tests: the threads of two cores (or ``OMP_NUM_THREADS``), a fixed seed before each test."""

import os
from collections.abc import Iterator

import pytest
import torch

from tests.commands.short_runs import exported, swin, trained  # noqa: F401 - fixtures of several rooms

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1 if "PYTEST_XDIST_WORKER" in os.environ else 2)))


@pytest.fixture(autouse=True)
def _seed_and_threads() -> Iterator[None]:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
