"""Mask2Former's head.

Shapes: B batch, C channels, H W map, h w image, Q queries, K classes, N masks of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from visionattn.errors import ConfigError
from visionattn.heads.features import FeatureInfo, FeatureNorms, check_maps
from visionattn.kernels.eager import autocast_disabled
from visionattn.options import grouped

if TYPE_CHECKING:
    from jaxtyping import Float

_LEVELS = 3  # maps that deformable attention sees
_PARTS = {"loss_cross_entropy": "class", "loss_mask": "mask", "loss_dice": "dice"}


class Predictions(NamedTuple):
    """What the queries predict.

    Attributes:
        classes: logits ``(B, Q, K + 1)``, the last one is "nothing".
        masks: logits ``(B, Q, H, W)`` at the stride of the first map.
        earlier: the same of the layers before, from the learned queries on; empty in evaluation.
    """

    classes: Tensor
    masks: Tensor
    earlier: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class MaskLosses:
    """The losses of Mask2Former; the three weights are also those of the costs of matching.

    Attributes:
        num_points: points of an image at which masks are compared.
        class_weight: weight of the classes' cross entropy.
        mask_weight: weight of the masks' binary cross entropy.
        dice_weight: weight of the masks' Dice loss.
        no_object_weight: weight of "nothing" in the classes' loss.
    """

    num_points: int = 12544
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1

    def weights(self) -> dict[str, float]:
        """Weight of each term of the loss."""
        return {"class": float(self.class_weight), "mask": float(self.mask_weight), "dice": float(self.dice_weight)}

    def options(self) -> dict[str, Any]:
        """The same values by the names of transformers' configuration."""
        return {
            "train_num_points": self.num_points,
            "no_object_weight": float(self.no_object_weight),
            **{f"{name}_weight": weight for name, weight in self.weights().items()},
        }


class Mask2Former(nn.Module):
    """A pixel decoder with deformable attention, and queries with masked attention.

    Cheng et al. 2021, *Masked-attention Mask Transformer for Universal Image Segmentation*, arXiv 2112.01527. The pixel
    decoder sees three maps. Each query attends to the inside of the mask that it predicted a layer before.

    Pixel decoder, transformer decoder and loss are Hugging Face transformers' (extra ``mask2former``), fed with any
    backbone's maps. As published: 100 queries, 9 layers, 256 channels, losses on 12,544 points, weights 2, 5 and 5, the
    class "nothing" weighs 0.1. With maps of 96, 192, 384 and 768 channels and 133 classes it has 19,914,566 parameters,
    without the norms.

    Args:
        feature_info: what the backbone declares of its maps; three at least. The finest gives the masks' stride.
        num_classes: classes K, things and stuff.
        channels: width, a multiple of 32; with 32 the last map of a single image needs more than one cell (its group
            norm has nothing to normalize else).
        num_queries: Q, the most masks of an image.
        encoder_layers: layers of deformable attention.
        encoder_width: width of their feed-forward networks.
        decoder_layers: layers of the queries.
        decoder_width: width of their feed-forward networks.
        num_heads: heads of both.
        losses: its fields are arguments of their own, see :class:`MaskLosses`.
        feature_norms: layer norms on the maps before, see :class:`FeatureNorms`.

    Raises:
        TypeError: an argument of another name.
        ConfigError: transformers is missing or too old.
        ValueError: fewer than three maps, or a width that is no multiple of 32.

    Shape:
        list of ``(B, C, H, W)`` -> :class:`Predictions`
    """

    @grouped(losses=MaskLosses)
    def __init__(
        self,
        feature_info: FeatureInfo,
        num_classes: int,
        *,
        channels: int = 256,
        num_queries: int = 100,
        encoder_layers: int = 6,
        encoder_width: int = 1024,
        decoder_layers: int = 9,
        decoder_width: int = 2048,
        num_heads: int = 8,
        losses: MaskLosses,
        feature_norms: str = "lower",
    ):
        super().__init__()
        _check_sizes(len(feature_info), channels, num_heads)
        parts = _parts()
        self.feature_info, self.num_classes = [dict(info) for info in feature_info], num_classes
        self.norms = FeatureNorms(feature_info, feature_norms)
        config = parts.Mask2FormerConfig(
            num_labels=num_classes,
            feature_size=channels,
            mask_feature_size=channels,
            hidden_dim=channels,
            num_queries=num_queries,
            encoder_layers=encoder_layers,
            encoder_feedforward_dim=encoder_width,
            decoder_layers=decoder_layers + 1,  # transformers counts the learned queries' own masks as a layer
            dim_feedforward=decoder_width,
            num_attention_heads=num_heads,
            # transformers reads from these how many maps lie below the three, whatever the strides: all the others do
            feature_strides=[2**i for i in range(len(feature_info))],
            common_stride=1,
            **losses.options(),
        )
        self.network = parts.Network(config, [info["num_chs"] for info in feature_info], num_classes)
        self.criterion = parts.Loss(config)
        self.weights = losses.weights()

    def no_weight_decay(self) -> set[str]:
        """Embeddings, as published."""
        modules = [(name, one) for name, one in self.named_modules() if isinstance(one, nn.Embedding)]
        return {f"{name}.weight" for name, _ in modules}

    def forward(self, features: Sequence[Float[Tensor, "B _ _ _"]]) -> Predictions:
        check_maps(features, self.feature_info)
        layers = self.network(self.norms(features))
        classes, masks = layers[-1]
        return Predictions(classes, masks, layers[:-1] if self.training else [])

    def loss(
        self, predictions: Predictions, targets: Sequence[Mapping[str, Tensor]], num_masks: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted parts of the loss, each summed over the layers: ``loss_class``, ``loss_mask``, ``loss_dice``.

        Args:
            predictions: of a batch.
            targets: for each image ``labels`` int64 (N,) and ``masks`` (N, h, w) of 0 and 1, of the batch's padded
                size.
            num_masks: what mask losses are divided by: the masks of a batch, averaged over the processes; None: the
                batch's own.
        """
        labels = [target["labels"] for target in targets]
        masks = [target["masks"].float() for target in targets]
        self.criterion.num_masks = None if num_masks is None else num_masks.clamp(min=1)
        total: dict[str, Tensor] = {}
        with autocast_disabled(predictions.masks.device):
            for classes, logits in (*predictions.earlier, (predictions.classes, predictions.masks)):
                for name, value in self.criterion(logits.float(), classes.float(), masks, labels).items():
                    part = _PARTS[name]
                    total[f"loss_{part}"] = total.get(f"loss_{part}", 0) + self.weights[part] * value
        return total


def _check_sizes(num_maps: int, channels: int, num_heads: int) -> None:
    if num_maps < _LEVELS:
        raise ValueError(f"Mask2Former needs {_LEVELS} maps at least, the backbone has {num_maps}")
    if channels % 32 or channels % num_heads:
        raise ValueError(f"channels must be a multiple of 32 and of num_heads {num_heads}, got {channels}")


def _parts() -> Any:
    try:
        from visionattn.heads.panoptic import parts
    except ImportError as error:
        raise ConfigError(
            f"head=mask2former needs Hugging Face transformers: pip install 'visionattn[mask2former]' ({error})"
        ) from error
    return parts
