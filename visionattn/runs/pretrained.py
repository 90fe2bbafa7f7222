"""Starting a training from weights that are there already."""

from __future__ import annotations

from visionattn.errors import ConfigError
from visionattn.training.task import VisionTask
from visionattn.weights import Report, load_model, load_weights, open_source

PARTS = ("backbone", "model")


def initialise(task: VisionTask, weights: str, part: str = "backbone") -> Report:
    """Puts weights into a task.

    Args:
        task: freshly built.
        weights: a file in our naming, timm's or the official one; a folder of one of our runs or in the Hub's form;
            ``hf-hub:owner/name``; ``timm``: what the backbone's card names; or ``timm:<name>``, another of timm's, such
            as ``timm:swin_base_patch4_window12_384.ms_in22k``. See :func:`visionattn.weights.open_source`.
        part: ``backbone``: the head starts fresh; ``model``: the head takes its weights too, but for those of another
            number of classes.
    Returns:
        what was taken, resized, left out, and what starts fresh.
    Raises:
        ConfigError: the backbone is not one of ours, which weights could be converted for, or no such part.
        CheckpointError: weights that do not fit, cannot be read, or cannot be fetched.
    """
    if part not in PARTS:
        raise ConfigError(f"weights_part is one of {', '.join(PARTS)}, not {part!r}")
    if not hasattr(task.backbone, "card"):
        raise ConfigError(f"weights= needs a backbone of visionattn, not a {type(task.backbone).__name__}")
    whole = part == "model"
    source = open_source(weights, task.backbone.card, None if whole else 0, task.backbone.in_chans)
    if whole:
        report = load_model(task.backbone, task.head, source.state)
    else:
        report = load_weights(task.backbone, source.state)
        report.fresh += [f"head.{name} {tuple(tensor.shape)}" for name, tensor in task.head.state_dict().items()]
    return report
