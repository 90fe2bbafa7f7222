"""The examples of feature extraction run as they stand, on a small backbone (`make docs`)."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CASES = {
    "features_smp": ("segmentation_models_pytorch", "(2, 19, 128, 192)"),
    "features_torchvision": ("torchvision", "'4': (2, 64, 32, 48), '8': (2, 64, 16, 24), '16': (2, 64, 8, 12)"),
    "features_transformers": ("transformers", "(48, (2, 48, 32, 48)), (96, (2, 96, 16, 24)), (192, (2, 192, 8, 12))"),
}


@pytest.mark.docs
@pytest.mark.parametrize("name", CASES)
def test_an_example_runs(name):
    package, expected = CASES[name]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "va_dinat_pico"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert expected in done.stdout, done.stdout
