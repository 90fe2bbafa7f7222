"""Energy as the machine tells it: RAPL counters of Linux for the CPU, the driver's power reading for a GPU.

RAPL counts the processor's packages with all that runs on them; most systems let only root read it. What a machine does
not tell is left open.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Joules between :meth:`start` and :meth:`joules`.

    Args:
        device: where the work runs.
        powercap: folder of the kernel's counters.
    """

    def __init__(self, device: torch.device, powercap: Path = POWERCAP) -> None:
        self.device = device
        self._counters = [zone / "energy_uj" for zone in sorted(powercap.glob("intel-rapl:?"))]
        self._since, self._before, self._watts = 0.0, [0.0], [0.0]

    def start(self) -> None:
        """Begin to count."""
        self._since, self._watts = time.perf_counter(), []
        self._before = [] if self.device.type == "cuda" else self._read()

    def sample(self) -> None:
        """Read a GPU's power; to be called now and then."""
        if self.device.type == "cuda":
            with suppress(Exception):  # no pynvml, or a driver that does not tell
                self._watts.append(torch.cuda.power_draw(self.device) / 1e3)

    def joules(self) -> float | None:
        """Since the start; None: the machine does not tell."""
        if self.device.type == "cuda":
            seconds = time.perf_counter() - self._since
            return seconds * sum(self._watts) / len(self._watts) if self._watts else None
        after = self._read()
        if not after or len(after) != len(self._before):
            return None
        spent = [now - then for then, now in zip(self._before, after, strict=True)]
        return sum(spent) / 1e6 if min(spent) >= 0 else None  # a counter that began anew

    def _read(self) -> list[float]:
        try:
            return [float(counter.read_text()) for counter in self._counters]
        except (OSError, ValueError):
            return []
