"""``visionattn benchmark training``: the cost of our training step beside a plain PyTorch loop."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from visionattn.benchmarks.record import RESULTS, Row, save, show
from visionattn.config import DEFAULT_POLICY
from visionattn.config.composing import compose
from visionattn.errors import ConfigError
from visionattn.runs.build import Run, build

_FIXED = ("callbacks=no_ema", "trainer.limit_val_batches=0", "trainer.max_epochs=1000000", "callbacks.best=null")


def run_training(
    backbones: str | Sequence[str] = "dinat_pico",
    overrides: Sequence[str] = (),
    steps: int = 5,
    rounds: int = 20,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure seconds per training step of ``visionattn train`` and of a plain loop, in turn within one run.

    Ours is complete: Lightning, progress bar, loggers, checkpoints, the check for losses that are not finite. The plain
    loop has a copy of the model, the same optimizer, schedule, clipping and loader, and nothing else. It runs ``steps``
    steps after every ``steps`` of ours; the ratio of a round is that of the two times.

    Args:
        backbones: one name or several.
        overrides: of ``visionattn train``, for instance ``data.batch_size=32``.
        steps: steps of each loop in a round; a round never crosses the end of an epoch.
        rounds: rounds; medians over them are reported. Two rounds before them are not counted.
        output_dir: folder of the JSON and CSV files; None writes none.

    Raises:
        ConfigError: an epoch has fewer steps than a round, or the overrides do not compose.
    """
    names = [backbones] if isinstance(backbones, str) else list(backbones)
    rows = [_measure(name, list(overrides), steps, rounds) for name in names]
    _show(rows)
    settings = {"steps": steps, "rounds": rounds, "overrides": list(overrides)}
    save(rows, output_dir, "training", torch.device(rows[0]["device"]), settings)
    return rows


def _measure(name: str, overrides: list[str], steps: int, rounds: int) -> Row:
    cfg = compose("train", [f"backbone={name}", f"backbone_name={name}", *_FIXED, *overrides])
    with tempfile.TemporaryDirectory(prefix="visionattn-") as folder:
        cfg.name = name
        run = build(cfg, Path(folder), DEFAULT_POLICY)
        turns = Turns(run, steps, rounds + 2, cfg.trainer.gradient_clip_val)
        trainer: Any = run.trainer
        trainer.callbacks.insert(0, turns)
        run.trainer.fit(run.task, datamodule=run.data)
    ours, bare = turns.ours[2:], turns.bare[2:]
    return {
        "backbone": name,
        "batch": run.data.batch_size,  # type: ignore[attr-defined]
        "precision": str(cfg.trainer.precision),
        "device": str(run.trainer.strategy.root_device),
        "ours_ms": 1e3 * statistics.median(ours) / steps,
        "bare_ms": 1e3 * statistics.median(bare) / steps,
        "ratio": statistics.median(a / b for a, b in zip(ours, bare, strict=True)),
    }


class Turns(Callback):
    """Runs the plain loop between rounds of ours, and takes the time of both.

    Attributes:
        ours: seconds of each round of ours.
        bare: seconds of each round of the plain loop.
    """

    def __init__(self, run: Run, steps: int, rounds: int, clip: float | None) -> None:
        self.run, self.steps, self.rounds, self.clip = run, steps, rounds, clip
        self.ours: list[float] = []
        self.bare: list[float] = []
        self._loop: Iterator[None] | None = None
        self._since: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.num_training_batches <= self.steps:
            raise ConfigError(f"an epoch has {trainer.num_training_batches} steps, too few for rounds of {self.steps}")
        self._loop = _plain_steps(self.run, self.clip, trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % self.steps:
            return
        assert self._loop is not None
        if batch_idx:  # the first batch of an epoch ends no round: the change of the epoch lies before it
            self.ours.append(_now(trainer) - (self._since or 0.0))
            start = _now(trainer)
            for _ in range(self.steps):
                next(self._loop)
            self.bare.append(_now(trainer) - start)
        if len(self.ours) >= self.rounds:
            trainer.should_stop = True
        self._since = _now(trainer)


def _now(trainer: Trainer) -> float:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _plain_steps(run: Run, clip: float | None, trainer: Trainer) -> Iterator[None]:
    """The plain loop; each ``next`` makes one optimizer step."""
    device = trainer.strategy.root_device
    task = _copy(run).to(device).train()
    total = int(trainer.estimated_stepping_batches)
    built = task.build_optimizer(total, float(trainer.num_training_batches), run.batch)
    optimizer, schedule = built["optimizer"], built.get("lr_scheduler", {}).get("scheduler")
    data: Any = run.data
    step = 0
    while True:
        for batch in _endless_epochs(data, step):
            batch = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, device, 0), 0)
            with trainer.precision_plugin.forward_context():
                loss = task.step(batch).loss
            optimizer.zero_grad()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(task.parameters(), clip)
            optimizer.step()
            step += 1
            if schedule is not None:
                schedule.step_update(num_updates=step)
            yield


def _endless_epochs(data: Any, step: int) -> Iterator[Any]:
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(step)  # another order each time
    yield from loader


def _copy(run: Run) -> Any:
    """A copy of the task without its trainer."""
    task: Any = run.task
    kept, task._trainer = task._trainer, None
    try:
        return copy.deepcopy(task)
    finally:
        task._trainer = kept


def _show(rows: list[Row]) -> None:
    cells = (
        [
            *(str(row[name]) for name in ("backbone", "batch", "precision", "device")),
            f"{row['ours_ms']:.1f}",
            f"{row['bare_ms']:.1f}",
            f"{row['ratio']:.3f}",
        ]
        for row in rows
    )
    show(("backbone", "batch", "precision", "device", "ours ms", "plain ms", "ours / plain"), cells)
