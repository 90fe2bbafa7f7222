"""Hydra's launchers and sweepers carry our jobs, where they are installed."""

import sys

import pytest

from visionattn.cli import main

JOB = ["train", "-m", "backbone=swin_pico", "debug=default", "trainer.accelerator=cpu", "logger=csv"]


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_submitit_runs_a_sweep_in_processes_of_its_own_and_again_only_what_failed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.chdir(tmp_path)
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=9", "hydra.launcher.cpus_per_task=1"]
    jobs = [*JOB, *launcher, "hydra.sweep.dir=sweep", "resume=auto", "optim.lr=1e-3,1e30"]
    assert main(jobs) == 1
    assert "1 of 2 jobs finished, 1 failed" in capsys.readouterr().out
    before = (tmp_path / "sweep/0/checkpoints/last.ckpt").stat().st_mtime
    assert main(jobs) == 1
    assert (tmp_path / "sweep/0/checkpoints/last.ckpt").stat().st_mtime == before


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(sys.platform == "win32", reason="the sweeper's storage")
def test_optuna_optimises_the_named_result(tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    monkeypatch.chdir(tmp_path)
    sweeper = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    sweeper += ["hydra.sweeper.direction=maximize", "+optimized_metric=val/top1", "hydra.sweep.dir=sweep"]
    assert main([*JOB, *sweeper, "optim.lr=interval(1e-4,1e-2)"]) == 0
    assert "best_value" in (tmp_path / "sweep/optimization_results.yaml").read_text()
