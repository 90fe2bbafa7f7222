"""What a task trains: a backbone and a head on its maps, and how ``torch.compile`` takes them."""

from __future__ import annotations

from typing import Any, Self

import torch
from lightning import LightningModule
from torch import Tensor, nn

from visionattn.training.compiling import Compiling, FixedRegion
from visionattn.training.freezing import FrozenParts
from visionattn.training.fsdp import FullySharded
from visionattn.training.options import TrainingOptions


class Network(LightningModule):
    """A backbone and a head, as one call.

    Args:
        backbone: a module with ``forward_intermediates``.
        head: takes the list of the backbone's maps.
        options: of the training.

    Attributes:
        sizes_vary: whether images of a training, or their padded batches, have many sizes. It decides how a task is
            compiled.
        evaluation_sizes_vary: the same for evaluation; where only these vary, evaluation runs uncompiled.
        frozen: the parts of the backbone that are not trained.
        compiling: what is compiled.
    """

    sizes_vary = False
    evaluation_sizes_vary = False

    def __init__(self, backbone: Any, head: nn.Module, options: TrainingOptions) -> None:
        super().__init__()
        self.options = options
        self.backbone: Any = backbone
        self.head = head
        self.frozen = FrozenParts(backbone, options.freeze)
        self.compiling = Compiling(options, self.sizes_vary, type(self).__name__)
        self._region: FixedRegion | None = None

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.frozen.keep_still()
        return self

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the backbone's maps of normalized images ``(B, C, H, W)``."""
        if self.options.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = self.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
        return maps

    def forward(self, images: Tensor) -> Any:
        return self._uncompiled(images) if self._region is None else self._region(images, self.training)

    def _uncompiled(self, images: Tensor) -> Any:
        return self.head(self.features(images))

    def compile_parts(self, dynamic: bool) -> None:
        """Compile module by module: the blocks of the backbone, or all of it where it has none.

        Args:
            dynamic: whether for any size, or for each size anew.
        """
        blocks = [block for stage in getattr(self.backbone, "stages", []) for block in getattr(stage, "blocks", [])]
        if blocks:
            self.compiling.parts("blocks of the backbone", blocks, dynamic)
        else:
            self.compiling.parts("backbone", [self.backbone], dynamic, method="forward_intermediates")

    def setup(self, stage: str) -> None:
        if self.options.channels_last:
            self.to(memory_format=torch.channels_last)
        if not self.compiling.mode or self.compiling.regions:
            return
        if self.sizes_vary or isinstance(self.trainer.strategy, FullySharded):
            self.compile_parts(dynamic=self.sizes_vary)
        else:
            evaluation = not self.evaluation_sizes_vary
            self._region = self.compiling.whole("backbone and head", self._uncompiled, evaluation)

    def configure_model(self) -> None:
        strategy = self.trainer.strategy
        if isinstance(strategy, FullySharded):
            strategy.shard(self.backbone, self.head)
