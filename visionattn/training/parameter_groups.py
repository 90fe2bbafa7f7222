"""Parameter groups: what decays, and how fast each layer learns."""

from __future__ import annotations

from typing import Any

from torch import nn

ParameterGroup = dict[str, Any]


def parameter_groups(
    backbone: Any, head: Any, *, weight_decay: float, layer_decay: float | None = None, backbone_scale: float = 1.0
) -> list[ParameterGroup]:
    """Groups for an optimizer; every trainable parameter is in exactly one.

    Norms, biases (all one-dimensional parameters) and what backbone and head name in ``no_weight_decay()``, such as
    position tables, are not decayed. The backbone's rate is multiplied by ``backbone_scale``. With ``layer_decay`` the
    rate of a backbone parameter is multiplied by ``layer_decay ** (num_layers - 1 - layer_of(name))`` as well (Clark et
    al. 2020, ELECTRA, arXiv 2003.10555; Bao et al. 2021, BEiT, arXiv 2106.08254). Both are stored as timm's
    ``lr_scale``; the head learns at the full rate.

    Raises:
        ValueError: ``layer_decay`` is outside (0, 1].
    """
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be in (0, 1], got {layer_decay}")
    keep, kept_of_head = (
        part.no_weight_decay() if hasattr(part, "no_weight_decay") else set() for part in (backbone, head)
    )
    groups: dict[tuple[float, float], ParameterGroup] = {}
    for name, param in backbone.named_parameters():
        depth = 0 if layer_decay is None else backbone.num_layers - 1 - backbone.layer_of(name)
        scale = backbone_scale * (layer_decay or 1.0) ** depth
        _add(groups, param, 0.0 if param.ndim <= 1 or name in keep else weight_decay, scale)
    for name, param in head.named_parameters():
        _add(groups, param, 0.0 if param.ndim <= 1 or name in kept_of_head else weight_decay, 1.0)
    return list(groups.values())


def _add(groups: dict[tuple[float, float], ParameterGroup], param: nn.Parameter, decay: float, scale: float) -> None:
    if param.requires_grad:
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(param)
