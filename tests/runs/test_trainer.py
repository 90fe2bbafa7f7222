"""What cannot be a trainer is one sentence that names the key, before anything is read."""

import pytest
import torch
from omegaconf import OmegaConf

from visionattn.cli import main
from visionattn.config import DEFAULT_POLICY
from visionattn.config.composing import compose
from visionattn.errors import ConfigError
from visionattn.runs.build import _callbacks_and_loggers
from visionattn.runs.trainer import build_trainer, explained

pytestmark = pytest.mark.filterwarnings("ignore")
OPTIONS = {
    "default_root_dir": ".",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture(scope="module")
def standard():
    return OmegaConf.to_container(compose("train", ["trainer.accelerator=cpu"]).trainer, resolve=True)


def build(standard, **values):
    node = OmegaConf.create({"trainer": standard | values}).trainer
    return build_trainer(DEFAULT_POLICY, node, **OPTIONS)


def test_the_standard_one_is_built(standard):
    assert build(standard).max_epochs == 36


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("max_epochs", value) for value in ("abc", -5, 1.5, True)),
        *(("max_steps", value) for value in (-7, "x")),
        *(("accelerator", value) for value in ("foo", "tpu", "mps")),
        *(("devices", value) for value in (0, -1, "x", [0], 2.5)),
        *(("num_nodes", value) for value in (0, "x")),
        *(("strategy", value) for value in ("foo", "deepspeed", "fsdp", 5)),
        *(("precision", value) for value in ("foo", 8, "transformer-engine", "bf16-true", "16-true", "64-true")),
        *(("accumulate_grad_batches", value) for value in (0, -1, 1.5, "x")),
        *(("gradient_clip_val", value) for value in (-1.0, "x", float("nan"), float("inf"), True)),
        ("gradient_clip_algorithm", "foo"),
        *(("limit_train_batches", value) for value in (0, -1, 1.5, "x", True)),
        *(("limit_val_batches", value) for value in (-1, 2.5)),
        *(("overfit_batches", value) for value in (-1, 1.5)),
        *(("profiler", value) for value in ("foo", 3)),
        *(("check_val_every_n_epoch", value) for value in (0, -1, 1.5)),
        *(("val_check_interval", value) for value in (1.5, -1, "x", 0)),
        *(("log_every_n_steps", value) for value in (0, -1, "x")),
        ("deterministic", "x"),
        ("benchmark", "x"),
        *(("num_sanity_val_steps", value) for value in (-2, "x")),
        *(("fast_dev_run", value) for value in (-1, "x")),
        *(("max_time", value) for value in ("x", 5)),
        ("plugins", "x"),
        ("use_distributed_sampler", True),
    ],
)
def test_a_wrong_value_is_named_with_its_key(standard, key, value):
    with pytest.raises(ConfigError) as caught:
        build(standard, **{key: value})
    assert f"trainer.{key}" in str(caught.value)
    assert str(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_one_sentence(standard, accelerator):
    with pytest.raises(ConfigError, match=f"trainer.accelerator={accelerator}: torch finds no GPU.*trainer=cpu"):
        build(standard, accelerator=accelerator)


def test_a_training_needs_an_end(standard):
    with pytest.raises(ConfigError, match="a training needs an end"):
        build(standard, max_epochs=None, max_time="00:01:00:00")
    assert build(standard, max_epochs=None, max_steps=5).max_steps == 5


def test_errors_of_others_pass():
    with pytest.raises(ValueError, match="mine"), explained({}):
        raise ValueError("mine")


def test_a_training_does_without_loggers_and_without_callbacks(tmp_path):
    def kinds(*left_out):
        cfg = compose("train", [f"run_dir={tmp_path}", "name=x", *left_out])
        return [[type(one).__name__ for one in own] for own in _callbacks_and_loggers(cfg, DEFAULT_POLICY)]

    callbacks, loggers = kinds()
    assert "LearningRateMonitor" in callbacks
    assert "MetricsFile" in loggers
    assert kinds("~logger") == [[name for name in callbacks if name != "LearningRateMonitor"], []]
    assert kinds("~callbacks") == [[], loggers]


@pytest.mark.parametrize("group", ["optim", "backbone", "trainer"])
def test_a_training_does_not_without_the_rest(group, capsys):
    assert main(["train", f"~{group}", "--dry-run"]) == 2
    assert capsys.readouterr().err == f"visionattn: a training needs the group {group}: leave ~{group} away\n"
