"""The parts of Hugging Face transformers that Mask2Former uses.

Their modeling file is not a public interface. The lowest version in the extra ``mask2former`` and a test that names
every part guard against changes.

Shapes: B batch, C channels, H W map, Q queries, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from visionattn.kernels.eager import autocast_disabled

__all__ = ["Loss", "Mask2FormerConfig", "Network"]


class Network(Mask2FormerPreTrainedModel):
    """Pixel decoder, transformer decoder and classifier, with transformers' initial weights and names of weights.

    Shape:
        list of ``(B, C, H, W)`` -> for every layer, the learned queries' own first, classes ``(B, Q, K + 1)`` and masks
        ``(B, Q, H, W)`` at the stride of the first map
    """

    def __init__(self, config: Mask2FormerConfig, channels: Sequence[int], num_classes: int):
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, list(channels))
        self.transformer_module = Mask2FormerTransformerModule(config.feature_size, config)
        self.class_predictor = nn.Linear(config.hidden_dim, num_classes + 1)
        self.post_init()

    def forward(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        with autocast_disabled(features[0].device):  # as published: deformable attention fails in half precision
            pixels = self.pixel_decoder([x.float() for x in features])
        decoded = self.transformer_module(pixels.multi_scale_features, pixels.mask_features)
        layers = zip(decoded.intermediate_hidden_states, decoded.masks_queries_logits, strict=True)
        return [(self.class_predictor(hidden.transpose(0, 1)), masks) for hidden, masks in layers]


class Loss(Mask2FormerLoss):
    """The published loss of one layer's queries.

    The caller sets ``num_masks``, the number of masks that it is divided by, because it knows of the other processes;
    transformers' own class reads it from another library.
    """

    def __init__(self, config: Mask2FormerConfig):
        super().__init__(config, {})
        self.num_masks: Tensor | None = None

    def get_num_masks(self, class_labels: Any, device: torch.device) -> Tensor:
        if self.num_masks is not None:
            return self.num_masks.to(device)
        return torch.tensor(float(max(sum(map(len, class_labels)), 1)), device=device)
