"""Options of training that all tasks share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from visionattn.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class TrainingOptions:
    """Options of training; :class:`VisionTask` takes them as keyword arguments.

    Attributes:
        layer_decay: factor on the learning rate per layer downwards; None: the same rate for all layers.
        backbone_lr_scale: factor on the learning rate of the whole backbone.
        lr_base_size: images per optimizer step that the optimizer's rate is meant for; the rate of the run follows its
            real batch. None: the rate as it is given.
        lr_base_scale: how the rate follows, ``linear`` or ``sqrt``; see :class:`LearningRateScaling`.
        channels_last: channels-last memory format for images and weights of convolutions.
        compile: compile backbone and head with ``torch.compile``; ``True`` is torch's mode ``default``. The modes
            ``reduce-overhead`` and ``max-autotune`` use CUDA graphs, which need a GPU and images of one size;
            ``max-autotune-no-cudagraphs`` only searches longer for fast kernels.
        grad_checkpointing: recompute activations in the backward pass.
        freeze: parts of the backbone that stay as they are: ``backbone`` for all of it, or a list such as ``[stem,
            s1]``. They get no gradient and compute as in evaluation (no drop path, fixed statistics of batch norms).
        adaptive_clip: most that the gradient's norm may be of each row of a weight, as a share of the row's own norm
            (Brock et al. 2021, *High-Performance Large-Scale Image Recognition Without Normalization*, arXiv
            2102.06171; timm's ``agc``, for all parameters); null: ``trainer.gradient_clip_val`` alone clips.
        nonfinite: what to do about a loss or gradient that is not finite: ``stop``, or ``skip`` the step on all
            processes. Both leave the weights as they are; a skipped step also leaves the running statistics and the
            averaged weights.
    """

    layer_decay: float | None = None
    backbone_lr_scale: float = 1.0
    lr_base_size: int | None = None
    lr_base_scale: str = "linear"
    channels_last: bool = False
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = False
    grad_checkpointing: bool = False
    freeze: str | Sequence[str] | None = None
    adaptive_clip: float | None = None
    nonfinite: str = "stop"

    def __post_init__(self) -> None:
        if self.adaptive_clip is not None and not 0 < self.adaptive_clip < math.inf:
            raise ConfigError(f"task.adaptive_clip is a positive share such as 0.02, not {self.adaptive_clip}")

    @classmethod
    def of(cls, given: Mapping[str, Any], owner: str) -> TrainingOptions:
        """Options from keyword arguments.

        Raises:
            ConfigError: an argument that is none of them; names ``owner`` and the nearest option.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                listed = f"its options are {', '.join(known)}"
                raise ConfigError(f"{owner} takes no argument {name}{did_you_mean(name, known)} ({listed})")
        return cls(**given)
