"""`make gpu` cannot run here, but what it starts must compose, name what exists, be Python, and end with it."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import visionattn
from visionattn.benchmarks.kernels.cases import choose
from visionattn.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
try:
    import gpu
    import gpu_stages
    from gpu_processes import first_errors
finally:
    sys.path.remove(str(FOLDER))

STAGES = {stage.name: stage for stage in gpu_stages.stages(Path("rows"))}
REHEARSED = {f"rehearsed {stage.name}": stage for stage in gpu_stages.rehearsal(Path("rows"))}
SLEEPS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("CHILD", child.pid, flush=True)
time.sleep(600)
"""
PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import gpu
from gpu_stages import Stage
stages = [Stage("one", ["-c", "print(7)"], 60.0, ""), Stage("two", ["-c", {sleeps!r}], 300.0, "")]
run = gpu.Run(Path({results!r}), 300.0, False)
with gpu.ended_by_signals():
    run.all(stages)
sys.exit(run.tell(stages, set()))
"""


@pytest.mark.parametrize("stage", (STAGES | REHEARSED).values(), ids=[*STAGES, *REHEARSED])
def test_a_stage_can_be_started(stage, capsys):
    words = [word.replace("{left}", "60") for word in stage.command]
    if words[0] == "-c":
        assert ast.parse(words[1])
        assert repr("rows") in words[1]
    elif words[0] != "-m":
        assert Path(words[0]).is_file()
    elif words[1] == "visionattn":
        assert main([*words[2:], "device=cuda", "--dry-run"]) == 0, capsys.readouterr().err
    else:
        assert words[1] == "pytest"
        assert "no:benchmark" in words


def test_a_plan_is_told_and_its_first_stages_fit_eight_minutes(capsys):
    every = list(STAGES.values())
    gpu.plan(every, gpu.LIMIT, False)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1 + len(every)
    assert "beside the tests" in next(line for line in told if line.split()[0] == "compiling")
    assert gpu.LIMIT <= 480
    first, second = gpu_stages.chosen(every, "tests,kernels"), gpu_stages.chosen(every, "plans, natten,compilers")
    assert sum(stage.seconds for stage in first) < 300
    assert [stage.name for stage in second] == ["plans", "natten", "compilers"]
    with pytest.raises(SystemExit, match="no stage 'plan'; choose from tests, compiling, kernels"):
        gpu_stages.chosen(every, "plan")


def test_what_is_measured_exists():
    for pattern in gpu_stages.KERNELS + gpu_stages.OTHERS + gpu_stages.TUNED:
        assert choose(pattern)
    assert set(gpu_stages.MODELS + gpu_stages.OTHER_MODELS) <= set(visionattn.list_backbones())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_no_process_outlives_the_run(tmp_path, number):
    script = PARENT.format(folder=str(FOLDER), sleeps=SLEEPS, results=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
        child = next(int(line.split()[1]) for line in run.stdout if line.startswith("CHILD"))
        os.kill(run.pid, number)
        told, end = run.stdout.read(), time.monotonic() + 20
    if number == signal.SIGTERM:
        assert "ended by SIGTERM" in told
        assert "not ended or not reached: two" in told
    while _lives(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _lives(child)
    assert (tmp_path / "logs" / "one.txt").read_text() == "7\n"


def _lives(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_first_errors_are_told(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("FAILED tests/gpu/a.py::b[1]\nE   AssertionError: 2\nFAILED tests/gpu/a.py::b[1] - Assert...\nend\n")
    assert first_errors(log, 1) == ["tests/gpu/a.py::b[1] | AssertionError: 2"]
    log.write_text("a\n\nTraceback\nValueError: no\n")
    assert first_errors(log, 1) == ["a", "Traceback", "ValueError: no"]
    assert first_errors(log, 0) == []


def test_figures_of_models_are_told():
    document = json.loads(max((FOLDER / "results").glob("backbones_amd-epyc_*.json")).read_text())
    assert len(list(gpu.figures(document))) == len(document["rows"])
