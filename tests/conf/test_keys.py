"""Every key of every root file and group has a default, a type and a sentence, read without torch."""

import subprocess
import sys
from itertools import zip_longest

import pytest

from visionattn.cli import main
from visionattn.config import compose
from visionattn.config.catalog import choices, groups, read, source_file
from visionattn.config.docstrings import argument
from visionattn.config.keys import keys_of, own_keys

GROUPS = ("data", "task", "head", "optim", "schedule", "trainer", "callbacks", "logger", "debug")
MIXERS = [name for name in choices("mixer") if "/" not in name]
ROUNDS = [
    [f"{group}={name}" for group, name in zip(GROUPS, names, strict=True) if name]
    for names in zip_longest(*(choices(group) for group in GROUPS))
]
for words, mixer, backbone in zip(ROUNDS, MIXERS, choices("backbone")[::5], strict=False):
    words += [f"backbone={backbone}", f"mixer={mixer}"]


def without_sentence(root, *overrides):
    cfg = compose(root, overrides, return_hydra_config=True)
    return [key.name for key in keys_of(cfg, root) if not key.sentence]


@pytest.mark.parametrize("words", ROUNDS, ids=" ".join)
def test_every_key_of_train_and_its_groups_has_a_sentence(words):
    assert without_sentence("train", *words) == []


@pytest.mark.parametrize("root", ["evaluate", "export", "predict", "doctor data=digits", "make_data", "explain"])
def test_every_key_of_the_other_commands_has_a_sentence(root):
    name, *words = root.split()
    assert without_sentence(name, *words, *(["backbone=swin_tiny"] if name == "explain" else [])) == []


@pytest.mark.parametrize("name", choices("benchmark"))
def test_every_key_of_a_benchmark_has_a_sentence(name):
    assert without_sentence("benchmark", f"benchmark={name}") == []
    assert all(key.sentence for key in own_keys(f"benchmark/{name}"))


@pytest.mark.parametrize("name", choices("benchmark"))
def test_no_key_of_a_benchmark_is_the_name_of_a_group_and_cannot_be_typed(name):
    assert not set(read(source_file(f"benchmark/{name}.yaml"))) & set(groups())


def test_keys_of_a_prefix_with_type_default_and_sentence(capsys):
    assert main(["keys", "optim"]) == 0
    printed = capsys.readouterr().out
    assert "optim.lr = 0.002\n    float: peak learning rate" in printed
    assert "trainer." not in printed
    assert main(["keys", "data.source", "data=image_mask"]) == 0
    assert "data.source.mask_suffix" in capsys.readouterr().out
    assert main(["keys", "task.compile"]) == 0
    printed = capsys.readouterr().out
    assert "task.compile = false\n    bool | Literal['default', 'reduce-overhead'," in printed
    assert "compile backbone and head with torch.compile;" in printed
    assert main(["keys", "evaluate"]) == 0
    assert "\nckpt = null\n    a checkpoint of a run" in capsys.readouterr().out
    assert main(["keys", "optimm"]) == 2
    assert "did you mean optim" in capsys.readouterr().err


def test_arguments_that_a_target_hands_on_are_found_where_they_are_explained():
    own = argument("visionattn.tasks.ClassificationTask", "grad_checkpointing")
    assert own.sentence.startswith("recompute activations")
    assert own.type == "bool"
    assert argument("visionattn.data.ClassificationData", "num_workers").sentence.startswith("processes that read")
    assert argument("visionattn.data.ClassificationData", "no_such_argument").sentence == ""


def test_keys_and_help_do_not_wait_for_torch():
    code = """
import sys
from visionattn.cli import main
assert main(["keys", "optim"]) == 0
assert main(["evaluate", "--help"]) == 0
assert main(["train", "--version"]) == 0
heavy = {"torch", "timm", "lightning", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("train", ["resume", "weights", "data.root="]),
        ("evaluate", ["ckpt", "weights", "batch_size"]),
        ("export", ["format", "options.push_to_hub"]),
        ("predict", ["source", "options.score"]),
        ("benchmark", ["repeats", "cases"]),
        ("explain", ["size", "depth"]),
    ],
)
def test_the_help_of_a_command_has_its_own_keys(command, keys, capsys):
    assert main([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(key in printed for key in keys)
    assert "data.dir=" not in printed
