"""Mistakes on the command line: the exit code, one sentence on stderr, and nothing run."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from visionattn.cli import main
from visionattn.cli.failure import report
from visionattn.errors import Terminated, interruption

MISTAKES = {
    "trian": "unknown command trian; did you mean train?",
    "train --dry": "unknown option --dry; did you mean --dry-run?",
    "train --experimental-rerun=x.pickle": "unknown option --experimental-rerun",
    "train --config-dir": "--config-dir needs a value",
    "train --cfg everything": "--cfg must be job, hydra or all, got everything",
    "train small": "'small' is not an override; write key=value",
    "train allow=os": "allow=os: only your own packages",
    "train allow=[torch.hub]": "allow=torch.hub: only your own packages",
    "train trainer.max_epoch=3": "unknown key trainer.max_epoch; did you mean trainer.max_epochs?",
    "train mixer@backbone.mixers.s2=windw": "did you mean window? Choices: neighborhood, window",
    "train backbone=small,tiny": "add -m to run each",
    "train -m backbone=small,tinny": "in the job backbone=tinny: unknown backbone tinny",
    "train data.source.target=a": "unknown key data.source.target; `visionattn keys` lists all",
    "train -m trainer.max_epochs=1,2 sed=1": "unknown key sed; did you mean seed?",
    "train seed=${nothing}": "nothing",
    "train backbone._target_=os.system": "backbone: _target_ 'os.system' is refused",
    "train -m backbone._target_=torch.nn.Linear,torch.load": "in the job backbone._target_=torch.load: backbone:",
    "train +hydra.callbacks.a._target_=os.system": "hydra.callbacks.a: _target_ 'os.system' is refused",
    "train -m +hydra.sweeper.params.seed=1,2": "Sweeping over Hydra",
    "train +hydra.job.env_set.PYTHONPATH=/tmp": "hydra.job.env_set.PYTHONPATH",
    "evaluate": "evaluate needs the value of ckpt; for example: visionattn evaluate ckpt=",
    "evaluate ckpt=x ckpt.y=1": "ckpt.y",
    "list": "list needs a kind",
    "list bakbones": "cannot list bakbones; did you mean backbones?",
    "list backbones zzz*": "no backbone matches zzz*; available: small, tiny",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items(), ids=list(MISTAKES))
def test_mistakes(train, capsys, tmp_path, line, message):
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("visionattn: ")
    assert "Traceback" not in printed.err
    assert printed.err.count("\n") == 1
    assert train.calls == []
    assert not (tmp_path / "out").exists()


def test_user_error_in_a_job(train, capsys):
    assert main(["train", "name=user_error"]) == 1
    assert capsys.readouterr().err == "visionattn: there is no folder x; give data.dir=...\n"


def test_a_bug_is_one_sentence_and_a_file_with_its_traceback(train, capsys, monkeypatch):
    assert main(["train", "name=bug"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("visionattn: unexpected error: ZeroDivisionError: oops; the traceback is in ")
    assert said.count("\n") == 1
    file = Path(said.split(" is in ")[1].split(",")[0])
    assert "raise ZeroDivisionError" in file.read_text()
    file.unlink()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["train", "name=bug"]) == 1
    assert "raise ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/last.ckpt"), "the disk is full: cannot write or read"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "there is no permission: cannot"),
    ],
)
def test_what_the_system_refuses_is_said_wherever_it_stands_in_the_chain(error, sentence, capsys):
    outer = RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0")
    outer.__context__ = error
    for one in (error, outer):
        report(one)
        said = capsys.readouterr().err
        assert said.startswith(f"visionattn: {sentence}")
        assert said.count("\n") == 1


def test_interrupted(train, capsys):
    assert main(["train", "name=ctrl_c"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_full_error_on_request(train, capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["train", "trainer.max_epoch=3"]) == 2
    assert "Traceback" in capsys.readouterr().err


TERMINATED = """
import os, signal, sys, time, types
from pathlib import Path
from visionattn.cli import main
from visionattn.files import whole_folder

