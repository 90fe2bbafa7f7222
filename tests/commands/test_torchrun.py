"""torchrun: real processes over gloo, one run directory, and a run that goes on where torchrun starts it again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.interruption import differing, seen
from tests.runs.test_resume import BATCHES, COMMON, EPOCHS

pytestmark = pytest.mark.heavy
ROOT = Path(__file__).parents[2]
SEVERAL = ["trainer=ddp", "trainer.accelerator=cpu", "data.batch_size=4"]


def run(folder: Path, launcher: list[str], *options: str, probe: str = "never 0 raise") -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *launcher, "-m", "visionattn", *COMMON, *SEVERAL, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "PROBE": probe},
        capture_output=True,
        text=True,
        timeout=400,
    )


def torchrun(processes: int, restarts: int = 0) -> list[str]:
    words = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--monitor-interval=0.2"]
    return ["-m", "torch.distributed.run", *words]


def only_run(folder: Path) -> Path:
    (found,) = (folder / "outputs/classification/swin_pico").iterdir()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """What Lightning's own processes make of the run."""
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder, [], "trainer.devices=2")
    assert done.returncode == 0, done.stderr[-3000:]
    return only_run(folder)


def test_the_same_run_as_with_lightnings_own_processes(whole, tmp_path):
    done = run(tmp_path, torchrun(2), "trainer.devices=2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("last checkpoint") == 1
    ours = only_run(tmp_path)
    assert differing(ours / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt") == []
    for rank in (0, 1):
        assert seen(ours, rank) == seen(whole, rank)


def test_started_again_it_goes_on(whole, tmp_path):
    """The first process is killed; torchrun ends the other one and starts both anew with the same command."""
    done = run(tmp_path, torchrun(2, restarts=1), "trainer.devices=2", probe="train 9 kill")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resumes from" in done.stdout
    ours = only_run(tmp_path)
    assert differing(ours / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt") == []
    for rank in (0, 1):
        assert seen(ours, rank) == seen(whole, rank)


def test_four_processes_that_are_killed_see_every_sample_once(tmp_path):
    options = ["trainer.devices=4", "data.batch_size=2", "hydra.run.dir=run"]
    ended = run(tmp_path, torchrun(4), *options, probe="accumulated 3 kill")
    assert ended.returncode != 0
    done = run(tmp_path, torchrun(4), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resumes from" in done.stdout
    for epoch in range(EPOCHS):
        parts = [seen(tmp_path / "run", rank) for rank in range(4)]
        ids = [name for part in parts for (at, _), names in part.items() if at == epoch for name in names]
        assert len(ids) == len(set(ids)) == 8 * BATCHES
