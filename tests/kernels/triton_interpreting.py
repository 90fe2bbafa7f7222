"""Scripts of Triton cases in Triton's interpreter, each in a process of its own: what they print, case by case."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run_interpreted(*arguments: str, name: str) -> dict[str, list[str]]:
    """Case -> its faults, as the script ``name`` of this folder prints them; a warning is an error there."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    old_interpreter = "ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"  # Triton 3.6
    script = Path(__file__).with_name(name)
    command = [sys.executable, "-W", "error", "-W", old_interpreter, str(script), *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
