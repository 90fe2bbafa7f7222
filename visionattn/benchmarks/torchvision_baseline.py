"""torchvision's Mask R-CNN as the baseline of ours: its ResNet-50 as our backbone, its weights in our head."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from visionattn.heads.detection.pyramid import Pyramid
from visionattn.heads.detection.rcnn import RCNN

_STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNetMaps(nn.Module):
    """The body of a torchvision detection model (its ResNet without classifier) with the interface of our backbones.

    Args:
        body: torchvision's ``model.backbone.body``.

    Shape:
        ``(B, 3, H, W)`` -> maps of stride 4, 8, 16, 32
    """

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body
        convolutions = (
            [m for m in body.get_submodule(stage).modules() if isinstance(m, nn.Conv2d)] for stage in _STAGES
        )
        channels = [stage[-1].out_channels for stage in convolutions]
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**i, "module": f"body.{_STAGES[i]}"}
            for i, width in enumerate(channels)
        ]

    def forward_intermediates(self, x: Tensor, **kwargs: Any) -> list[Tensor]:
        """The maps; the keywords of our backbones are accepted and have no effect."""
        return list(self.body(x).values())


def mask_rcnn_like(model: MaskRCNN, num_classes: int, **parts: Any) -> tuple[ResNetMaps, RCNN]:
    """Build our Mask R-CNN with the weights of torchvision's, on the same ResNet.

    Args:
        model: of ``torchvision.models.detection.maskrcnn_resnet50_fpn``.
        num_classes: its classes without the background.
        **parts: ``proposals`` and ``regions``, where the model was not built with the usual numbers.
    """
    maps = ResNetMaps(model.backbone.body)
    head = RCNN(maps.feature_info, num_classes, pyramid=partial(Pyramid, feature_norms="none"), **parts)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("backbone.body.")}
    head.load_state_dict({name.replace("backbone.fpn.", "pyramid.fpn."): tensor for name, tensor in state.items()})
    return maps, head
