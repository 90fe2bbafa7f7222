"""Weights, gradients and optimizer state divided among the processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn

from visionattn.training.distributed import gather
from visionattn.weights.distributed import CONTENTS, FACTS, SUMS, checksums


class FullySharded(ModelParallelStrategy):
    """FSDP2 (Zhao et al. 2023, *PyTorch FSDP*, arXiv 2304.11277; torch's ``fully_shard``) over all processes.

    Every block is a unit of its own, then the rest of the backbone and the head. Checkpoints are single files with
    whole tensors, the same as those of one process, so that they resume on any number of processes and evaluate
    anywhere.

    Args:
        save_distributed_checkpoint: write a folder with one file per process instead, and a file of their checksums.
            Resuming makes torch unpickle parts of such a folder: resume only from folders of your own. Evaluation and
            export read the weights alone, without unpickling code.
        **kwargs: see Lightning's ``ModelParallelStrategy``.
    """

    def __init__(self, save_distributed_checkpoint: bool = False, **kwargs: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=save_distributed_checkpoint, **kwargs)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """As Lightning's; beside the files of a distributed checkpoint stand their checksums."""
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        path = Path(self.broadcast(filepath))
        if self.is_global_zero and path.is_dir():  # what a writing that broke off has left
            shutil.rmtree(path)
        self.barrier("folder is empty")
        super().save_checkpoint(checkpoint, path, storage_options)
        own = sorted(path.glob(f"__{self.global_rank}_*"))
        if self.is_global_zero:
            own += [path / CONTENTS, path / FACTS]
        sums = gather(checksums(own))
        if self.is_global_zero:
            text = json.dumps({name: value for part in sums for name, value in part.items()})
            (path / SUMS).write_text(text, encoding="utf-8")
        self.barrier("folder is sealed")

    def shard(self, backbone: Any, head: nn.Module) -> None:
        """Divides the weights; done once."""
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # a good part of a start's time

        mesh = self.device_mesh["data_parallel"]
        for stage in getattr(backbone, "stages", []):
            for block in getattr(stage, "blocks", []):
                fully_shard(block, mesh=mesh)
        for module in (backbone, head):
            if any(True for _ in module.parameters()):
                fully_shard(module, mesh=mesh)
        register_fsdp_forward_method(backbone, "forward_intermediates")