def run(cfg, **_):
    with whole_folder(Path(cfg.dir)) as draft:
        (draft / "model.onnx").write_text("half")
        begun, tell = os.pipe()
        forked = os.fork()
        if not forked:
            os.write(tell, b".")
            time.sleep(60)
            os._exit(0)
        os.read(begun, 1)
        os.kill(forked, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]), flush=True)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` signals a process and its group

sys.modules["visionattn.commands.export"] = types.SimpleNamespace(run=run)
sys.exit(main(["export", "ckpt=any.ckpt", "dir=out/model"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of its system")
def test_sigterm_ends_a_command_without_what_it_had_begun(tmp_path):
    command = [sys.executable, "-c", TERMINATED]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (143, "visionattn: ended by SIGTERM\n")
    assert f"{-signal.SIGTERM}" in ended.stdout.splitlines()
    assert not list(tmp_path.rglob("*model*"))


def test_what_lightning_makes_of_a_signal_keeps_its_exit_code():
    for cause, expected in ((Terminated(), 143), (KeyboardInterrupt(), 130), (ValueError(), None)):
        stop = SystemExit(1)
        stop.__context__ = cause
        for error in (stop, cause):
            assert (interruption(error) or (None, None))[1] == expected


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview(capsys, arguments):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for word in (
        "train",
        "evaluate",
        "export",
        "explain",
        "benchmark",
        "data",
        "list",
        "--dry-run",
        "-m",
        "allow=[my_package]",
    ):
        assert word in text


@pytest.mark.parametrize("command", ["train", "evaluate", "export", "explain", "benchmark", "data", "list"])
def test_help_of_a_command(train, capsys, command):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"visionattn {command}" in text
    assert train.calls == []


def test_help_shows_the_groups(train, capsys):
    main(["train", "--help"])
    assert "neighborhood, window" in capsys.readouterr().out


def test_list(train, capsys, tree, tmp_path):
    assert main(["list", "mixers"]) == 0
    text = capsys.readouterr().out
    assert "window" in text
    assert "windows" in text  # the comment that opens the file
    assert main(["list", "mixers", "win*"]) == 0
    assert "neighborhood" not in capsys.readouterr().out
    mine = tree(tmp_path / "mine", {"mixer/own.yaml": "# mine\na: 1\n"})
    assert main(["list", "mixers", "--config-dir", str(mine)]) == 0
    assert "own" in capsys.readouterr().out


def test_list_of_mixers_shows_presets_when_they_are_asked_for(train, capsys, tree, conf):
    tree(conf, {"mixer/swin/12.yaml": "# windows of 12\na: 1\n", "mixer/cswin/1.yaml": "# strips\na: 1\n"})
    assert main(["list", "mixers"]) == 0
    plain = capsys.readouterr().out
    assert "window" in plain
    assert "swin/12" not in plain
    assert "2 presets" in plain
    assert "visionattn list mixers 'cswin/*'" in plain
    assert "the papers: cswin, swin" in plain
    for words in (["presets"], ["mixers", "swin/*"], ["presets", "*12"], ["mixers", "*/12"]):
        assert main(["list", *words]) == 0
        text = capsys.readouterr().out
        assert "windows of 12" in text
        assert "neighborhood" not in text
        assert ("strips" in text) == (words == ["presets"])
    assert main(["list", "mixers", "*1*"]) == 2
    assert "no mixer matches *1*" in capsys.readouterr().err


def test_list_of_backbones_shows_the_card(train, capsys, tree, conf):
    card = "card: {params: 28288354, gmacs: 4.51, top1: 81.3}\n"
    tree(conf, {"backbone/carded.yaml": "# Swin-T\n" + card})
    assert main(["list", "backbones", "card*"]) == 0
    text = capsys.readouterr().out
    for word in ("28.29 M", "4.51", "81.3", "Swin-T"):
        assert word in text


def test_cfg(train, capsys):
    assert main(["train", "--cfg", "job", "seed=7"]) == 0
    text = capsys.readouterr().out
    assert "seed: 7" in text
    assert "\nhydra:" not in text
    assert main(["train", "--cfg", "job", "--resolve"]) == 0
    assert "name: tiny" in capsys.readouterr().out
    assert main(["train", "--cfg", "hydra"]) == 0
    assert capsys.readouterr().out.startswith("hydra:")
    assert main(["train", "--cfg", "all"]) == 0
    text = capsys.readouterr().out
    assert "hydra:\n  run:" in text
    assert "seed: 0" in text
    assert train.calls == []


def test_help_lists_and_mistakes_do_not_wait_for_torch():
    """With the shipped configuration, in a fresh interpreter."""
    code = """
import sys
before = set(sys.modules)
from visionattn.cli import main
assert main(["--help"]) == 0
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
assert roots <= {"visionattn", *sys.stdlib_module_names}, roots
assert main(["list", "backbones"]) == 0
assert main(["train", "trainer.max_epoch=3"]) == 2
assert main(["train", "backbone=no_such_backbone"]) == 2
assert main(["train", "optim._target_=torch.hub.load"]) == 2
assert main(["train", "-m", "seed=1,2", "optim._target_=os.system"]) == 2
heavy = {"torch", "timm", "lightning", "torchvision", "matplotlib", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


def test_the_version_is_an_answer_not_an_error(capsys):
    assert main(["--version"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("visionattn ")
    assert printed.err == ""
