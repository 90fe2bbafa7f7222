"""`import visionattn` is light, and timm knows the backbones whichever of the two is imported first."""

import subprocess
import sys

import pytest

import visionattn
from visionattn.errors import ConfigError

QUESTION = "print('va_dinat_pico' in timm.list_models('va_*'))"


@pytest.mark.parametrize(
    "order",
    [
        "import timm, visionattn",
        "import visionattn, timm",
        pytest.param("import visionattn.attention; import timm", marks=pytest.mark.heavy),
        "import visionattn.backbones.zoo; import timm",
        pytest.param("import visionattn; visionattn.load_weights; import timm", marks=pytest.mark.heavy),
        "import visionattn, importlib.util; importlib.util.find_spec('timm'); import timm",
    ],
)
def test_registered_in_any_order(order):
    done = subprocess.run([sys.executable, "-c", f"{order}; {QUESTION}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_the_import_alone_loads_neither_torch_nor_timm_nor_hydra():
    code = "import sys, visionattn; print([m for m in ('torch', 'timm', 'hydra', 'lightning') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stage_that_the_backbone_lacks_is_named():
    with pytest.raises(ConfigError, match=r"mixers\.s9; did you mean mixer@backbone\.mixers\.s3\?"):
        visionattn.create_backbone("swin_pico", overrides=["mixer@mixers.s9=window"])
