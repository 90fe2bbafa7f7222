"""What a command's `run` receives, where it writes, and how sweeps end."""

import json
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf

from visionattn.cli import main
from visionattn.config import compose


def test_a_single_run(train, tmp_path):
    assert main(["train", "trainer=gpu", "seed=3", "allow=[own_package, other]"]) == 0
    (call,) = train.calls
    assert call["cfg"].trainer.accelerator == "gpu"
    assert call["cfg"].seed == 3
    assert call["own_run_dir"] == str(call["run_dir"])
    assert call["run_dir"].is_relative_to(tmp_path / "out" / "tiny")
    assert call["there"]
    assert call["policy"].allow == ("own_package", "other")
    assert call["command"] == "visionattn train trainer=gpu seed=3 'allow=[own_package, other]'"
    assert call["dry_run"] is False
    assert "hydra" not in call["cfg"]
    assert "allow" not in call["cfg"]


def test_two_commands_of_the_same_second_have_folders_of_their_own(train, conf):
    root = conf / "train.yaml"
    root.write_text(root.read_text().replace("%H-%M-%S-%f", "%Y"))
    assert [main(["train"]), main(["train"]), main(["train", "seed=1"])] == [0, 0, 0]
    names = [call["run_dir"].name for call in train.calls]
    assert names == [names[0], f"{names[0]}_2", f"{names[0]}_3"]
    assert [main(["train", "-m", "seed=1,2"]), main(["train", "-m", "seed=1,2"])] == [0, 0]
    sweeps = [call["run_dir"].parent.name for call in train.calls[3:]]
    assert sweeps == [names[0]] * 2 + [f"{names[0]}_2"] * 2


def test_another_command_of_the_same_second_is_not_resumed(train, conf):
    root = conf / "train.yaml"
    root.write_text(root.read_text().replace("%H-%M-%S-%f", "%Y") + "resume: auto\n")
    assert main(["train"]) == 0
    began = train.calls[0]
    OmegaConf.save(began["cfg"], began["run_dir"] / "config.yaml")
    assert [main(["train", "seed=1"]), main(["train"])] == [0, 0]
    name = began["run_dir"].name
    assert [call["run_dir"].name for call in train.calls] == [name, f"{name}_2", name]


