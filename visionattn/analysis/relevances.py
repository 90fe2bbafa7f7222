"""Gradient-weighted relevance: which patches the attention brought to one prediction, as far as it mattered.

Shapes: P rows of shares, C channels, H W map, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.analysis.flow import Rule, through_stages
from visionattn.analysis.rollouts import Flow, passed_over
from visionattn.analysis.trace import Part, Recording, one_image, record
from visionattn.kernels.probabilities import Probabilities
from visionattn.kernels.recording import Recorded
from visionattn.tasks.inspection import InspectsImages, Scored, above_mean, class_number

Score = Callable[[Sequence[Tensor]], Scored]


@dataclass(frozen=True)
class Backward:
    """A recorded pass, and the gradient of one score.

    Attributes:
        kept: the pass.
        scored: the score and what it is of.
        direct: stage -> the gradient with respect to the map it emitted, not by way of later stages, ``(1, C, H, W)``.
        gradients: call -> the gradient with respect to its output, by ``id``.
    """

    kept: Recording
    scored: Scored
    direct: dict[int, Tensor]
    gradients: dict[int, Tensor]


def relevance(
    model: nn.Module, image: Tensor, target: int | str | None = None, *, point: tuple[float, float] = (0.5, 0.5)
) -> Flow:
    """The relevance of each patch for one prediction: Chefer, Gur and Wolf 2021, arXiv 2103.15679 and 2012.09838.

    As published a block adds to the relevance the product with the mean over its heads of ``max(0, gradient *
    attention)``, the gradient being that of the score with respect to the probabilities. These models pool a map
    instead of reading a class token, and so some things differ. The score of a class is its logit above the mean of all
    classes. The relevance starts as ``max(0, sum over channels of
    gradient * map)`` on each map that the head reads. Each block's matrix is divided by its largest row sum, since the
    gradient of a mean is too small beside the identity. The product is taken from the score down, as in
    :func:`visionattn.analysis.rollout`.

    Args:
        model: a task of visionattn, or a backbone with a classifier.
        image: normalized, ``(C, H, W)`` or ``(1, C, H, W)``.
        target: which prediction: of a classifier the class, by number or name (None: the likeliest); of a detector the
            object by its place, of a panoptic model the query (None: the most certain, 0); of a segmentation the class
            (None: the one at ``point``).
        point: (row, column) in shares of height and width; for segmentation alone.

    Returns:
        one map that sums to 1, unless nothing is relevant.

    Raises:
        ValueError: a backbone without a classifier.
        ConfigError: the model predicts no such thing.
    """
    return relevance_of(backward(model, image, score_of(model, image, target, point)))


def score_of(model: nn.Module, image: Tensor, target: int | str | None, point: tuple[float, float]) -> Score:
    """What makes a score of the backbone's maps.

    Raises:
        ValueError: a backbone without a classifier, or a task that does not say which score.
    """
    batch = one_image(image)
    if isinstance(model, InspectsImages):
        return lambda features: model.inspected_score(features, batch, target, point)
    classifier: Any = model
    if not getattr(classifier, "num_classes", 0) or not hasattr(classifier, "forward_head"):
        raise ValueError(
            f"relevance needs a prediction: a task, or a backbone with a classifier, not a {type(model).__name__} "
            "without one"
        )

    def logit(features: Sequence[Tensor]) -> Scored:
        logits = classifier.forward_head(features[-1])[0].float()
        asked = class_number(target, [], len(logits))
        label = int(logits.argmax()) if asked is None else asked
        return Scored(
            above_mean(logits)[label], f"class {label}, probability {float(logits.detach().softmax(0)[label]):.3f}"
        )

    return logit


def backward(model: nn.Module, image: Tensor, score: Score) -> Backward:
    """Run the backbone and a score, and keep the gradient of the score with respect to every call of attention."""
    kept = record(model, image, gradient=True)
    leaves = [map_.detach().requires_grad_() for map_ in kept.features]
    with torch.enable_grad():
        scored = score(leaves)
        found = torch.autograd.grad(scored.score, leaves, allow_unused=True)
    direct = {i: gradient for i, gradient in enumerate(found) if gradient is not None}
    calls = [call for _, _, part in kept.parts() for call in part.matrices]
    outputs, given = [kept.features[i] for i in direct], list(direct.values())
    found = torch.autograd.grad(outputs, [call.out for call in calls], given, allow_unused=True) if calls else ()
    paired = zip(calls, found, strict=True)
    return Backward(kept, scored, direct, {id(call): grad for call, grad in paired if grad is not None})


def relevance_of(done: Backward) -> Flow:
    """The relevance of the patches for a score whose gradient is known."""
    kept = done.kept
    with torch.no_grad():
        starts = {i: (grad * kept.features[i]).sum(1).clamp(min=0) for i, grad in done.direct.items()}
        values = through_stages(kept, starts, _Relevance(done.gradients))
        values = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return Flow((None,), values, kept.stages[0].stride, passed_over(kept, max(done.direct)))


class _Relevance(Rule):
    """Adds the product with the positive part of gradient times attention, scaled to a largest row sum of 1."""

    def __init__(self, gradients: dict[int, Tensor]):
        self.gradients = gradients

    def weigh(self, call: Recorded, rows: Probabilities, real: Tensor) -> Tensor:
        grad = self.gradients.get(id(call))
        if grad is None:
            return torch.zeros_like(rows.weights[0, 0])
        return (call.gradient(rows, grad) * rows.weights).clamp(min=0)[0].mean(0) * real

    def mix(self, old: Tensor, moved: Tensor, part: Part) -> Tensor:
        return old + moved / self._largest(part)

    def _largest(self, part: Part) -> float:
        """The largest row sum of a mixer's matrix."""
        sums = []
        for call in part.matrices:
            for queries in call.parts():
                rows = call.rows(queries)
                sums.append(self.weigh(call, rows, torch.ones_like(rows.keys)).sum(-1).max())
        return max(float(torch.stack(sums).max()), torch.finfo(torch.float32).tiny)
