"""Several processes of one run: who is first, one directory for all, and what a started process runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from visionattn.cli import main
from visionattn.cli.launch import ranks
from visionattn.errors import ConfigError, VisionAttnError

SLURM = {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "77"}


@pytest.mark.parametrize(
    ("variables", "first", "outside"),
    [
        ({}, True, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True, False),
        ({"LOCAL_RANK": "1"}, False, False),
        ({"NODE_RANK": "1"}, False, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, True, True),
        ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, False, True),
        ({"RANK": "0", "WORLD_SIZE": "1"}, True, False),
        ({**SLURM, "SLURM_PROCID": "0"}, True, True),
        ({**SLURM, "SLURM_PROCID": "1"}, False, True),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, True, False),
    ],
)
def test_who_is_first(train, monkeypatch, variables, first, outside):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.is_first() is first
    assert ranks.started_from_outside() is outside


def test_alone_keeps_its_own_directory(train):
    assert ranks.agree({"run": "a"}) == {"run": "a"}


def test_slurm_tasks_agree_through_a_file(train, monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert ranks.agree({"run": "/first"}) == {"run": "/first"}
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert ranks.agree({"run": "/second"}) == {"run": "/first"}
    monkeypatch.setenv("SLURM_STEP_ID", "1")  # another step is another run
    monkeypatch.setattr(ranks, "_PATIENCE", 0.3)
    with pytest.raises(ConfigError, match="did not write"):
        ranks.agree({"run": "/third"})


def test_processes_that_cannot_agree_say_so(train, monkeypatch, capsys):
    monkeypatch.setenv("NODE_RANK", "1")
    assert main(["train"]) == 2
    assert "hydra.run.dir=DIR" in capsys.readouterr().err
    assert train.calls == []


def test_a_named_directory_needs_no_agreement(train, monkeypatch, tmp_path):
    monkeypatch.setenv("NODE_RANK", "1")
    assert main(["train", "hydra.run.dir=here", "hydra.sweep.dir=here"]) == 0
    monkeypatch.setenv(ranks.RUN_DIR, str(tmp_path / "there"))
    assert main(["train"]) == 0
    assert [call["run_dir"].name for call in train.calls] == ["here", "there"]


def test_only_the_first_process_prints(train, monkeypatch, capsys):
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setattr(train.__class__, "__call__", lambda self, cfg, **rest: print("a table"))
    assert main(["train", "hydra.run.dir=here", "hydra.sweep.dir=here"]) == 0
    assert capsys.readouterr().out == ""


def test_a_started_process_runs_the_very_job(train, monkeypatch, tmp_path, tree):
    """Not what the command line says (Lightning appends to it), nor a sweep of its own."""
    mine = tree(tmp_path / "mine", {"experiment/mine.yaml": "# @package _global_\ntrainer: {max_epochs: 9}\n"})
    specs = []
    original = train.__class__.__call__

    def look(self, cfg, **rest):
        specs.append(json.loads(os.environ[ranks.JOB]))
        return original(self, cfg, **rest)

    monkeypatch.setattr(train.__class__, "__call__", look)
    words = ["train", "-m", "seed=5,6", "experiment=mine", "--config-dir", str(mine), "allow=own_package"]
    assert main(words) == 0
    assert ranks.JOB not in os.environ
    monkeypatch.setattr(ranks, "end_with_parent", lambda run_dir: None)
    monkeypatch.setenv(ranks.JOB, json.dumps(specs[1]))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main([*words, 'hydra.run.dir="elsewhere"', "hydra.job.name=train_ddp_process_1"]) == 0
    first, child = train.calls[1], train.calls[2]
    for name in ("run_dir", "command", "policy", "dry_run", "own_run_dir"):
        assert child[name] == first[name]
    assert child["cfg"].seed == 6
    assert child["cfg"].trainer.max_epochs == 9
    assert len(train.calls) == 3


def test_the_environment_is_as_before(train, tmp_path, monkeypatch):
    """What Lightning sets for one job must not tell the next that its processes were started already."""
    with ranks.announced({"x": 1}, tmp_path):
        os.environ["LOCAL_RANK"] = "0"
        os.environ["MASTER_PORT"] = "1234"
    assert "LOCAL_RANK" not in os.environ
    assert "MASTER_PORT" not in os.environ
    assert not (tmp_path / ranks.STOPPED).exists()


def test_started_processes_are_told_of_a_failure(train, tmp_path):
    def job():
        with ranks.announced({}, tmp_path):
            os.environ["LOCAL_RANK"] = "0"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job()
    assert (tmp_path / ranks.STOPPED).exists()


def test_the_failure_of_a_started_process_is_the_runs(train, tmp_path):
    def job(error):
        with ranks.announced({}, tmp_path):
            os.environ["LOCAL_RANK"] = "0"
            (tmp_path / f"{ranks.FAILED}1").write_text("process 1 failed: no image")
            if error:
                raise error

    with pytest.raises(VisionAttnError, match="process 1 failed: no image"):
        job(None)
    with pytest.raises(VisionAttnError, match="process 1 failed: no image"):
        job(RuntimeError("Connection closed by peer"))
    with pytest.raises(ValueError, match="its own"):
        job(ValueError("its own"))


SCRIPT = """
import sys, types
def run(cfg, *, dry_run, run_dir, command, policy):
    import torch, lightning
    print("table of", policy.allow)
    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 2)
        def training_step(self, batch, index):
            if cfg.name == f"fails_{self.global_rank}":
                raise RuntimeError("this part broke")
            return self.net(batch).sum()
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Net(), torch.utils.data.DataLoader(torch.ones(8, 2), batch_size=2))
    (run_dir / f"rank{trainer.global_rank}").write_text(f"{run_dir} {policy.allow} {cfg.seed} {command}")
    return {"rank": trainer.global_rank}
module = types.ModuleType("visionattn.commands.train")
module.run = run
sys.modules["visionattn.commands.train"] = module
from visionattn.config import catalog
catalog.SOURCE = "file://CONF"
from visionattn.cli import main
sys.exit(main())
"""


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["good", "fails_0", "fails_1"])
def test_two_processes(train, conf, tmp_path, name):
    """Real ones (gloo), in a sweep: same directory and choices; a failure on either ends that job, and the next one
    runs.
    """
    script = tmp_path / "train_two.py"
    script.write_text(SCRIPT.replace("CONF", str(conf)), encoding="utf-8")
    line = [
        sys.executable,
        "-W",
        "ignore",
        str(script),
        "train",
        "-m",
        f"name={name},good",
        "seed=4",
        "allow=own_package",
    ]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ})
    written = {path.parent.name: path.read_text().split()[1:3] for path in Path(tmp_path, "out").rglob("rank1")}
    assert done.stdout.count("table of") == 2, done.stderr  # once for each job, on the first process
    assert written["1"] == ["('own_package',)", "4"]
    assert done.returncode == (0 if name == "good" else 1)
    assert ("0" in written) is (name == "good")
    if name == "fails_1":
        assert "failed: process 1 failed: this part broke" in done.stderr
