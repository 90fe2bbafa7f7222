"""The whole matrix of real kills: SIGKILL and SIGTERM, one and two processes, with and without workers.

Heavy: about half an hour on two cores. The small core that always runs is test_resume.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.runs.interruption import differing, seen
from tests.runs.test_resume import BATCHES, COMMON, EPOCHS

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


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_trains_on_every_remaining_sample_once(tmp_path, before, after):
    run, sizes = tmp_path / "run", {1: "data.batch_size=8", 2: "data.batch_size=4"}
    assert train(run, "train 3 kill", sizes[before], processes=before).returncode in {-9, 137}
    ended = train(run, "", sizes[after], processes=after)
    assert ended.returncode == 0, ended.stderr[-3000:]
    parts = [seen(run, rank) for rank in (0, 1) if (run / f"seen_{rank}.jsonl").exists()]
    kept = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert kept["position"]["step"] == EPOCHS * BATCHES
    cut = 2  # batches of the first part that are in the checkpoint it was gone on from
    ids = [name for (epoch, batch), names in parts[0].items() if epoch == 0 for name in names]
    if after == 2:
        ids += [name for (epoch, batch), names in parts[1].items() if epoch == 0 and batch >= cut for name in names]
    else:
        ids += [name for (epoch, batch), names in parts[1].items() if epoch == 0 and batch < cut for name in names]
    assert len(ids) == len(set(ids)) == 8 * BATCHES


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
