"""Classification head: pooling and a linear layer on the last map.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import ClassifierHead
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class LogitsHead(nn.Module):
    """A classifier on the last map, as it is; a backbone's own one, with its weights, for example.

    Args:
        classifier: takes the last map.

    Shape:
        list of ``(B, C, H, W)`` maps -> ``(B, num_classes)``
    """

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K"]:
        return self.classifier(features[-1])

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay must leave alone: each module declares its own."""
        return {
            f"{prefix}.{name}"
            for prefix, module in self.named_modules()
            for name in getattr(module, "no_weight_decay_parameters", ())
        }


class ClassificationHead(LogitsHead):
    """Global average pooling, dropout, linear layer: the head every classification paper of this family uses.

    Its parameters have the names of the backbone's own classifier (``fc.weight``, ``fc.bias``), so that an exported
    model is one plain backbone.

    Args:
        feature_info: what the backbone says of its maps; the last one is used.
        num_classes: width of the output.
        drop_rate: dropout before the linear layer.
        pool_type: timm's name of the pooling.
        classifier: what stands in place of pooling and linear layer, a backbone's own classifier (its ``head``):
            DaViT norms after pooling, MaxViT has a hidden layer there. Called as the backbone calls it.

    Shape:
        list of ``(B, C, H, W)`` maps -> ``(B, num_classes)``
    """

    def __init__(
        self,
        feature_info: Sequence[Mapping[str, Any]],
        num_classes: int,
        *,
        drop_rate: float = 0.0,
        pool_type: str = "avg",
        classifier: Callable[..., nn.Module] | None = None,
    ):
        build = classifier or ClassifierHead
        super().__init__(build(feature_info[-1]["num_chs"], num_classes, pool_type=pool_type, drop_rate=drop_rate))
        for module in self.classifier.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class KeepClasses(nn.Module):
    """Keep some classes as possible predictions: the other logits become minus infinity.

    How ImageNet-A and -R are scored (Hendrycks et al. 2019, arXiv 1907.07174; 2020, arXiv 2006.16241): the largest of
    the subset's logits is the answer, and the softmax runs over the subset alone.

    Args:
        classes: indices of the possible classes.
        num_classes: number of all classes K.

    Shape:
        ``(B, K) -> (B, K)``

    Raises:
        ValueError: an index outside ``0..num_classes-1``.
    """

    def __init__(self, classes: Sequence[int], num_classes: int):
        super().__init__()
        if not classes or min(classes) < 0 or max(classes) >= num_classes:
            raise ValueError(
                f"classes must be indices in 0..{num_classes - 1}, got {min(classes, default=None)}"
                f"..{max(classes, default=None)}"
            )
        excluded = torch.ones(num_classes, dtype=torch.bool)
        excluded[list(classes)] = False
        self.excluded: Tensor
        self.register_buffer("excluded", excluded, persistent=False)

    def forward(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return logits.masked_fill(self.excluded, float("-inf"))