def test_json_prints_the_results_alone(train, conf, capsys):
    (conf / "evaluate.yaml").write_text((conf / "evaluate.yaml").read_text() + "json: false\nname: x\nseed: 0\n")
    words = ["evaluate", "ckpt=x", "inner.in_features=1"]
    assert main([*words, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["top1"] == 0.9
    assert "visionattn evaluate" in printed.err
    assert main([*words, "--json", "--dry-run"]) == 0
    assert capsys.readouterr().out == ""
    assert main(words) == 0
    assert "visionattn evaluate" in capsys.readouterr().out


def test_a_folder_that_was_named_is_taken_as_it_is(train, tmp_path):
    (tmp_path / "mine").mkdir()
    assert main(["train", "hydra.run.dir=mine"]) == 0
    assert train.calls[0]["run_dir"] == tmp_path / "mine"


def test_leaves_no_hydra_behind(train):
    main(["train"])
    assert GlobalHydra not in Singleton._instances or not GlobalHydra.instance().is_initialized()
    main(["train", "-m", "seed=1,2"])
    assert len(train.calls) == 3


def test_a_job_may_compose(train, monkeypatch):
    inner = []
    original = train.__class__.__call__

    def compose_inside(self, cfg, **rest):
        inner.append(compose("train", ["trainer=gpu"]).trainer.accelerator)
        return original(self, cfg, **rest)

    monkeypatch.setattr(train.__class__, "__call__", compose_inside)
    assert main(["train"]) == 0
    assert main(["train", "-m", "seed=1,2"]) == 0
    assert inner == ["gpu"] * 3


def test_dry_run_leaves_nothing(train, tmp_path):
    assert main(["train", "--dry-run"]) == 0
    (call,) = train.calls
    assert call["dry_run"]
    assert call["there"]
    assert not call["run_dir"].exists()
    assert not (tmp_path / "out").exists()


def test_config_dir(train, tree, tmp_path):
    mine = tree(tmp_path / "mine", {"experiment/mine.yaml": "# @package _global_\nseed: 42\n"})
    assert main(["train", "--config-dir", str(mine), "experiment=mine"]) == 0
    assert train.calls[0]["cfg"].seed == 42


def test_sweep(train, capsys):
    assert main(["train", "-m", "backbone=tiny,small", "seed=1,2"]) == 0
    assert [(call["cfg"].backbone.out_features, call["cfg"].seed) for call in train.calls] == [
        (4, 1),
        (4, 2),
        (8, 1),
        (8, 2),
    ]
    assert len({call["run_dir"] for call in train.calls}) == 4
    text = capsys.readouterr().out
    assert "4 of 4 jobs finished" in text
    assert "0.92" in text


def test_mode_by_override(train):
    assert main(["train", "hydra.mode=MULTIRUN", "seed=1,2"]) == 0
    assert len(train.calls) == 2


@pytest.mark.parametrize("how", ["user_error", "bug"])
def test_a_failing_job_does_not_stop_the_sweep(train, capsys, how):
    assert main(["train", "-m", f"name=one,{how},three"]) == 1
    assert [call["cfg"].name for call in train.calls] == ["one", how, "three"]
    printed = capsys.readouterr()
    assert "2 of 3 jobs finished, 1 failed" in printed.out
    assert f"job 1 (name={how}) failed" in printed.err
    assert ("Traceback" in printed.err) == (how == "bug")
    sweep_dir = train.calls[0]["run_dir"].parent
    outcomes = [json.loads((sweep_dir / str(number) / "outcome.json").read_text()) for number in range(3)]
    assert [bool(one["error"]) for one in outcomes] == [False, True, False]
    assert outcomes[2]["results"]["top1"] == 0.9


def test_batches_go_on_after_a_failure(train):
    assert main(["train", "-m", "hydra.sweeper.max_batch_size=1", "name=user_error,two"]) == 1
    assert [call["cfg"].name for call in train.calls] == ["user_error", "two"]


def test_interrupted_sweep_stops_and_shows_what_is_done(train, capsys):
    assert main(["train", "-m", "name=one,ctrl_c,three"]) == 130
    assert [call["cfg"].name for call in train.calls] == ["one", "ctrl_c"]
    assert "1 of 1 job finished" in capsys.readouterr().out


def test_sweep_from_a_file(train, tree, tmp_path):
    text = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}\n"
    mine = tree(tmp_path / "mine", {"experiment/many.yaml": text})
    assert main(["train", "--config-dir", str(mine), "experiment=many"]) == 0
    assert [call["cfg"].seed for call in train.calls] == [1, 2]
    assert main(["train", "-m", "--config-dir", str(mine), "experiment=many"]) == 0
    assert len(train.calls) == 4


def test_a_hostile_choice_is_found_before_the_first_job(train, tree, tmp_path):
    evil = "# @package _global_\nhydra: {callbacks: {a: {_target_: os.system}}}\n"
    mine = tree(tmp_path / "mine", {"experiment/evil.yaml": evil})
    assert main(["train", "-m", "--config-dir", str(mine), "experiment=long,evil"]) == 2
    assert train.calls == []


def test_large_sweeps_try_each_choice_once(train, monkeypatch):
    from visionattn.cli.launch import preflight

    composed, original = [], preflight.compose_in
    monkeypatch.setattr(preflight, "compose_in", lambda *a: composed.append(a[2]) or original(*a))
    monkeypatch.setattr(preflight, "_ALL_COMBINATIONS", 4)
    assert main(["train", "-m", "--dry-run", "seed=1,2,3", "backbone=tiny,small"]) == 0
    assert len(composed) == 5
    assert len(train.calls) == 6


def test_the_number_an_optimiser_reads(train):
    from visionattn.cli.launch.job import _objective

    assert _objective({"optimized_metric": "top1"}, {"top1": 1, "loss": 2.0}) == 1.0
    assert _objective({"optimized_metric": "top1"}, None) != _objective({"optimized_metric": "top1"}, None)  # nan
    assert _objective({}, {"top1": 1}) == {"top1": 1}


def test_jobs_can_be_sent_elsewhere():
    import pickle

    from visionattn.cli.launch.job import Job
    from visionattn.config import BuildPolicy

    job = Job("train", "visionattn train", BuildPolicy(("own",)), False, ("/x",), "mark")
    assert pickle.loads(pickle.dumps(job)) == job


def test_module_and_program_names(train, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["visionattn", "train", "seed=4"])
    assert main() == 0
    assert train.calls[0]["cfg"].seed == 4
    assert main(["train"], prog="python scripts/train.py") == 0
    assert train.calls[1]["command"] == "python scripts/train.py train"


def test_an_experiment_of_the_users_own_that_changes_nothing_is_refused(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("trainer: {max_epochs: 3}\n")
    assert main(["train", "--config-dir", str(tmp_path), "experiment=mine", "--dry-run"]) == 2
    assert "experiment=mine changes nothing: write `# @package _global_` as the first line" in capsys.readouterr().err
