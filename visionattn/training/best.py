"""The best checkpoints of a run, by the figure that the task names."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from visionattn.files import whole
from visionattn.training.distributed import broadcast_from_first, is_first

BEST = "best.ckpt"


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint`` whose ``best.ckpt`` is the best one, also of several, and after a run was moved.

    With ``save_top_k`` of 1 there is ``best.ckpt`` alone. Otherwise every checkpoint bears its step in its name, as in
    ``best-step1200.ckpt``, and ``best.ckpt`` is the best of them once more (a hard link, where the file system has
    them).

    A resumed run remembers the scores of checkpoints by their names, wherever the run lay before. Where it is resumed
    into another folder, they are copied. A checkpoint that is no longer there is forgotten, so that the next validation
    writes one.

    Args:
        dirpath: folder of the checkpoints.
        monitor: name of the figure.
        mode: ``max`` or ``min``.
        save_top_k: how many are kept; -1: all, 0: none.
        filename: without its ending; see Lightning.
        **kwargs: see ``ModelCheckpoint``.
    """

    def __init__(
        self,
        dirpath: str,
        monitor: str,
        mode: str = "max",
        save_top_k: int = 1,
        filename: str | None = None,
        **kwargs: Any,
    ) -> None:
        several = save_top_k not in (0, 1)
        if filename is None or (several and "{" not in filename):
            filename = f"{filename or 'best'}-step{{step}}" if several else "best"
        options = {"save_on_train_epoch_end": False, "auto_insert_metric_name": False, "enable_version_counter": False}
        super().__init__(dirpath, filename, monitor, mode=mode, save_top_k=save_top_k, **options | kwargs)

    @property
    def state_key(self) -> str:
        """Lightning's own name, under which checkpoints of before hold the state too."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    @property
    def path(self) -> Path:
        """``best.ckpt``."""
        return Path(str(self.dirpath), BEST)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores of the checkpoints that are still there."""
        scores = broadcast_from_first(self._scores(state_dict) if is_first() else {})
        if not scores:
            return
        order = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")
        order = order if self.save_top_k < 0 else order[: self.save_top_k]
        self.best_k_models = {path: scores[path] for path in order}
        self.best_model_path, self.best_model_score = order[0], scores[order[0]]
        self.kth_best_model_path, self.kth_value = order[-1], scores[order[-1]]
        self.current_score = state_dict["current_score"]

    def _scores(self, state_dict: dict[str, Any]) -> dict[str, Tensor]:
        """Path -> score of every checkpoint that is still there; the others are told."""
        scores = {}
        for old, score in state_dict["best_k_models"].items():
            path = self._place(Path(old))
            if path.exists():
                scores[str(path)] = score.cpu()
            else:
                lost = f"{path} is not there: its score, {float(score):.2f} in {self.monitor}, is forgotten"
                print(f"visionattn: {lost}", file=sys.stderr)
        return scores

    def _place(self, old: Path) -> Path:
        """Where a checkpoint of the run lies now; it is brought there if it lies in another folder."""
        path = self.path.with_name(old.name)
        if not path.exists() and old.exists():
            with whole(path) as draft:
                _copy(old, draft)
        if path == self.path and path.exists() and self.save_top_k not in (0, 1):  # a run that kept one keeps several
            path = path.with_name("best-before.ckpt")
            _keep(self.path, path)
        return path

    def _update_best_and_save(self, current: Tensor, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        super()._update_best_and_save(current, trainer, monitor_candidates)
        if trainer.is_global_zero and Path(self.best_model_path) != self.path:
            _keep(Path(self.best_model_path), self.path)
        trainer.strategy.barrier("best checkpoint in place")


def _keep(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, by a hard link where the file system has them."""
    if target.exists() and target.samefile(source):
        return
    with whole(target) as draft:
        try:
            os.link(source, draft)
        except OSError:  # a folder, or a file system without links
            _copy(source, draft)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
