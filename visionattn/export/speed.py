"""Images per second of several forms of one model, measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 5
SECONDS = 0.4
"""Of one form in one round, at least; a single call may take longer."""


def images_per_second(forms: Mapping[str, Callable[[], object]], batch: int = 1) -> dict[str, float]:
    """Median over rounds in which each form has its turn.

    Args:
        forms: name -> a call that computes one batch.
        batch: images of a call.
    """
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for call in forms.values():
        call()
    for _ in range(ROUNDS):
        for name, call in forms.items():
            calls, start = 0, time.perf_counter()
            while (passed := time.perf_counter() - start) < SECONDS:
                call()
                calls += 1
            taken[name].append(passed / calls)
    return {name: batch / statistics.median(times) for name, times in taken.items()}
