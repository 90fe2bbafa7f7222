"""Parameters that start with another training's values."""

import pytest
import torch
from lightning import seed_everything
from omegaconf import OmegaConf

from visionattn.config import DEFAULT_POLICY, compose
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.infer import infer
from visionattn.runs.start import shared_parameters, start_as

TINY = ["backbone=swin_pico", "backbone.dims=[16,32,64]", "backbone_name=x", "name=x", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def configs():
    found = {name: compose("train", [*TINY, f"mixer={name}"]) for name in ("neighborhood", "cross_shaped")}
    for cfg in found.values():
        infer(cfg)
    return found


def task_of(cfg, **keys):
    for key, value in keys.items():
        cfg[key] = value
    seed_everything(cfg.seed, verbose=False)
    return DEFAULT_POLICY.instantiate(cfg.task)


def test_shared_parameters_equal_those_that_the_other_training_draws(configs, tmp_path):
    file = tmp_path / "reference.yaml"
    for seed in (0, 5):
        reference = task_of(configs["neighborhood"], seed=seed)
        file.write_text(OmegaConf.to_yaml(configs["neighborhood"], resolve=True))
        own = configs["cross_shaped"]
        task = task_of(own, seed=seed, start_as=str(file))
        before = {name: param.clone() for name, param in task.named_parameters()}
        state = torch.get_rng_state()
        start_as(task, own, DEFAULT_POLICY)
        assert torch.equal(state, torch.get_rng_state())
        shared, theirs = shared_parameters(task, reference), dict(reference.named_parameters())
        assert 0 < len(shared) < len(before)
        changed = 0
        for name, param in task.named_parameters():
            expected = theirs[name] if name in shared else before[name]
            assert torch.equal(param, expected), name
            changed += not torch.equal(param, before[name])
        assert changed  # the seed alone does not give the same values: the mixers draw other numbers


def test_what_cannot_be_shared_is_named(configs, tmp_path):
    own = configs["cross_shaped"]
    task = task_of(own, start_as=f"{tmp_path}/none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        start_as(task, own, DEFAULT_POLICY)
    (tmp_path / "none.yaml").write_text("a: 1\n")
    with pytest.raises(CheckpointError, match="describes no task"):
        start_as(task, own, DEFAULT_POLICY)
