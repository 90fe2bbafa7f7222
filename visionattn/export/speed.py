"""Images per second, measured without disturbance: each runtime in a process of its own.

The threads of ONNX Runtime, OpenVINO and torch wait for work by spinning. Within one process they take the CPU's cores
from each other, even when one runs for half a second and then the next: with all three, swin_tiny in bfloat16 fell from
41 to 31 images per second on two cores, and OpenVINO's int8 from 102 to 76 in batches of eight.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from visionattn.errors import ConfigError
from visionattn.export import runtimes

ROUNDS = 5
SECONDS = 0.4


def images_per_second(
    forms: Mapping[str, Callable[[], object]], batch: int = 1, rounds: int | None = None, seconds: float | None = None
) -> dict[str, float]:
    """Median over rounds in which each form has its turn; all of them use the same pool of threads.

    Args:
        forms: name -> a call that computes one batch.
        batch: images of a call.
        rounds: None: :data:`ROUNDS`.
        seconds: of one form in one round, at least; a single call may take longer. None: :data:`SECONDS`.
    """
    rounds, seconds = rounds or ROUNDS, SECONDS if seconds is None else seconds
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for call in forms.values():
        call()
    for _ in range(rounds):
        for name, call in forms.items():
            calls, start = 0, time.perf_counter()
            while (passed := time.perf_counter() - start) < seconds:
                call()
                calls += 1
            taken[name].append(passed / calls)
    return {name: batch / statistics.median(times) for name, times in taken.items()}


def apart(
    runtime: str,
    path: Path,
    batches: Sequence[np.ndarray],
    threads: int,
    dtype: str = "float32",
    rounds: int | None = None,
) -> list[tuple[float, list[np.ndarray]]]:
    """Images per second of a file in a process of its own, and what the runtime computes there.

    Args:
        runtime: ``onnxruntime`` or ``openvino``.
        path: the file.
        batches: images ``(B, C, H, W)``; each is measured.
        threads: of the runtime.
        dtype: see :func:`visionattn.export.runtimes.prepare`.
        rounds: see :func:`images_per_second`.

    Raises:
        ConfigError: the runtime is not installed, does not take the file, or its process ends without a result.
    """
    if why := runtimes.why_not(runtime):
        raise ConfigError(why)
    with TemporaryDirectory(prefix="visionattn-") as folder:
        asked: dict[str, Any] = {"runtime": runtime, "path": str(path.absolute()), "threads": threads, "dtype": dtype}
        asked |= {"count": len(batches), "folder": folder, "rounds": rounds or ROUNDS, "seconds": SECONDS}
        for i, images in enumerate(batches):
            np.save(f"{folder}/{i}.npy", images)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", __name__, json.dumps(asked)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
            raise ConfigError(lines[-1].removeprefix("visionattn.errors.ConfigError: "))
        rates = json.loads(done.stdout.splitlines()[-1])
        return [(rate, _outputs(folder, i)) for i, rate in enumerate(rates)]


def _outputs(folder: str, index: int) -> list[np.ndarray]:
    with np.load(f"{folder}/{index}.npz") as found:
        return [found[name] for name in found.files]


def main(asked: dict[str, Any]) -> None:
    """What the process does: measure each batch, keep the outputs, and print the images per second."""
    run = runtimes.prepare(asked["runtime"], Path(asked["path"]), asked["threads"], asked["dtype"])
    rates = []
    for i in range(asked["count"]):
        images = np.load(f"{asked['folder']}/{i}.npy")
        np.savez(f"{asked['folder']}/{i}.npz", *run(images))
        found = images_per_second({"": partial(run, images)}, len(images), asked["rounds"], asked["seconds"])
        rates.append(found[""])
    print(json.dumps(rates))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
