"""A machine where Triton cannot work, or has little memory: one sentence, one warning, and code that works."""

import warnings
from contextlib import nullcontext

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is not installed")
from triton.runtime.errors import OutOfResources

from tests.kernels import triton_driver
from tests.kernels.test_triton_launch import CONSTANTS, NUMBERS, scaled_kernel
from tests.kernels.triton_interpreting import run_interpreted
from visionattn.kernels.backends import triton as backend
from visionattn.kernels.backends.triton import nothing, toolchain
from visionattn.kernels.backends.triton.fallback import KernelFailed
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.geometry import window_geometry

FALLBACKS = "triton_fallback_cases.py"
WINDOW = window_geometry(4, 4, (2, 2), (0, 0), (1, 1))


class Failing:
    """Stands for a kernel whose launch fails."""

    def __init__(self, error: Exception):
        self.error, self.asked = error, 0

    def __getitem__(self, grid):
        return self

    def __call__(self, *arguments, **named):
        self.asked += 1
        raise self.error


class OnCuda:
    """As much of a CUDA tensor as a refusal asks for."""

    is_cuda, device, dtype, shape = True, torch.device("cuda", 1), torch.float16, (1, 4, 4, 1, 16)

    def stride(self, axis):
        return 64


@pytest.fixture
def machine(monkeypatch):
    """A machine with CUDA devices, of which nothing is known yet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "device", lambda index: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    toolchain._found.cache_clear()
    yield monkeypatch
    toolchain._found.cache_clear()


def refusal() -> str:
    q = OnCuda()
    return backend.refuses(q, q, q, None, WINDOW, 1.0)


def test_a_machine_without_a_compiler_is_tried_once_and_told_once(machine):
    kernel = Failing(RuntimeError("Failed to find C compiler. Please specify via CC.\nMore"))
    machine.setattr(nothing, "nothing_kernel", kernel)
    with pytest.warns(RuntimeWarning, match="attention and norms on cuda:1 take slower code: Triton cannot build"):
        assert "(RuntimeError: Failed to find C compiler. Please specify via CC.)" in refusal()
    assert "C compiler" in refusal()  # a second warning would be an error
    assert kernel.asked == 1


def test_a_machine_without_triton_is_told_once(machine):
    machine.setattr(toolchain, "INSTALLED", False)
    with pytest.warns(RuntimeWarning, match="slower code: the package triton is not installed"):
        assert refusal() == "the package triton is not installed"
    assert refusal() == "the package triton is not installed"
    x = torch.zeros(1, 4, 4, 1, 16)
    with warnings.catch_warnings(action="error"):  # a CPU needs none
        assert backend.refuses(x, x, x, None, WINDOW, 1.0) == "the package triton is not installed"


def test_a_machine_where_triton_works_is_not_refused(machine):
    installed = triton_driver.install(machine)
    assert refusal() == refusal() == ""
    assert [name for name, _ in installed.launches] == ["nothing_kernel"]


def test_an_old_card_is_refused_with_a_sentence(machine):
    machine.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    machine.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    sentence = "compute capability 8.0 or newer, and Tesla T4 has 7.5"
    with pytest.warns(RuntimeWarning, match=sentence):
        assert sentence in refusal()


def test_the_answer_is_a_constant_of_a_traced_graph(machine):
    machine.setattr(nothing, "nothing_kernel", Failing(OSError("no ptxas")))

    def choose(x):
        return x + 1 if toolchain.fault(0) else x - 1

    with pytest.warns(RuntimeWarning, match="OSError: no ptxas"):
        toolchain.fault(0)
    machine.undo()  # Dynamo asks for the devices as well
    assert torch.compile(choose, fullgraph=True, backend="eager")(torch.zeros(1)) == 1


def test_with_little_shared_memory_a_kernel_loads_less_ahead(monkeypatch):
    class Kernel(Failing):
        """Runs with one stage alone."""

        def __call__(self, *arguments, **named):
            if named["num_stages"] > 1:
                super().__call__()

    launch = Launch(scaled_kernel, (2,), NUMBERS, CONSTANTS | {"num_stages": 3})
    launch.kernel = Kernel(OutOfResources(106496, 101376, "shared memory"))
    launch.launch((), aligned=False)
    assert (launch.kernel.asked, launch.constants["num_stages"]) == (2, 1)


def test_with_too_little_even_so_the_sentence_has_the_numbers_and_nothing_is_tried_again():
    launch = Launch(scaled_kernel, (2,), NUMBERS, CONSTANTS)
    launch.kernel = Failing(OutOfResources(106496, 65536, "shared memory"))
    launch.kernel.__name__ = "scaled_kernel"
    for _ in range(2):
        with pytest.raises(KernelFailed, match="needs 106496 of this device's shared memory, which has 65536"):
            launch.launch((), aligned=False)
    assert launch.kernel.asked == 1


def test_memory_that_is_full_is_no_fault_of_a_kernel():
    launch = Launch(scaled_kernel, (2,), NUMBERS, CONSTANTS)
    launch.kernel = Failing(torch.OutOfMemoryError("CUDA out of memory"))
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            launch.launch((), aligned=False)
    assert launch.kernel.asked == 2


def test_every_operator_falls_back_forward_and_backward():
    found = run_interpreted("all", "eager", name=FALLBACKS)
    assert len(found) == 10
    assert not any(found.values()), found


@pytest.mark.heavy
def test_every_operator_falls_back_in_compiled_graphs():
    found = run_interpreted("all", "compiled", name=FALLBACKS)
    assert len(found) == 10
    assert not any(found.values()), found
