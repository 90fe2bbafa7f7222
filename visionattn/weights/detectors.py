"""mmdetection's names for the necks and heads of whole detectors (Chen et al. 2019, arXiv 1906.07155).

Faster and Mask R-CNN, their cascades, and RetinaNet, as mmdetection 2 and 3 and the projects built on them write them.
There the background is the last class, and only classes have a box and a mask. Ours counts the background first and
has a box and a mask for it, which nothing reads: they are zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from visionattn.errors import CheckpointError
from visionattn.weights.formats import Format, NewValue, Rule, with_counters
from visionattn.weights.read import StateDict
from visionattn.weights.segmenters import around_backbone, norms_of_maps

_BOX = 4
_BOXES = "box_predictor.bbox_pred.weight"
_AFTER_CONVOLUTIONS = ".after_convolutions."


def _background_first(tensor: Tensor, wanted: Tensor) -> Tensor:
    return torch.cat([tensor[-1:], tensor[:-1]])


def _with_background(rows: int) -> NewValue:
    """Put ``rows`` zeros for the background before the outputs of a layer; a box for all classes has none."""

    def changed(tensor: Tensor, wanted: Tensor) -> Tensor:
        if rows == _BOX == len(tensor) and len(wanted) != 2 * _BOX:
            return tensor
        return torch.cat([tensor.new_zeros(rows, *tensor.shape[1:]), tensor])

    return changed


def _pyramid(first: int) -> list[Rule]:
    """The backbone, its norms, and the feature pyramid on its maps from the ``first`` on."""
    return [
        *around_backbone("head.pyramid.norms.norms", first),
        Rule(r"neck\.lateral_convs\.(\d)\.conv\.(.+)", r"head.pyramid.fpn.inner_blocks.\1.0.\2"),
        Rule(rf"neck\.fpn_convs\.([0-{3 - first}])\.conv\.(.+)", r"head.pyramid.fpn.layer_blocks.\1.0.\2"),
        Rule(
            r"neck\.fpn_convs\.(\d)\.conv\.(.+)",
            lambda match: f"head.pyramid.fpn.extra_blocks.p{int(match[1]) + first + 2}.{match[2]}",
        ),
    ]


def _regions(their_stage: str, our_stage: str) -> list[Rule]:
    """One stage's box and mask branch.

    Args:
        their_stage: pattern between a head's name and its layers, with one group.
        our_stage: template of the stage's name, with that group.
    """
    boxes, masks = rf"roi_head\.bbox_head{their_stage}\.", rf"roi_head\.mask_head{their_stage}\."
    return [
        Rule(boxes + r"fc_cls\.(.+)", our_stage + r".box_predictor.cls_score.\2", _background_first),
        Rule(boxes + r"fc_reg\.(.+)", our_stage + r".box_predictor.bbox_pred.\2", _with_background(_BOX)),
        Rule(boxes + r"shared_convs\.(\d)\.conv\.(.+)", our_stage + r".box_head.\2.0.\3"),
        Rule(boxes + r"shared_convs\.(\d)\.bn\.(.+)", our_stage + r".box_head.\2.1.\3"),
        Rule(
            boxes + r"shared_fcs\.(\d)\.(.+)",
            lambda match: match.expand(our_stage) + f".box_head.fc{int(match[2]) + 6}.{match[3]}",
        ),
        Rule(boxes + r"after_convolutions\.(.+)", our_stage + r".box_head.5.\2"),
        Rule(masks + r"convs\.(\d)\.conv\.(.+)", our_stage + r".mask_head.\2.0.\3"),
        Rule(masks + r"upsample\.(.+)", our_stage + r".mask_predictor.conv5_mask.\2"),
        Rule(masks + r"conv_logits\.(.+)", our_stage + r".mask_predictor.mask_fcn_logits.\2", _with_background(1)),
    ]


_PROPOSALS = [
    Rule(r"rpn_head\.rpn_conv\.(.+)", r"head.rpn.head.conv.0.0.\1"),
    Rule(r"rpn_head\.rpn_cls\.(.+)", r"head.rpn.head.cls_logits.\1"),
    Rule(r"rpn_head\.rpn_reg\.(.+)", r"head.rpn.head.bbox_pred.\1"),
]
_RETINANET = [
    *_pyramid(1),
    Rule(r"bbox_head\.cls_convs\.(\d)\.conv\.(.+)", r"head.detector.head.classification_head.conv.\1.0.\2"),
    Rule(r"bbox_head\.retina_cls\.(.+)", r"head.detector.head.classification_head.cls_logits.\1"),
    Rule(r"bbox_head\.reg_convs\.(\d)\.conv\.(.+)", r"head.detector.head.regression_head.conv.\1.0.\2"),
    Rule(r"bbox_head\.retina_reg\.(.+)", r"head.detector.head.regression_head.bbox_reg.\1"),
]


def _prepared(state: StateDict) -> StateDict:
    """With counters of batch norms, and another name for a fully connected layer that comes after convolutions."""
    state = with_counters(norms_of_maps(state))
    if not any(".shared_convs." in name for name in state):
        return state
    return {name.replace(".shared_fcs.0.", _AFTER_CONVOLUTIONS): tensor for name, tensor in state.items()}


def check_boxes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Tell a box for all classes from one for each, which else would look like another number of classes.

    Args:
        state: a head's weights under our names.
        wanted: the head's own.

    Raises:
        CheckpointError: the head has the other kind.
    """
    for name, own in wanted.items():
        given = state.get(name)
        if given is None or not name.endswith(_BOXES) or (len(given) == _BOX) == (len(own) == _BOX):
            continue
        kinds = ("one box for all classes", "a box for each class")
        theirs, ours = (kinds[len(x) != _BOX] for x in (given, own))
        wanted_key = f"head.class_agnostic={str(len(given) == _BOX).lower()}"
        raise CheckpointError(f"these weights have {theirs}, the head has {ours}: give {wanted_key}")


FORMATS = [
    Format(
        "Mask R-CNN (OpenMMLab)",
        lambda names: "roi_head.bbox_head.fc_cls.weight" in names and "rpn_head.rpn_conv.weight" in names,
        [*_pyramid(0), *_PROPOSALS, *_regions("()", "head.roi_heads")],
        _prepared,
        convention="openmmlab",
    ),
    Format(
        "Cascade R-CNN (OpenMMLab)",
        lambda names: "roi_head.bbox_head.0.fc_cls.weight" in names and "rpn_head.rpn_conv.weight" in names,
        [*_pyramid(0), *_PROPOSALS, *_regions(r"\.(\d)", r"head.cascade.\1")],
        _prepared,
        convention="openmmlab",
    ),
    Format(
        "RetinaNet (OpenMMLab)",
        lambda names: "bbox_head.retina_cls.weight" in names,
        _RETINANET,
        _prepared,
        convention="openmmlab",
    ),
]
