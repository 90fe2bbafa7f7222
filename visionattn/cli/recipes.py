"""``visionattn list experiments NAME``: a recipe's header, and the command that trains it as published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from visionattn.config.catalog import header, source_file

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PER_NODE = 8


def show_recipe(name: str, text: str, config_dirs: Sequence[str] = ()) -> int:
    """Prints the header of an experiment's file and what its folder says of all of its kind."""
    from visionattn.config.composing import compose

    lines = header(text)
    if not any(line.startswith("command") for line in lines):
        fixed = [f"experiment={name}", "name=x", "backbone_name=x", "run_dir=x"]
        lines.insert(1, f"command   {command(name, compose('train', fixed, config_dirs))}")
    base = source_file(f"experiment/{name.partition('/')[0]}/base.yaml")
    shared = header(base.read_text(encoding="utf-8")) if base is not None else []
    lines += [line for line in shared if line.startswith("unverified")]
    print("\n".join([name, *lines]))
    return 0


def command(name: str, cfg: DictConfig) -> str:
    """The command that trains an experiment with the number of images a step that its rate is made for.

    Args:
        name: of the experiment.
        cfg: its configuration, as composed with ``train``.
    """
    from omegaconf import OmegaConf

    words = [f"visionattn train experiment={name}"]
    if OmegaConf.is_missing(cfg.data, "root"):
        words.append("data.root=DIR")
    published = cfg.backbone.card.get("weights")
    if published and cfg.weights is None and not _from_scratch(cfg):
        words.append("weights=timm" if published.get("timm") else "weights=FILE")
    images = OmegaConf.select(cfg, "task.lr_base_size") or cfg.data.batch_size
    devices = images // cfg.data.batch_size
    if devices > 1:
        words += ["trainer=ddp", f"trainer.devices={min(devices, _PER_NODE)}"]
    if devices > _PER_NODE:
        words.append(f"trainer.num_nodes={devices // _PER_NODE}")
    return " ".join(words)


def _from_scratch(cfg: DictConfig) -> bool:
    """Whether the recipe is that of the backbone itself: what classification trains, other tasks start from."""
    return str(cfg.task.get("_target_", "")).endswith("ClassificationTask")
