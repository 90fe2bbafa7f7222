"""A driver for Triton without a device: kernels are compiled for sm_90, and a launch notes what it was given."""

from typing import Any, ClassVar

from triton.backends.compiler import GPUTarget
from triton.runtime import driver


class Utilities:
    """What Triton asks of a device."""

    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[int, ...]:
        return 1, 2, 32, 0, 1024

    def unload_module(self, module: int) -> None:
        pass

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448, "multiprocessor_count": 132, "max_num_regs": 65536, "warpSize": 32}


class Driver:
    """Stands for Triton's CUDA driver; ``launches`` holds a kernel's name and all arguments of each launch.

    All drivers share it, for a kernel keeps the launcher of the driver that it was compiled under.
    """

    launches: ClassVar[list[tuple[str, tuple[Any, ...]]]] = []

    def __init__(self) -> None:
        self.utils = Utilities()
        self.launches.clear()

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        return lambda *arguments: self.launches.append((source.fn.__name__, arguments))

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 7

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def install(monkeypatch) -> Driver:
    """Triton's driver from now on, until the test ends."""
    installed = Driver()
    monkeypatch.setattr(driver, "_active", installed)
    return installed
