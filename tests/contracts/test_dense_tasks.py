"""One training step of every structure of backbone as Mask R-CNN's and as UPerNet's."""

import pytest
import torch

import visionattn
from tests.api.test_creating import SMALL, objects, pictures
from tests.contracts.structures import REPRESENTATIVES, small

PIXELS = {"decoder.channels": 8, "auxiliary.channels": 8}


@pytest.mark.heavy
@pytest.mark.parametrize("task", ["mask_rcnn", "upernet"])
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_one_training_step(name, task):
    """Losses are finite, and every parameter that serves the maps has a finite gradient, not all of them nothing."""
    backbone = small(name, num_classes=0)
    with torch.no_grad():
        for parameter in backbone.stages.parameters():
            if not parameter.any():  # behind Swin V2's gains, which begin at 0, nothing would have a gradient
                parameter.normal_(std=0.1)
    if task == "mask_rcnn":
        model = visionattn.create_detector(backbone, classes=2, head_options=SMALL)
        losses = model.train()(pictures(), objects())
    else:
        model = visionattn.create_segmenter(backbone, classes=3, head_options=PIXELS)
        losses = model.train()(pictures(), [torch.randint(0, 3, image.shape[1:]) for image in pictures()])
    assert all(torch.isfinite(loss) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    gradients = [x.grad for x in backbone.stages.parameters() if x.grad is not None]
    assert len(gradients) > len(list(backbone.stages.parameters())) // 2
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > len(gradients) // 2
