"""The whole matrix of real kills: SIGKILL and SIGTERM, one and two processes, with and without workers.

Heavy: about half an hour on two cores. The small core that always runs is test_resume.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .interruption import differing, seen
from .test_resume import BATCHES, COMMON, EPOCHS

pytestmark = pytest.mark.heavy
ROOT = Path(__file__).parents[2]
ACCUMULATED = ["trainer.accumulate_grad_batches=2", "data.batch_size=4"]
AUGMENTED = ["data.train_transform.auto_augment=rand-m5-n1", "data.train_transform.re_prob=0.5"]


def train(folder: Path, probe: str, *options: str, processes: int = 1) -> subprocess.CompletedProcess:
    several = ["trainer=ddp", f"trainer.devices={processes}"] if processes > 1 else []
    command = [sys.executable, "-W", "ignore", "-m", "visionattn", *COMMON, *several, *AUGMENTED, *options]
    environment = {**os.environ, "PROBE": probe or "never 0 raise", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, f"hydra.run.dir={folder}"],
        cwd=folder.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=580,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing interrupted, by number of processes and options."""
    done: dict[tuple, Path] = {}

    def get(processes: int, options: tuple[str, ...]) -> Path:
        if (processes, options) not in done:
            folder = tmp_path_factory.mktemp("whole") / "run"
            ended = train(folder, "", *options, processes=processes)
            assert ended.returncode == 0, ended.stderr
            done[processes, options] = folder
        return done[processes, options]

    return get


KILLS = [
    ["train 3 kill", "accumulated 4 kill"],
    ["train 3 term"],
    ["validation 1 kill"],
    ["validation 0 term"],
    ["epoch 0 kill", "saving 1 kill"],
    ["saving 3 kill"],
    ["accumulated 5 term", "train 8 kill"],
]


@pytest.mark.parametrize("ends", KILLS, ids=lambda ends: " then ".join(ends))
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_kills(whole, tmp_path, workers, processes, ends):
    options = (*(ACCUMULATED if processes == 1 else ["data.batch_size=4"]),)
    expected = whole(processes, options)
    run = tmp_path / "run"
    for end in ends:
        ended = train(run, end, *options, f"data.num_workers={workers}", processes=processes)
        wanted = {143} if end.endswith("term") else {-9, 137}
        assert ended.returncode in wanted, (end, ended.returncode, ended.stderr[-2000:])
        if end.endswith("term"):
            assert "stopped by a signal" in ended.stderr
    ended = train(run, "", *options, f"data.num_workers={workers}", processes=processes)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert differing(run / "checkpoints/last.ckpt", expected / "checkpoints/last.ckpt") == []
    for rank in range(processes):
        assert seen(run, rank) == seen(expected, rank)
    for epoch in range(EPOCHS):
        ids = [
            name
            for rank in range(processes)
            for (at, _), names in seen(run, rank).items()
            if at == epoch
            for name in names
        ]
        assert len(ids) == len(set(ids)) == 4 * processes * BATCHES
