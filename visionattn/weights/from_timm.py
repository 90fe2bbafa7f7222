"""Weights that timm publishes, fetched by timm itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm

from visionattn.errors import CheckpointError
from visionattn.weights.read import StateDict


def timm_weights(card: Mapping[str, Any], num_classes: int | None, in_chans: int = 3) -> StateDict:
    """The state dict of timm's pretrained model that a backbone's card names under ``weights.timm``.

    timm downloads it or takes it from its cache. For another number of classes than the published one the classifier is
    a fresh one, and for other image channels timm adapts the first convolution.

    Args:
        card: card of the backbone.
        num_classes: classes of the model that is to take the weights; 0: no classifier; None: the published ones.
        in_chans: image channels of that model.

    Raises:
        CheckpointError: timm publishes no weights for this backbone, or they can be neither downloaded nor found.
    """
    published = card.get("weights") or {}
    name = published.get("timm")
    if name is None:
        official = published.get("official")
        hint = f"; the official weights are at {official}: download them and give the path" if official else ""
        raise CheckpointError(f"timm publishes no weights for this backbone{hint}")
    try:
        model = timm.create_model(name, pretrained=True, num_classes=num_classes, in_chans=in_chans)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"timm could not download the weights {name} ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "without a network, download them elsewhere and give the path of the file"
        ) from error
    return model.state_dict()
