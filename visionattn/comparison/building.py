"""A configuration of a comparison as a model on shapes alone, with its cost."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.backbones.cost import count_gmacs, count_parameters
from visionattn.config import BuildPolicy
from visionattn.config.composing import quoted
from visionattn.errors import ConfigError, VisionAttnError
from visionattn.runs.build import build
from visionattn.runs.infer import infer
from visionattn.runs.pretrained import check_weights
from visionattn.training.task import VisionTask

FAULTS = (VisionAttnError, ValueError, TypeError, RuntimeError, AssertionError, ZeroDivisionError)
"""What a model raises that cannot be built, or does not run at a size."""


@dataclass
class Model:
    """A model on torch's meta device.

    Attributes:
        cfg: what it was built from, with nothing left to infer.
        task: backbone and head.
        size: of the image, channels first.
        counted: multiply-adds of one image in units of 1e9, where they have been counted.
    """

    cfg: DictConfig
    task: VisionTask
    size: tuple[int, int, int]
    counted: float | None = None

    @cached_property
    def params(self) -> int:
        """Parameters of backbone and head."""
        return count_parameters(self.task.backbone) + count_parameters(self.task.head)

    @cached_property
    def gmacs(self) -> float:
        """Multiply-adds of one forward pass of one image, in units of 1e9."""
        return count_gmacs(self.task, self.size) if self.counted is None else self.counted


def inferred(cfg: DictConfig, policy: BuildPolicy) -> tuple[DictConfig, list[str]]:
    """A copy with every ``auto`` filled in, and the values of data and trainer among them as overrides.

    Mappings, such as where the files of a split lie, are left out: they follow from the data alone.
    """
    cfg = copy.deepcopy(cfg)
    found = infer(cfg, policy).values
    shared = [one for one in found if one.key.startswith(("data.", "trainer.")) and _is_written(one.value)]
    return cfg, [f"{one.key}={_written(one.value)}" for one in shared]


def _is_written(value: Any) -> bool:
    if OmegaConf.is_list(value) or isinstance(value, (list, tuple)):
        return all(_is_written(one) for one in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if OmegaConf.is_config(value) or isinstance(value, (list, tuple)):
        return f"[{','.join(_written(one) for one in value)}]"
    return quoted(value) if isinstance(value, str) else str(value)


def checked(cfg: DictConfig, policy: BuildPolicy) -> Model:
    """Build all of a training on shapes alone, as a dry run does, and count what its model costs.

    Raises:
        ConfigError: something does not build, or the model does not run at the size of the images.
        CheckpointError: the weights to start from cannot be read or do not fit.
    """
    with tempfile.TemporaryDirectory(prefix="visionattn-") as folder:
        cfg = copy.deepcopy(cfg)
        with torch.device("meta"):
            run = build(cfg, Path(folder), policy)
        height, width = run.data.image_size
        try:
            facts = run.facts(cfg)
        except FAULTS as error:
            if isinstance(error, VisionAttnError):
                raise
            raise ConfigError(f"it does not run on images of {height}x{width}: {error}") from error
        if cfg.weights is not None:
            check_weights(run.task, cfg)
        size = (run.data.in_chans, height, width)
    gmacs = next(figure.value for name, figure in facts.items() if name.startswith("GMACs"))
    return Model(cfg, run.task, size, gmacs)


def with_keys(model: Model, policy: BuildPolicy, keys: Mapping[str, Any]) -> Model:
    """The model of a configuration in which some keys have other values.

    Raises:
        One of :data:`FAULTS`: it does not build.
    """
    cfg = copy.deepcopy(model.cfg)
    with open_dict(cfg):
        for key, value in keys.items():
            OmegaConf.update(cfg, key, value)
    with torch.device("meta"):
        task: VisionTask = policy.instantiate(cfg.task)
    return Model(cfg, task, model.size)
