"""A network of timm, fine-tuned or with its own classifier, as the model that timm itself builds."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from visionattn.backbones.timm_backbone import TimmBackbone
from visionattn.backbones.timm_weights import classifiers_of
from visionattn.config.messages import plain
from visionattn.errors import ConfigError
from visionattn.export.model import ExportedModel, relative_error


def network_of(exported: ExportedModel) -> TimmBackbone | None:
    """The backbone, where it is a network of timm."""
    backbone = exported.task.backbone
    return backbone if isinstance(backbone, TimmBackbone) else None


def as_timm_builds_it(exported: ExportedModel, backbone: TimmBackbone, wanted: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model as ``timm.create_model`` gives it, with these weights, and its arguments beside ``num_classes``.

    Args:
        exported: a classification model.
        backbone: its backbone.
        wanted: ``options.names``.

    Raises:
        ConfigError: names of ours are asked for, or timm's classifier is no single linear layer.
    """
    name = str(exported.trained.backbone.model).partition(".")[0]
    if wanted == "visionattn":
        raise ConfigError(f"options.names=visionattn is for backbones of visionattn; {name} is timm's own")
    arguments = dict(plain(exported.trained.backbone.get("arguments")) or {})
    arguments |= {} if backbone.in_chans == 3 else {"in_chans": backbone.in_chans}
    theirs: Any = timm.create_model(name, num_classes=exported.num_classes, **arguments)
    state = dict(backbone.net.state_dict())
    if not backbone.num_classes:
        state |= _classifier(exported, theirs, name)
    theirs.load_state_dict(state)
    return theirs.eval(), arguments


def _classifier(exported: ExportedModel, theirs: Any, name: str) -> dict[str, Tensor]:
    """The run's linear layer under the names of timm's classifier; several that timm averages are alike."""
    head: Any = exported.task.head
    linear, wanted = head.classifier.fc, theirs.state_dict()
    found: dict[str, Tensor] = {}
    for layer in classifiers_of(theirs):
        weight = f"{layer}.weight"
        if weight not in wanted or wanted[weight].shape[:2] != linear.weight.shape:
            raise ConfigError(
                f"format=timm cannot express this run: the classifier of timm's {name} "
                f"({', '.join(classifiers_of(theirs))}) is not one linear layer of {linear.in_features} inputs; "
                "format=safetensors and format=onnx export it"
            )
        found |= {weight: linear.weight.reshape(wanted[weight].shape), f"{layer}.bias": linear.bias}
    return found


@torch.no_grad()
def error_of_features(backbone: TimmBackbone, copy: Any, images: Tensor) -> float:
    """Relative error of what the classifier gets; 0 for a network with its own classifier, whose logits tell all."""
    if backbone.num_classes:
        return 0.0
    pooled = copy.forward_head(copy.forward_features(images), pre_logits=True)
    return relative_error(backbone.forward_features(images).flatten(1), pooled)
