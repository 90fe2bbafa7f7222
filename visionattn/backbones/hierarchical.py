"""The one backbone class: stem, stages, norm, classifier. A published model is data for it (``conf/backbone/*.yaml``).

Shapes: B batch, H W map or image, C channels. Maps are channels-last inside; the emitted features are ``(B, C, H, W)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from timm.layers import ClassifierHead
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from visionattn.attention.mixer import MixerFactory
from visionattn.backbones.batch import check_batch
from visionattn.backbones.block import Block, NormFactory
from visionattn.backbones.layers import LayerGroups
from visionattn.backbones.stage import BlockFactory, Stage, stride_of
from visionattn.backbones.stem import PatchMerging, PatchStem
from visionattn.kernels.norm import LayerNorm
from visionattn.options import grouped

StageFactory = Callable[..., Stage]
_MERGING_STAGE = partial(Stage, downsample=PatchMerging)
HeadFactory = Callable[..., nn.Module]


@dataclass(frozen=True)
class ClassifierOptions:
    """The classifier of a backbone.

    Attributes:
        head: classifier factory, called as ``head(dim, num_classes, pool_type=, drop_rate=)``; it has timm's ``reset``.
        num_classes: width of the classifier; 0: none.
        global_pool: timm's name of the pooling before the classifier.
        drop_rate: dropout before the classifier.
    """

    head: HeadFactory = ClassifierHead
    num_classes: int = 1000
    global_pool: str = "avg"
    drop_rate: float = 0.0


@dataclass(frozen=True)
class TrainingOptions:
    """What of a backbone matters in training alone.

    Attributes:
        drop_path_rate: drop-path probability of the last block; it grows linearly from 0.
        layer_groups: layers for layer-wise learning rates; None: each block is one.
    """

    drop_path_rate: float = 0.0
    layer_groups: LayerGroups | None = None


class HierarchicalBackbone(nn.Module):
    """A hierarchical vision backbone assembled from rows as a paper's table prints them.

    It offers what timm's models offer: ``feature_info``, ``forward_features``, ``forward_intermediates``,
    ``reset_classifier``, ``set_grad_checkpointing``; any image size works.

    Args:
        dims: channels of each stage.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        mixers: mixer factory per stage, under the keys ``s1``, ``s2``, ...
        stem: called as ``stem(in_chans, dim)``.
        block: called as ``block(dim, mixer, drop_path=)``; or one factory per key of ``mixers``, see
            :func:`visionattn.backbones.block.blocks_by_stage`.
        stage: called as ``stage(dim_in, dim, num_heads, mixer, block, drop_path, first=)``; or one factory per key of
            ``mixers``.
        norm: norm factory for the last map.
        in_chans: channels of the image.
        training: its fields ``drop_path_rate`` and ``layer_groups`` are arguments of their own, see
            :class:`TrainingOptions`.
        classifier: its fields ``head``, ``num_classes``, ``global_pool`` and ``drop_rate`` are arguments of their own,
            see :class:`ClassifierOptions`.
        card: facts about the published model (paper, params, ...); kept as ``self.card``.

    Raises:
        TypeError: an argument of another name.
        ValueError: rows of different length, or a stage without a mixer.

    Shape:
        ``(B, in_chans, H, W) -> (B, num_classes)``
    """

    @grouped(training=TrainingOptions, classifier=ClassifierOptions)
    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        mixers: Mapping[str, MixerFactory],
        *,
        stem: Callable[[int, int], nn.Module] = PatchStem,
        block: BlockFactory | Mapping[str, BlockFactory] = Block,
        stage: StageFactory | Mapping[str, StageFactory] = _MERGING_STAGE,
        norm: NormFactory = LayerNorm,
        in_chans: int = 3,
        training: TrainingOptions,
        classifier: ClassifierOptions,
        card: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        keys = _stage_keys(dims, depths, num_heads, mixers)
        _check_ranges(in_chans, training.drop_path_rate)
        self.num_classes, self.in_chans, self.card = classifier.num_classes, in_chans, dict(card or {})
        self.layer_groups = training.layer_groups or LayerGroups()
        self.stem: Any = stem(in_chans, dims[0])
        rates = iter(training.drop_path_rate * block / max(sum(depths) - 1, 1) for block in range(sum(depths)))
        self.stages: Any = nn.ModuleList()
        self.feature_info: list[dict[str, Any]] = []
        reduction = stride_of(self.stem)
        for i, key in enumerate(keys):
            build = stage[key] if isinstance(stage, Mapping) else stage
            inside = block[key] if isinstance(block, Mapping) else block
            drop_path = [next(rates) for _ in range(depths[i])]
            built = build(dims[max(i - 1, 0)], dims[i], num_heads[i], mixers[key], inside, drop_path, first=i == 0)
            reduction *= built.stride
            self.feature_info.append({"num_chs": dims[i], "reduction": reduction, "module": f"stages.{i}"})
            self.stages.append(built)
        self.num_features, self.norm = dims[-1], norm(dims[-1])
        self.head: Any = classifier.head(
            dims[-1], classifier.num_classes, pool_type=classifier.global_pool, drop_rate=classifier.drop_rate
        )
        self.head_hidden_size = getattr(self.head, "width", dims[-1])
        self.apply(_init_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The normalized last map, ``(B, C, H, W)``."""
        check_batch(x, self.in_chans)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.norm(x).permute(0, 3, 1, 2)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooling and classifier on the map of :meth:`forward_features`; ``pre_logits=True`` stops after pooling."""
        return self.head(x, pre_logits=pre_logits)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of the stages, as timm's models give them.

        Args:
            x: image ``(B, in_chans, H, W)``.
            indices: which stages; the last n for a number, all for None.
            norm: apply the final norm to the last map among them.
            stop_early: leave out the stages that no index asks for.
            output_fmt: ``NCHW`` or ``NHWC``.
            intermediates_only: return the list alone, without the final features.

        Raises:
            ValueError: another ``output_fmt``.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be NCHW or NHWC, got {output_fmt}")
        check_batch(x, self.in_chans)
        take, last = feature_take_indices(len(self.stages), indices)
        x, maps, final = self.stem(x), [], len(self.stages) - 1
        for i, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if i in take:
                emitted = self.norm(x) if norm and i == final else x
                maps.append(emitted.permute(0, 3, 1, 2) if output_fmt == "NCHW" else emitted)
        if intermediates_only:
            return maps
        return (self.norm(x) if i == final else x).permute(0, 3, 1, 2), maps

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes what the wanted features do not need; returns the stages that remain wanted."""
        take, last = feature_take_indices(len(self.stages), indices)
        shortened = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if prune_norm or shortened:
            self.norm = nn.Identity()
        if shortened:
            self.num_features = self.feature_info[last]["num_chs"]
            self.head_hidden_size = getattr(self.head, "width", self.num_features)
        if prune_head or shortened:
            self.reset_classifier(0, "")
        return take

    def removed_parts(self) -> tuple[str, ...]:
        """Modules of the complete model that this one lacks; their weights are not required."""
        parts = [f"stages.{i}" for i in range(len(self.stages), len(self.feature_info))]
        parts += ["norm"] if isinstance(self.norm, nn.Identity) else []
        return (*parts, "head") if self.num_classes == 0 else tuple(parts)

    def get_classifier(self) -> nn.Module:
        """The linear layer that gives the logits."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh classifier for another number of classes; 0 removes it."""
        self.num_classes = num_classes
        self.head.reset(num_classes, pool_type=global_pool, in_features=self.num_features)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks' activations in the backward pass instead of keeping them."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay must leave alone: each module declares its own."""
        return {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            for name in getattr(module, "no_weight_decay_parameters", ())
            if attrgetter(name)(module) is not None
        }

    def layer_of(self, param_name: str) -> int:
        """Depth of a parameter, for layer-wise learning rates.

        0 is the stem, ``num_layers - 1`` the head; between them are the blocks, see :class:`LayerGroups`.

        Raises:
            KeyError: no parameter has this name.
        """
        return self.layer_groups.of_parameters(self)[param_name]

    @property
    def num_layers(self) -> int:
        """One more than the highest number that :meth:`layer_of` gives."""
        return self.layer_groups.of_head(self._depths()) + 1

    def _depths(self) -> list[int]:
        return [len(stage.blocks) for stage in self.stages]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups in timm's form, for its own layer-wise tools."""
        if coarse:
            return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}
        return self.layer_groups.patterns(self._depths())


def _stage_keys(
    dims: Sequence[int], depths: Sequence[int], num_heads: Sequence[int], mixers: Mapping[str, MixerFactory]
) -> list[str]:
    if not len(dims) == len(depths) == len(num_heads) > 0:
        raise ValueError(
            "dims, depths and num_heads need one entry per stage, "
            f"got {len(dims)}, {len(depths)} and {len(num_heads)} entries"
        )
    keys = [f"s{i + 1}" for i in range(len(dims))]
    if sorted(keys) != sorted(mixers):
        raise ValueError(f"a backbone of {len(dims)} stages needs mixers for {keys}, got {sorted(mixers)}")
    return keys


def _check_ranges(in_chans: int, drop_path_rate: float) -> None:
    if in_chans < 1 or not 0 <= drop_path_rate < 1:
        raise ValueError(
            f"in_chans is 1 or more and drop_path_rate from 0 to below 1, got {in_chans} and {drop_path_rate}"
        )


def _init_weights(module: nn.Module) -> None:
    """Linear layers start from a truncated normal of deviation 0.02 with zero bias; the rest keeps torch's start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
