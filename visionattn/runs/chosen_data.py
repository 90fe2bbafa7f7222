"""The data that a command uses a trained model with: the run's own, with keys of the command line, or others."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, open_dict

from visionattn.config import BuildPolicy
from visionattn.data.facts import AUTO
from visionattn.runs.infer import infer
from visionattn.runs.open import OpenedRun
from visionattn.runs.protocol import apply_protocol, check_kind, given_keys, protocol_of_run, with_typed_keys
from visionattn.training.task import VisionTask


def data_of_run(cfg: DictConfig, opened: OpenedRun, policy: BuildPolicy) -> DictConfig:
    """The configuration of the data for a run's checkpoint: those of the command line, or the run's own.

    Args:
        cfg: of the command: ``data``, ``batch_size`` and ``num_workers``, where it has them.
        opened: the run; its own data configuration takes the keys of the command line in place.
        policy: what configurations may build.

    Raises:
        ConfigError: data of another kind, or keys that the run's data do not have.
        DataError: the data cannot be found.
    """
    own = opened.config.data
    if names_data(cfg):
        check_kind(own, cfg.data, policy, type(opened.task).__name__)
        return on_data_set(cfg, protocol_of_run(own), opened.task, policy)
    with_typed_keys(own, cfg.get("data"), str(opened.path))
    return _with_loading(cfg, opened.config, policy)


def names_data(cfg: DictConfig) -> bool:
    """Whether the command line chooses a data set, not only keys of the run's own data."""
    return cfg.get("data") is not None and "_target_" in cfg.data


def on_data_set(cfg: DictConfig, protocol: dict[str, Any], task: VisionTask, policy: BuildPolicy) -> DictConfig:
    """The data set of the command line, with the model's protocol and, unless the data tell it, number of classes."""
    with open_dict(cfg):
        open_or_typed = cfg.data.get("num_classes") in (None, AUTO) or "data.num_classes" in given_keys()
        if not open_or_typed and task.num_classes is not None:
            cfg.data.num_classes = task.num_classes
    apply_protocol(cfg.data, protocol)
    return _with_loading(cfg, cfg, policy)


def _with_loading(cfg: DictConfig, root: DictConfig, policy: BuildPolicy) -> DictConfig:
    """The data of ``root`` with the loader settings of the command line; what is still open is inferred."""
    with open_dict(root):
        if cfg.get("batch_size") is not None:
            root.data.batch_size = root.data.eval_batch_size = cfg.batch_size
        if cfg.get("num_workers") is not None:
            root.data.num_workers = cfg.num_workers
    infer(root, policy, training=False)
    return root.data
