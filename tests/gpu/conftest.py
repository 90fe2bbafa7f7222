"""Tests that need a CUDA device: `pytest -m gpu tests/gpu`, or `make gpu` with the measurements.

A test that can run anywhere takes the fixture `device`, and a function or model is compiled by the fixture `compiled`.
`VISIONATTN_GPU_TESTS=cpu pytest -m gpu tests/gpu` runs those tests on the CPU, so that no typing error is found on a
lent card. A test that needs the card itself (Triton's kernels, CUDA graphs) takes the fixture `cuda`, and is skipped.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

HAVE_RUN = (
    "test_error_at_most_twice_plain_code", "test_half_precision", "test_without_a_bias", "test_random_shapes",
    "test_two_runs_give_equal_bits", "test_registered", "test_auto_takes_triton_and_autocast_halves_the_maps",
    "test_batches_beyond_32_bits", "test_one_step", "test_compiles_as_one_graph", "test_scales_that_are_not_positive",
    "test_windows_of_one_block_are_right", "test_window_gradients_in_one_tensor_repeat_their_bits",
    "test_windows_take_gradients_of_any_strides", "test_windows_of_batches_beyond_32_bits",
    "test_windows_are_captured_in_a_graph", "test_what_cannot_be_captured_is_profiled", "test_rows_of_a_backbone",
    "test_a_capture_that_fails_leaves_random_numbers_and_later_captures", "test_the_copy_of_a_card_is_fast",
)  # fmt: skip
"""Functions that have passed on a card; all others are run before them."""
FIRST = ("test_gpu_kernels", "test_gpu_training", "test_gpu_tasks")
"""Files in the order of their tests, within those that have run and those that have not; all others follow."""
ON_CPU = os.environ.get("VISIONATTN_GPU_TESTS") == "cpu"
LIMIT = float(os.environ.get("VISIONATTN_GPU_SECONDS", "inf"))
BEGIN = time.monotonic()
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS then gives equal bits; read at its first call
FALLBACK = "visionattn.kernels.backends.triton.fallback.SlowerCode"
NO_DEVICE = "needs a CUDA device, and torch.cuda.is_available() is false"


def _order(item: pytest.Item) -> tuple[bool, int]:
    file = item.path.stem
    return getattr(item, "originalname", item.name) in HAVE_RUN, FIRST.index(file) if file in FIRST else len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder and bring those that have never run to the front; skip what cannot run here.

    Warnings are shown, not raised: drivers and compilers have their own, and each run on a card counts. A kernel that
    fails there is an error all the same, though other code would take its place.
    """
    here = [item for item in items if "gpu" in item.path.parent.parts[-1:]]
    for item in here:
        item.add_marker(pytest.mark.gpu)
        item.add_marker(pytest.mark.filterwarnings("default", f"error::{FALLBACK}"))
        if not torch.cuda.is_available() and not (ON_CPU and "cuda" not in getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.skip(reason=NO_DEVICE))
    items[:] = [item for item in items if item not in here] + sorted(here, key=_order)


class Told:
    """Prints what a test measured, and a failure when it happens: a run that reaches its limit ends without a summary.

    The process that collects the results prints, past pytest's capture.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        lines = [f"FAILED {report.nodeid}", report.longreprtext] if report.failed else []
        if report.when == "call":
            lines += [f"MEASURED {report.nodeid}: {name}: {value}" for name, value in report.user_properties]
        screen = self.config.pluginmanager.get_plugin("terminalreporter")
        if screen is not None and lines and report.nodeid.startswith("tests/gpu/"):
            screen.write_line("\n" + "\n".join(lines))


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Told(config))


@pytest.fixture(autouse=True)
def _in_time() -> None:
    """`VISIONATTN_GPU_SECONDS`: no test begins later than that, so that a run ends with its report."""
    if time.monotonic() - BEGIN > LIMIT:
        pytest.skip(f"would have begun after {LIMIT:.0f} s")


@pytest.fixture(autouse=True)
def _usable_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """A kernel that reads or writes what it may not makes every later call of its process fail.

    Such a process ends with the test that did it; pytest-xdist begins another one for the tests that are left.
    """
    yield
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        reason = f"{request.node.nodeid} left the device unusable: {str(error).splitlines()[0]}"
        if "PYTEST_XDIST_WORKER" not in os.environ:
            pytest.exit(reason, returncode=1)
        print(reason, file=sys.__stderr__, flush=True)
        os._exit(1)


@pytest.fixture
def cuda() -> torch.device:
    return torch.device("cuda")


@pytest.fixture
def device() -> torch.device:
    return torch.device("cpu" if ON_CPU else "cuda")


@pytest.fixture
def compiled(device: torch.device) -> Callable[..., Any]:
    """`torch.compile` in one graph: Inductor on a card; on the CPU its front end alone, which takes seconds."""
    torch._dynamo.reset()
    backend = "inductor" if device.type == "cuda" else "aot_eager"

    def compile(function: Any, **options: Any) -> Any:
        return torch.compile(function, fullgraph=True, backend=backend, **options)

    return compile
