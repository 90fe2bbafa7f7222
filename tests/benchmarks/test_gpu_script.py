"""`make gpu` cannot run here, but what it starts must compose, name what exists, and be Python."""

import ast
import runpy
from pathlib import Path

import pytest

import visionattn
from visionattn.benchmarks.kernels.cases import choose
from visionattn.cli import main

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"))
STAGES = {stage.name: stage for stage in SCRIPT["stages"](Path("rows"), rehearse=False)}
BESIDE = SCRIPT["compiling"](100.0)


@pytest.mark.parametrize("stage", [*STAGES.values(), BESIDE], ids=lambda stage: stage.name)
def test_a_stage_can_be_started(stage, capsys):
    words = [word.replace("{left}", "60") for word in stage.command]
    if words[0] == "-c":
        assert ast.parse(words[1])
        assert "{left}" not in words[1]
        assert repr("rows") in words[1]
    elif words[1] == "visionattn":
        assert main([*words[2:], "device=cuda", "--dry-run"]) == 0, capsys.readouterr().err
    else:
        assert words[1] == "pytest"
        assert "no:benchmark" in words


def test_stages_end_one_after_the_other_within_eight_minutes():
    ends = [stage.until for stage in STAGES.values()]
    assert ends == sorted(ends)
    assert max(ends) <= 480


def test_what_is_measured_exists():
    for pattern in SCRIPT["KERNELS"] + SCRIPT["OTHERS"]:
        assert choose(pattern)
    assert set(SCRIPT["MODELS"] + SCRIPT["OTHER_MODELS"]) <= set(visionattn.list_backbones())
