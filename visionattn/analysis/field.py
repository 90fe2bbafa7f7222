"""Receptive fields: the pixels that can reach a token, and how much each of them does.

Shapes: H W image, C channels of a token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from visionattn.analysis.choosing import Point, as_points, stage_of
from visionattn.analysis.grids import token_at
from visionattn.analysis.trace import backbone_of, evaluating, one_image

LARGEST = 1 << 20
"""Pixels of the largest image: the theoretical field keeps all maps in float64."""
_DRAWS = 2
_MOST = 0.95
Measure = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Field:
    """The receptive field of one token.

    Attributes:
        stage: ``s1``, ``s2``, ...
        point: (row, column) in shares of the image's height and width.
        center: the same point in pixels.
        possible: bool ``(H, W)``, the theoretical field: pixels that can change the token at all.
        strength: ``(H, W)``, the effective field: the size of the token's gradient with respect to each pixel, summing
            to 1.
    """

    stage: str
    point: Point
    center: tuple[float, float]
    possible: Tensor
    strength: Tensor

    @property
    def theoretical_area(self) -> float:
        """Share of the image that can reach the token."""
        return float(self.possible.double().mean())

    @property
    def effective_area(self) -> float:
        """The smallest share of the image that holds 95 % of the strength."""
        strongest = self.strength.flatten().double().sort(descending=True).values.cumsum(0)
        return int((strongest < _MOST * strongest[-1]).sum() + 1) / len(strongest)

    @property
    def effective_radius(self) -> float:
        """Root mean square distance of the strength from the point, in pixels."""
        return float((self.strength.double() * self._distances().square()).sum().sqrt())

    @property
    def theoretical_radius(self) -> float:
        """The distance of the farthest pixel that can reach the token."""
        return float((self._distances() * self.possible).max())

    def _distances(self) -> Tensor:
        rows, columns = (
            torch.arange(side, device=self.strength.device) + 0.5 - middle
            for side, middle in zip(self.strength.shape, self.center, strict=True)
        )
        return torch.hypot(rows.double()[:, None], columns.double()[None])


def receptive_field(model: nn.Module, image: Tensor, points: Any = None, *, stage: Any = None) -> list[Field]:
    """Theoretical and effective receptive fields of the tokens at some points.

    The theoretical field is where the gradient in float64 is not zero, in a copy of the model with generic weights in
    place of its own (random, and so small that no softmax underflows) and a random image. Functions whose derivative is
    zero on whole ranges (ReLU, maximum pooling) are replaced by smooth ones of the same reach, so that a zero is never
    an accident of values. It depends on the architecture and the image's size alone.

    The effective field is that of Luo et al. 2016, arXiv 1701.04128, of the model's own weights and on this image: for
    each pixel the root of the summed squares of the derivatives of all channels of the token (by random signs).

    Args:
        model: a backbone of visionattn, or a task around one.
        image: normalized, ``(C, H, W)`` or ``(1, C, H, W)``.
        points: [row, column] in shares of height and width; None: the center and four around it.
        stage: whose tokens; ``s1``, ``s2``, ... or 1, 2, ...; None: the last.

    Raises:
        ValueError: a point outside of the image, no such stage, or an image of more than 2**20 pixels.
    """
    where, index, batch = as_points(points), stage_of(model, stage), one_image(image)
    return fields_of(backbone_of(model), batch, where, [index])


def fields_of(backbone: Any, image: Tensor, points: Sequence[Point], stages: Sequence[int]) -> list[Field]:
    """The same for several stages."""
    check_size(image)
    generic = generic_copy(backbone)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(image.device)
    with Smooth(), evaluating(generic):
        possible = _gradients(generic, noise, points, stages, 1, lambda _, grad: (grad != 0).any(0))
    with evaluating(backbone):
        strength = _gradients(backbone, image, points, stages, _DRAWS, lambda sum_, grad: sum_ + grad.square().sum(0))
    size = (image.shape[2], image.shape[3])
    fields = []
    for index in stages:
        for place, point in enumerate(points):
            power = strength[index, place].sqrt()
            fields.append(
                Field(
                    f"s{index + 1}",
                    point,
                    (point[0] * size[0], point[1] * size[1]),
                    possible[index, place],
                    power / power.sum().clamp_min(torch.finfo(power.dtype).tiny),
                )
            )
    return fields


def check_size(image: Tensor) -> None:
    """Refuse an image whose maps would not fit into memory.

    Raises:
        ValueError: names both sizes.
    """
    pixels = image.shape[-2] * image.shape[-1]
    if pixels > LARGEST:
        raise ValueError(
            f"a receptive field of an image of {image.shape[-2]} x {image.shape[-1]} pixels keeps all maps in memory; "
            f"it is computed for {LARGEST:,} pixels at most: take a smaller image, or leave out the measure field"
        )


def _gradients(
    backbone: Any, image: Tensor, points: Sequence[Point], stages: Sequence[int], draws: int, measure: Measure
) -> dict[tuple[int, int], Tensor]:
    """(stage, number of the point) -> what ``measure`` makes of the gradients with respect to the pixels ``(H, W)``."""
    size = (image.shape[2], image.shape[3])
    inputs, found = image.detach().clone().requires_grad_(), {}
    signs = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        maps = backbone.forward_intermediates(
            inputs, indices=list(stages), stop_early=True, intermediates_only=True, output_fmt="NHWC"
        )
        for index, map_ in zip(sorted(stages), maps, strict=True):
            stride = backbone.feature_info[index]["reduction"]
            for place, point in enumerate(points):
                row, column = token_at(point, size, stride, (map_.shape[1], map_.shape[2]))
                token, squares = map_[0, row, column], torch.zeros_like(inputs[0, 0])
                for _ in range(draws):
                    sign = torch.randint(0, 2, token.shape, generator=signs).to(token) * 2 - 1
                    (gradient,) = torch.autograd.grad(token, inputs, sign, retain_graph=True)
                    squares = measure(squares, gradient[0])
                found[index, place] = squares
    return found


def generic_copy(backbone: nn.Module) -> nn.Module:
    """A copy in float64 with random weights: small matrices, and factors and summands around 1."""
    generic = copy.deepcopy(backbone).double()
    source = torch.Generator(next(backbone.parameters()).device).manual_seed(0)
    with torch.no_grad():
        for parameter in generic.parameters():
            parameter.requires_grad_(False)
            if parameter.dim() > 1:
                bound = (3 / max(parameter[0].numel(), 1)) ** 0.5
                parameter.uniform_(-bound, bound, generator=source)
            else:
                parameter.uniform_(0.5, 1.5, generator=source)
        for norm in generic.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                norm.reset_running_stats()
    return generic


class Smooth(TorchFunctionMode):
    """Replaces functions that pass no gradient on whole ranges by smooth ones that read the same inputs."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (F.relu, torch.relu, torch.relu_):
            return F.softplus(args[0])
        if function in (torch.max_pool2d, F.max_pool2d):
            return F.avg_pool2d(*args, **{name: kwargs[name] for name in ("stride", "padding") if name in kwargs})
        return function(*args, **kwargs)
