"""Starting a training from published weights."""

from __future__ import annotations

from visionattn.errors import ConfigError
from visionattn.tasks.task import VisionTask
from visionattn.weights import load_weights, timm_weights

_TIMM = "timm"


def initialise(task: VisionTask, weights: str) -> None:
    """Puts published weights into the task's backbone; the head starts fresh.

    Args:
        task: freshly built.
        weights: path of a file in our naming, timm's or the official one; ``timm``: what the backbone's card names; or
            ``timm:<name>``, another of timm's, such as ``timm:swin_base_patch4_window12_384.ms_in22k``.
    Raises:
        ConfigError: the backbone is not one of ours, which weights could be converted for.
        CheckpointError: weights that do not fit, cannot be read, or cannot be fetched.
    """
    if not hasattr(task.backbone, "card"):
        raise ConfigError(f"weights= needs a backbone of visionattn, not a {type(task.backbone).__name__}")
    source, _, name = weights.partition(":")
    if source == _TIMM:
        card = {"weights": {"timm": name}} if name else task.backbone.card
        load_weights(task.backbone, timm_weights(card, task.backbone.num_classes, task.backbone.in_chans))
    else:
        load_weights(task.backbone, weights)
