"""``visionattn export``: a trained model for use elsewhere, checked after writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from omegaconf import DictConfig, OmegaConf
from timm.models import save_for_hf
from torch import Tensor, nn

from visionattn import config
from visionattn.backbones import zoo
from visionattn.commands.restore import restore
from visionattn.errors import CheckpointError, ConfigError, DataError
from visionattn.heads import ClassificationHead
from visionattn.reports.card import print_results, relative
from visionattn.tasks.task import VisionTask
from visionattn.weights import load_weights

_TOLERANCE = 1e-5
_BUILD_ONLY = ("num_classes", "in_chans", "drop_path_rate", "drop_rate", "card")


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", allow: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Writes a checkpoint's model in another format.

    ``format=timm`` writes ``config.json`` and ``model.safetensors``; after ``import visionattn``,
    ``timm.create_model("local-dir:<folder>", pretrained=True)`` builds it. What was written is loaded again and
    compared.

    Args: as for :func:`visionattn.commands.train.run`.
    Returns:
        ``folder`` and ``relative_error`` of the logits; empty for a dry run.
    Raises:
        ConfigError: an unknown format, or a backbone that is not visionattn's.
        CheckpointError: an unusable checkpoint, or a copy whose logits differ.
    """
    if cfg.format != "timm":
        raise ConfigError(f"there is no export format {cfg.format!r}; known is timm")
    task, trained = restore(cfg.ckpt, allow)
    folder = Path(cfg.dir) if cfg.dir else run_dir
    model = to_timm(task, trained)
    if dry_run:
        print_results("dry run: the model builds; nothing was written", {"architecture": _architecture(trained)})
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    save_for_hf(model, str(folder), safe_serialization=True)
    error = _compare(task, folder, _images(trained, allow))
    print_results(
        "exported for timm",
        {
            "architecture": _architecture(trained),
            "relative error of the logits": f"{error:.1e} (allowed {_TOLERANCE:.0e})",
        },
        {
            "folder": folder,
            "use": f'import timm, visionattn; timm.create_model("local-dir:{relative(folder)}", pretrained=True)',
        },
    )
    return {"folder": str(folder), "relative_error": error}


def to_timm(task: VisionTask, trained: DictConfig) -> nn.Module:
    """Backbone and classifier of a task as one timm model ``va_<name>`` with all that timm keeps about it.

    Raises:
        ConfigError: the task has another head, or the backbone is not one of :func:`visionattn.list_backbones`.
    """
    if not isinstance(task.head, ClassificationHead):
        raise ConfigError(
            f"format=timm exports classification models; this checkpoint has a {type(task.head).__name__}"
        )
    num_classes = int(trained.data.num_classes)
    arguments = _changed_architecture(trained)
    model = timm.create_model(_architecture(trained), num_classes=num_classes, **arguments)
    load_weights(model, task.state_dict())
    size = trained.data.image_size
    height, width = (size, size) if isinstance(size, int) else size
    evaluation = trained.data.eval_transform
    facts: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    facts |= {
        "input_size": (3, height, width),
        "num_classes": num_classes,
        "mean": tuple(trained.data.mean),
        "std": tuple(trained.data.std),
        "crop_pct": evaluation.crop_pct,
        "crop_mode": evaluation.crop_mode,
        "interpolation": evaluation.interpolation,
    }
    return model.eval()


def _architecture(trained: DictConfig) -> str:
    name = trained.backbone_name
    if name not in zoo.list_backbones():
        raise ConfigError(f"format=timm knows visionattn's own backbones; {name!r} is not one of them")
    return zoo.PREFIX + name


def _changed_architecture(trained: DictConfig) -> dict[str, Any]:
    """``{}`` for the backbone as its YAML has it, else its whole description: a mixer was swapped, a width changed."""
    ours = _plain(trained.backbone)
    published = _plain(zoo.compose_backbone(trained.backbone_name))
    return {} if ours == published else {"architecture": ours}


def _plain(node: DictConfig) -> dict[str, Any]:
    contents = OmegaConf.to_container(node, resolve=True)
    assert isinstance(contents, dict)
    return {str(key): value for key, value in contents.items() if key not in _BUILD_ONLY}


def _images(trained: DictConfig, allow: tuple[str, ...]) -> Tensor:
    """Sixteen validation images; noise of the same size where the run's data are not on this machine."""
    data = config.instantiate(trained.data, allow=allow)
    try:
        data.setup("validate")
    except DataError:
        return torch.randn(16, data.in_chans, *data.image_size, generator=torch.Generator().manual_seed(0))
    return data.finish(next(iter(data.val_dataloader())))["image"][:16]


@torch.no_grad()
def _compare(task: VisionTask, folder: Path, images: Tensor) -> float:
    """Relative error of the written model's logits, loaded the way a user loads it."""
    expected = task.eval()(images)
    copy = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    error = float((copy(images) - expected).abs().max() / expected.abs().max())
    if not error <= _TOLERANCE:
        raise CheckpointError(
            f"the exported model differs: relative error {error:.1e} of the logits, allowed {_TOLERANCE:.0e}"
        )
    return error
