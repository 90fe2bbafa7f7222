"""The one function where a checkpoint becomes a task, the configuration of its run, and its data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.config.stored import parse_config
from visionattn.data import VisionData
from visionattn.data.classes import ClassInfo
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.protocol import Differences, differences
from visionattn.training.task import VisionTask
from visionattn.weights import checkpoint_file, read_checkpoint, read_state_dict
from visionattn.weights.distributed import SUMS
from visionattn.weights.formats import naming_of
from visionattn.weights.load import from_run, unusable_values
from visionattn.weights.mismatch import mismatch_of

_TENSORS = ("state_dict", "optimizer_states", "current_model_state")


@dataclass
class OpenedRun:
    """A checkpoint that has been read, and what is built from it.

    Attributes:
        path: the checkpoint, a file or a folder with a distributed one.
        contents: what was read of it; without its tensors once the task has them.
        policy: what configurations may build.
        changes: keys of the run's ``task`` that get another value, for instance how images are evaluated.
        sha256: of the file that was read; empty where nothing asked for it.
    """

    path: Path
    contents: dict[str, Any]
    policy: BuildPolicy = DEFAULT_POLICY
    changes: DictConfig | None = None
    sha256: str = ""
    without_data: ClassVar[str] = "the run's data are not on this machine"
    """Why there are no images, where there are none."""

    @cached_property
    def config(self) -> DictConfig:
        """The configuration of the run, with the changes.

        Raises:
            CheckpointError: there is none, or one that no run writes.
            ConfigError: the changes choose evaluators for a run that has no configured ones.
        """
        cfg = parse_config(self.contents.get("config"), self.path)
        if self.changes:
            if "evaluators" in self.changes and "evaluators" not in cfg.task:
                raise ConfigError(
                    f"{self.path} is from before evaluators could be chosen; it is scored by those of its task alone"
                )
            cfg.task = OmegaConf.merge(cfg.task, self.changes)
        return cfg

    @cached_property
    def task(self) -> VisionTask:
        """The task with its weights. Where the run averaged weights, these are the averaged ones.

        Raises:
            CheckpointError: no config and weights together, or weights that do not fit the config.
            ConfigError: the config names something that may not be built.
        """
        text = self.contents.get("config")
        if not isinstance(text, str) or "state_dict" not in self.contents:
            raise CheckpointError(_of_another_project(self.path, self.contents))
        task: VisionTask = self.policy.instantiate(self.config.task)
        state = self.contents["state_dict"]
        try:
            task.load_state_dict(state)
        except RuntimeError as error:
            mismatch_of(state, task.state_dict(), "the model of its config").check(f"of {self.path}")
            raise CheckpointError(f"the weights in {self.path} do not fit its own config: {error}") from error
        for name, fault in unusable_values(self.contents["state_dict"], task.state_dict()):
            raise CheckpointError(f"{self.path} cannot be used: {name} {fault}")
        task.config_text, task.class_info = text, _class_info(self.contents.get("class_facts", {}), self.path)
        return task

    @property
    def changed(self) -> Differences:
        """The keys of the run's ``task`` that :attr:`changes` give another value, with both."""
        began = parse_config(self.contents.get("config"), self.path)
        return differences(plain(began.task), plain(self.config.task)) if self.changes else {}

    def told_origin(self, source: str) -> str:
        """Where the weights come from, for a sentence of a model card.

        Args:
            source: name of what gave the training its images.
        """
        return f"trained by visionattn on {source}"

    def data(self) -> VisionData[Any]:
        """The data module of the run, not set up.

        Raises:
            ConfigError: the config names something that may not be built.
        """
        data: VisionData[Any] = self.policy.instantiate(self.config.data)
        return data


def open_run(
    ckpt: str | Path,
    policy: BuildPolicy = DEFAULT_POLICY,
    changes: DictConfig | None = None,
    hashed: bool = True,
) -> OpenedRun:
    """Open a run by its checkpoint, which is read once.

    Args:
        ckpt: a checkpoint file, a folder with a distributed one, or a run's folder, which stands for its best one.
        policy: what configurations may build.
        changes: keys of the run's ``task`` that get another value.
        hashed: compute the sha256 of the file too, for a result that names it.

    Raises:
        CheckpointError: unreadable, unsafe to read, without a config, or weights that do not fit it.
        ConfigError: its config names something that may not be built.
    """
    path = checkpoint_file(ckpt)
    digest = ""
    if path.is_file():
        with path.open("rb") as file:
            contents = read_checkpoint(path, file)
            if hashed:
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        contents = read_checkpoint(path)
        if hashed:  # a folder's checksums stand for its files
            digest = hashlib.sha256((path / SUMS).read_bytes()).hexdigest()
    opened = OpenedRun(path, contents, policy, changes, digest)
    _ = opened.task  # its errors come now, before a command makes a folder
    opened.contents = {name: value for name, value in contents.items() if name not in _TENSORS}
    return opened


def _of_another_project(path: Path, contents: Mapping[str, Any]) -> str:
    """What a checkpoint is that no run of ours wrote, and which command takes it."""
    text = f"{path} was not written by `visionattn train`: it has no config and weights together"
    try:
        state = read_state_dict(contents)
    except CheckpointError:
        return f"{text}; it holds {', '.join(map(str, list(contents)[:6])) or 'nothing'}"
    kind = naming_of(from_run(state)[0])
    names = f"names as those of {kind}" if kind else f"tensors such as {next(iter(state))}"
    return (
        f"{text}. It holds weights alone, with {names}: `visionattn evaluate backbone=NAME weights={path}` takes them"
    )


def _class_info(values: Any, path: Path) -> ClassInfo:
    if not isinstance(values, Mapping):
        raise CheckpointError(f"the class facts inside {path} are a {type(values).__name__}, not a mapping")
    return ClassInfo.from_dict(values)
