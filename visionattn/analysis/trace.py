"""A forward pass kept stage by stage and block by block, with every call of attention in it.

Shapes: B batch, C channels, H W map or image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.attention.mixer import declared
from visionattn.kernels.recording import AnyRecorded, Recorded, RecordedChannels, recorded

Size = tuple[int, int]
_MIXER = "mixer"


@dataclass
class Part:
    """One mixer at work.

    Attributes:
        name: of the mixer in its block: ``mixer``; FasterViT's blocks have two, ``carrier.mixer`` and ``local.mixer``.
        mixer: the module.
        inputs: what it was called with: the map ``(B, H, W, C)`` and the stage's context.
        calls: its calls of attention, in the order of the heads.
    """

    name: str
    mixer: nn.Module
    inputs: tuple[Any, ...] = ()
    calls: list[AnyRecorded] = field(default_factory=list)

    @property
    def matrices(self) -> list[Recorded]:
        """The calls whose matrix is over tokens of the stage's map."""
        return [call for call in self.calls if isinstance(call, Recorded)][: declared(self.mixer, "map_calls")]

    @property
    def channels(self) -> list[RecordedChannels]:
        """The calls whose matrix is over channels."""
        return [call for call in self.calls if isinstance(call, RecordedChannels)]

    @property
    def kind(self) -> str:
        """Class of the mixer."""
        return type(self.mixer).__name__

    @property
    def padding_before(self) -> bool:
        """Whether half of the padding stands before the map; see :class:`visionattn.attention.mixer.Mixer`."""
        return any(getattr(module, "padding_before", False) for module in self.mixer.modules())

    @property
    def padding_front(self) -> Size:
        """Rows and columns of padding that always stand before the map; see the same class."""
        found = (getattr(module, "padding_front", (0, 0)) for module in self.mixer.modules())
        return next((front for front in found if any(front)), (0, 0))


@dataclass
class BlockTrace:
    """A block: its place in its stage, and its mixers."""

    index: int
    module: nn.Module
    parts: list[Part]


@dataclass
class StageTrace:
    """A stage.

    Attributes:
        index: from 0 on.
        module: the stage.
        stride: pixels of the image along each side of a token.
        before: rows and columns of the map that came in.
        grid: rows and columns of the stage's map, without padding.
        blocks: those that have a mixer.
    """

    index: int
    module: Any
    stride: int
    before: Size = (0, 0)
    grid: Size = (0, 0)
    blocks: list[BlockTrace] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``s1`` for the first, as in ``backbone.mixers``."""
        return f"s{self.index + 1}"


class Recording:
    """What :func:`recording` keeps.

    Attributes:
        model: as it was given.
        backbone: the backbone in it.
        stages: in order; empty maps until the model has run.
        image_size: (H, W) of the image.
        features: the maps that the backbone emitted, where :func:`record` ran it.
    """

    def __init__(self, model: nn.Module):
        self.model, self.backbone = model, backbone_of(model)
        self.image_size: Size = (0, 0)
        self.features: list[Tensor] = []
        strides = [info["reduction"] for info in self.backbone.feature_info]
        self.stages = [
            StageTrace(i, stage, stride, blocks=list(_blocks(stage)))
            for i, (stage, stride) in enumerate(zip(self.backbone.stages, strides, strict=False))
        ]
        self._current: Part | None = None

    def parts(self) -> Iterator[tuple[StageTrace, BlockTrace, Part]]:
        """Every mixer with its stage and block."""
        for stage in self.stages:
            for block in stage.blocks:
                for part in block.parts:
                    yield stage, block, part

    def take(self, call: AnyRecorded) -> None:
        """Keep a call of the mixer that is at work."""
        if self._current is not None:
            self._current.calls.append(call)

    def watch(self, stack: ExitStack) -> None:
        """Register the hooks, for as long as ``stack`` is open."""

        def entered(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.image_size = (inputs[0].shape[2], inputs[0].shape[3])

        handles = [self.backbone.stem.register_forward_pre_hook(entered)]
        for stage in self.stages:
            handles.append(stage.module.downsample.register_forward_hook(_sizes_of(stage)))
        for _, _, part in self.parts():
            handles.append(part.mixer.register_forward_pre_hook(self._entering(part)))
            handles.append(part.mixer.register_forward_hook(self._leaving, always_call=True))
        for handle in handles:
            stack.callback(handle.remove)

    def _entering(self, part: Part) -> Any:
        def enter(mixer: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._current, part.inputs, part.calls = part, inputs, []

        return enter

    def _leaving(self, mixer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._current = None


def _sizes_of(stage: StageTrace) -> Any:
    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        (_, *before, _), (_, *after, _) = inputs[0].shape, output.shape
        stage.before, stage.grid = (before[0], before[1]), (after[0], after[1])

    return keep


def _blocks(stage: Any) -> Iterator[BlockTrace]:
    for index, block in enumerate(stage.blocks):
        found = {name: module for name, module in block.named_modules() if name.split(".")[-1] == _MIXER}
        if found:
            yield BlockTrace(index, block, [Part(name, mixer) for name, mixer in found.items()])


def backbone_of(model: nn.Module) -> Any:
    """The backbone of a task, or the model itself where it is one.

    Raises:
        ValueError: there is none of visionattn.
    """
    backbone: Any = getattr(model, "backbone", model)
    if not (hasattr(backbone, "stages") and hasattr(backbone, "stem") and hasattr(backbone, "feature_info")):
        raise ValueError(
            f"analysis looks into backbones of visionattn (stem, stages, blocks), not into a {type(backbone).__name__}"
        )
    return backbone


@contextmanager
def recording(model: nn.Module) -> Iterator[Recording]:
    """A context that keeps what a model's mixers compute: queries, keys, values, outputs, and the maps' sizes.

    Nothing is copied, and no result changes. A second forward pass replaces the first. The model must not be compiled.

    Args:
        model: a backbone of visionattn, or a task around one.

    Raises:
        ValueError: another model.
    """
    kept = Recording(model)
    with ExitStack() as stack:
        kept.watch(stack)
        stack.enter_context(recorded(kept.take))
        yield kept


def record(model: nn.Module, image: Tensor, *, gradient: bool = False) -> Recording:
    """Run the backbone on one image in evaluation, and keep what its mixers compute.

    Args:
        model: a backbone of visionattn, or a task around one.
        image: normalized, ``(C, H, W)`` or ``(1, C, H, W)``.
        gradient: keep autograd's graph too, from the image on.

    Raises:
        ValueError: another model, or more than one image.
    """
    batch = one_image(image).detach().clone().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient), evaluating(model), recording(model) as kept:
        kept.features = kept.backbone.forward_intermediates(batch, norm=True, intermediates_only=True)
    return kept


def one_image(image: Tensor) -> Tensor:
    """The image as a batch ``(1, C, H, W)``.

    Raises:
        ValueError: something else.
    """
    batch = image[None] if image.dim() == 3 else image
    if batch.dim() != 4 or batch.shape[0] != 1:
        raise ValueError(
            f"analysis takes one image, (C, H, W) or (1, C, H, W), got a tensor of shape {tuple(image.shape)}"
        )
    return batch


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A context in which a model is in evaluation: no drop path, batch norms with their statistics."""
    training = {module for module in model.modules() if module.training}
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
