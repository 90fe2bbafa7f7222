"""A command overwrites nothing that it is not told to, and leaves nothing where it fails."""

import json

import pytest

from visionattn.cli import main
from visionattn.errors import CheckpointError, ConfigError, Interrupted
from visionattn.runs.folder import EarlierResults, check_free, holds, missing, replace, taken_back


def run_in(folder):
    """What a training leaves."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_text("old")
    (folder / "config.yaml").write_text("old: true")
    (folder / "train.log").write_text("old\n")
    (folder / "notes.txt").write_text("the user's own")
    return folder


def fail(folder, command, files, error=CheckpointError):
    """Write files as a command that then fails."""
    with taken_back(folder, command, missing(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_holds_a_run_is_refused_with_the_choices(train, tmp_path, capsys):
    run_in(tmp_path / "mine")
    assert main(["train", "hydra.run.dir=mine"]) == 2
    said = capsys.readouterr().err
    for choice in ("mine already holds a run", "resume=auto", "hydra.run.dir=ANOTHER_FOLDER", "overwrite=true"):
        assert choice in said
    assert not train.calls
    assert names(tmp_path / "mine") == ["checkpoints", "config.yaml", "notes.txt", "train.log"]


def test_a_run_may_go_on_in_its_folder(train, tmp_path):
    run_in(tmp_path / "mine")
    assert main(["train", "hydra.run.dir=mine", "+resume=auto"]) == 0
    assert main(["train", "hydra.run.dir=mine", "+resume=null", "+ckpt=mine/checkpoints/last.ckpt"]) == 0
    assert main(["train", "hydra.run.dir=mine", "+overwrite=true", "+resume=auto"]) == 2
    assert len(train.calls) == 2


def test_overwrite_removes_what_the_run_wrote_and_nothing_else(train, tmp_path):
    run_in(tmp_path / "mine")
    assert main(["train", "hydra.run.dir=mine", "+overwrite=true"]) == 0
    assert names(tmp_path / "mine") == [".hydra", "notes.txt"]


def test_a_failed_command_puts_back_what_it_was_to_overwrite(train, tmp_path):
    run_in(tmp_path / "mine")
    assert main(["train", "hydra.run.dir=mine", "+overwrite=true", "name=user_error"]) == 1
    assert names(tmp_path / "mine") == ["checkpoints", "config.yaml", "notes.txt", "train.log"]
    assert (tmp_path / "mine" / "train.log").read_text() == "old\n"


def test_a_failed_command_leaves_no_folder(train, tmp_path):
    assert main(["train", "name=user_error"]) == 1
    assert main(["train", "name=bug"]) == 1
    assert main(["train", "name=ctrl_c"]) == 130
    assert main(["train", "name=user_error", "hydra.run.dir=a/b/c"]) == 1
    (tmp_path / "there").mkdir()
    assert main(["train", "name=user_error", "hydra.run.dir=there/run"]) == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "a").exists()
    assert names(tmp_path / "there") == []


def test_a_sweep_is_not_overwritten(train, tmp_path, capsys):
    command = ["train", "-m", "seed=1,2", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}"]
    assert main(command) == 0
    before = (tmp_path / "sweep" / "0" / "outcome.json").read_bytes()
    run_in(tmp_path / "sweep" / "1")
    assert main(command) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "sweep" / "0" / "outcome.json").read_bytes() == before
    assert main([*command, "+overwrite=true"]) == 0
    assert not (tmp_path / "sweep" / "1" / "checkpoints").exists()


def test_a_finished_job_of_a_sweep_is_not_touched(train, tmp_path, monkeypatch, capsys):
    command = ["train", "-m", "seed=1,2", "+resume=auto", "hydra.sweep.dir=s", "hydra.sweep.subdir=${hydra.job.num}"]
    assert main(command) == 0
    files = [tmp_path / "s" / str(number) / "outcome.json" for number in range(2)]
    outcomes = [json.loads(file.read_text()) for file in files]
    outcomes[0]["seconds"] = 1234.5
    files[0].write_text(json.dumps(outcomes[0]))
    before = files[0].read_bytes()
    first = train.__class__.__call__

    def finished(self, cfg, **rest):
        results = first(self, cfg, **rest)
        return EarlierResults(results) if cfg.seed == 1 else results

    monkeypatch.setattr(train.__class__, "__call__", finished)
    capsys.readouterr()
    assert main(command) == 0
    assert files[0].read_bytes() == before
    assert "1234.5" in (tmp_path / "s" / "sweep.csv").read_text()
    printed = capsys.readouterr().out
    assert "2 of 2 jobs finished" in printed


def test_a_begun_training_is_kept_and_an_interruption_with_it(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(CheckpointError):
        fail(folder, "train", {"train.log": "Epoch 1/2"})
    assert folder.is_dir()
    other = tmp_path / "other"
    with pytest.raises(Interrupted):
        fail(other, "train", {"last.ckpt": "state"}, Interrupted)
    assert other.is_dir()


def test_a_resumed_training_that_fails_keeps_what_it_has_written(tmp_path):
    folder = run_in(tmp_path / "run")
    with pytest.raises(CheckpointError):
        fail(folder, "train", {"nonfinite.jsonl": "{}", "train.log": "old\nEpoch 2/2"})
    assert (folder / "nonfinite.jsonl").is_file()


def test_what_evaluate_predict_and_export_wrote_is_kept_too(tmp_path):
    for command, file in {"evaluate": "result.json", "predict": "predictions.json", "export": "model.onnx"}.items():
        folder = tmp_path / command
        folder.mkdir()
        check_free(folder, command, "dir")
        (folder / file).write_text("{}")
        with pytest.raises(ConfigError, match=f"already holds {file}.* dir=ANOTHER_FOLDER or overwrite=true"):
            check_free(folder, command, "dir")
        replace(folder, command)
        assert holds(folder, command) == []


def test_a_failed_evaluation_leaves_no_folder_and_a_folder_of_before_stays(tmp_path):
    new, old = tmp_path / "a" / "b", tmp_path / "old"
    old.mkdir()
    (old / "notes.txt").write_text("mine")
    for folder in (new, old):
        with pytest.raises(CheckpointError):
            fail(folder, "evaluate", {"result.json": "{}"})
    assert names(tmp_path) == ["old"]
    assert names(old) == ["notes.txt"]
