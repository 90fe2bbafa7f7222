"""Weights, gradients and optimizer state divided among the processes."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method


class FullySharded(ModelParallelStrategy):
    """FSDP2 (Zhao et al. 2023, *PyTorch FSDP*, arXiv 2304.11277; torch's ``fully_shard``) over all processes.

    Every block is a unit of its own, then the rest of the backbone and the head. Checkpoints are single files with
    whole tensors, the same as those of one process, so that they resume on any number of processes and evaluate
    anywhere.

    Args:
        save_distributed_checkpoint: write a folder with one file per process instead. Torch reads the list of contents
            of such a folder by unpickling it: resume only from folders of your own.
        **kwargs: see Lightning's ``ModelParallelStrategy``.
    """

    def __init__(self, save_distributed_checkpoint: bool = False, **kwargs: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=save_distributed_checkpoint, **kwargs)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    def shard(self, backbone: Any, head: nn.Module) -> None:
        """Divides the weights; done once."""
        mesh = self.device_mesh["data_parallel"]
        for stage in getattr(backbone, "stages", []):
            for block in getattr(stage, "blocks", []):
                fully_shard(block, mesh=mesh)
        for module in (backbone, head):
            if any(True for _ in module.parameters()):
                fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(backbone, "forward_intermediates")
