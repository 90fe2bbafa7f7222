"""Tests and measurements that need a GPU, in under eight minutes on one card: `make gpu`.

1. the tests marked gpu (kernels, training steps), on several processes where pytest-xdist is there;
2. the kernel benchmark: Swin-T and DiNAT-T stages against everything, then the other backbones without FlexAttention,
   whose compilation takes longest;
3. the Triton plans worth trying, timed.
Rows go to benchmarks/results/ with hardware, versions and configuration; the exit status is that of the tests.
"""

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from visionattn.benchmarks import record
from visionattn.benchmarks.kernels import run_kernels
from visionattn.benchmarks.kernels.tune import tune

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LIMIT = 460.0
TESTS = 240.0
WORKERS = 4
CLOSELY = ["swin_tiny.s1*", "swin_tiny.s3*", "dinat_tiny.s1*", "dinat_tiny.s3*"]
WIDELY = ["swin_tiny.s2*", "swin_tiny.s4", "dinat_tiny.s2*", "dinat_tiny.s4", "cswin_tiny.*", "maxvit_tiny.*"]
QUICK = ["auto", "tiled", "timm*", "partition*", "naive gather", "natten*", "xformers", "sdpa ceiling"]


def run_tests() -> int:
    """pytest's exit status; 124 where the tests took too long."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu", "-q", "--durations=10"]
    if find_spec("xdist") is not None:
        command += ["-n", str(WORKERS)]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=TESTS).returncode
    except subprocess.TimeoutExpired:
        print(f"the tests did not end within {TESTS:.0f} s", file=sys.stderr)
        return 124


def main() -> int:
    if not torch.cuda.is_available():
        print("make gpu needs a CUDA device, and torch finds none", file=sys.stderr)
        return 2
    begin = time.monotonic()
    status = run_tests()
    for cases, methods, share in ((CLOSELY, None, 0.7), (WIDELY, QUICK, 0.95)):
        seconds = max(begin + share * LIMIT - time.monotonic(), 0.0)
        run_kernels(cases, methods, repeats=7, device="cuda", output_dir=RESULTS, seconds=seconds)
    if time.monotonic() - begin < LIMIT:
        cases = ["swin_tiny.s1.shifted", "dinat_tiny.s1"]
        rows = tune(cases)
        record.save(rows, RESULTS, "plans", torch.device("cuda"), {"cases": cases})
    print(f"took {time.monotonic() - begin:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
