"""A dry run starts without torch's compiler, and whatever asks for it gets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from visionattn.cli.launch.postponing import _Postponed, postpone
postpone()
waiting = lambda: [name for name, module in sys.modules.items() if isinstance(module, _Postponed)]
"""
CASES = {
    "a class is compared and called": """
from torch._dynamo import OptimizedModule, disable
import torch
assert not isinstance(torch.nn.Identity(), OptimizedModule)
assert disable(len) is len and disable(recursive=False)(len) is len
assert "torch._dynamo" in waiting()
assert isinstance(OptimizedModule(torch.nn.Identity(), lambda f: f), torch._dynamo.eval_frame.OptimizedModule)
assert isinstance(torch.compile(torch.nn.Identity()), OptimizedModule)
assert not [name for name in waiting() if name.startswith("torch._dynamo")]
""",
    "a module of the package": """
import torch._dynamo.config as config
import torch
assert config is sys.modules["torch._dynamo.config"] is torch._dynamo.config
assert config.__spec__.name == "torch._dynamo.config" and config.recompile_limit > 0
""",
    "a plot of a metric": """
import torch, torchmetrics
metric = torchmetrics.MeanMetric()
assert "torchmetrics.utilities.plot" in waiting() and "matplotlib" not in sys.modules
metric.update(torch.ones(2))
figure, _ = metric.plot()
assert type(figure).__name__ == "Figure" and "torchmetrics.utilities.plot" not in waiting()
""",
    "another name": """
import torch._inductor.config as settings
settings.deterministic = True
assert "torch._inductor.config" in waiting() and settings.max_autotune in (True, False)
assert "torch._inductor.config" not in waiting()
""",
}


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=cwd)


def test_a_module_waits_until_it_is_used(tmp_path):
    used = """
from scipy import signal
from scipy.signal import hamming
assert waiting() == ["scipy.signal"] and "transformers" not in sys.modules
assert signal.windows.hann(3)[1] == 1.0 and not waiting()
"""
    names = "import visionattn.cli.launch.postponing as it; it._NAMES = {'scipy.signal': ('hamming',)}"
    done = run("-c", f"{names}{SCRIPT}{used}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES)
def test_what_is_asked_for_is_loaded(case, tmp_path):
    done = run("-c", SCRIPT + CASES[case], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["experiment=shapes/mask_rcnn", "data.root=shapes"],
        ["experiment=shapes/mask2former", "data.root=shapes", "weights=null"],
    ],
)
def test_a_dry_run_says_the_same_and_loads_no_compiler(words, tmp_path):
    """Beside a dry run as a program would start it, in which nothing is postponed."""
    if words:
        run(
            "-m",
            "visionattn",
            "data",
            "make=shapes",
            "layout=coco_panoptic",
            "dir=shapes",
            "num_train=4",
            "num_val=4",
            cwd=tmp_path,
        )
    loaded = 'print("postponed", type(sys.modules["torch._dynamo"]).__name__, file=sys.stderr); '
    loaded += 'print("drawing", "matplotlib" in sys.modules, file=sys.stderr)'
    start = f"import sys; sys.argv[1:] = {['train', '--dry-run', *words]}; from visionattn.cli import main; main(%s)"
    quick = run("-c", f"{start % ''}; {loaded}", cwd=tmp_path)
    usual = run("-c", f"{start % 'sys.argv[1:]'}; {loaded}", cwd=tmp_path)
    assert quick.stdout == usual.stdout
    assert "dry run: everything can be built" in quick.stdout, quick.stderr
    kind = "module" if "experiment=shapes/mask2former" in words else "_Postponed"  # transformers' models ask for it
    assert f"postponed {kind}" in quick.stderr
    assert "drawing False" in quick.stderr
    assert "postponed module" in usual.stderr
