"""Freed memory stays with the process: a second step does not ask the system for pages again."""

import subprocess
import sys

import pytest

STEP = """
import resource, sys
from visionattn.runs.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else True
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(64_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, second = faults(), faults()
print(kept, second < first / 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.heavy
def test_a_freed_block_is_used_again() -> None:
    answers = [
        subprocess.run([sys.executable, "-c", STEP, how], capture_output=True, text=True, check=True).stdout.split()
        for how in ("keep", "leave")
    ]
    if answers[0][0] == "False":
        pytest.skip("this C library has no mallopt")
    assert answers == [["True", "True"], ["True", "False"]]
