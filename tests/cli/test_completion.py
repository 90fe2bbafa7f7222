"""Completion: what fits a line that was begun, and that bash takes it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from visionattn.cli import main
from visionattn.cli.arguments import parse
from visionattn.cli.completion import fitting


def test_commands_groups_choices_and_keys():
    assert fitting("visionattn tr") == ["train"]
    assert "swinv2_tiny_window8_256" not in fitting("visionattn train backbone=swin_")
    assert "backbone=swin_tiny" in fitting("visionattn train backbone=swin_")
    assert fitting("visionattn train mixer@backbone.mixers.s3=neighborhoo")[0].endswith("s3=neighborhood")
    assert fitting("visionattn train data=digits optim.weight_d") == ["optim.weight_decay="]
    assert "optim=" in fitting("visionattn train ")
    assert fitting("visionattn data doc") == ["doctor"]
    assert "backbones" in fitting("visionattn list ")
    assert fitting("visionattn list mixers windo") == ["window"]
    assert fitting("visionattn explain swin_t") == ["swin_tiny"]
    assert fitting("visionattn nothing_of_this_name x") == []


LINE = "visionattn train backbone=dinat_p"
ASKED = {
    "bash": (
        f'eval "$(visionattn completion bash)"; COMP_LINE="{LINE}"; COMP_POINT=${{#COMP_LINE}}; _visionattn\n'
        'echo "${COMPREPLY[@]}"',
        "dinat_pico",
    ),
    "zsh": (  # the editor's variables and builtins stand outside of it here
        'compdef() { }; compadd() { print -r -- "$@[-1]" }; eval "$(visionattn completion zsh)"\n'
        f'BUFFER="{LINE}"; CURSOR=$#BUFFER; _visionattn',
        "backbone=dinat_pico",
    ),
    "fish": (f'visionattn completion fish | source; complete -C "{LINE}"', "backbone=dinat_pico"),
}


@pytest.mark.parametrize("shell", ASKED)
def test_shells_complete(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    command = tmp_path / "visionattn"
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -m visionattn "$@"\n')
    command.chmod(0o755)
    script, answer = ASKED[shell]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    options = ["-f"] if shell == "zsh" else []
    done = subprocess.run([shell, *options, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [answer], done.stderr


def test_scripts_and_what_is_no_shell(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        assert "visionattn completion words" in capsys.readouterr().out
    assert main(["completion", "csh"]) == 2
    assert "completion needs a shell, bash, zsh, fish" in capsys.readouterr().err


def test_lists_as_json(capsys):
    assert main(["list", "backbones", "swin_tiny", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["params"] == 28288354
    assert entry["weights"] == ["timm", "official"]
    assert main(["list", "--json"]) == 2
    assert "list needs a kind" in capsys.readouterr().err


def test_json_is_told_where_there_is_none(capsys):
    assert main(["train", "--json"]) == 2
    assert "train prints no JSON; these do: list, evaluate, benchmark, data doctor, explain" in capsys.readouterr().err
    assert parse(["explain", "--json", "swin_pico"]).overrides == ["format=json", "backbone=swin_pico"]
    assert parse(["--json", "data", "doctor"]).overrides == ["json=true"]
