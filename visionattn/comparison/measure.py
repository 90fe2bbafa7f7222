"""Speed, memory and energy of the entries, measured in turn on one machine after the trainings."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from visionattn.benchmarks.timing import interleaved, peak_bytes
from visionattn.comparison.energy import Meter
from visionattn.comparison.summary import Cost
from visionattn.config import BuildPolicy
from visionattn.config.stored import parse_config
from visionattn.runs.build import Run, build
from visionattn.training.checkpoints import LAST
from visionattn.weights import read_checkpoint

FEWEST, MOST = 3, 30
"""Rounds of a measurement."""


@dataclass
class Runner:
    """A model with a batch, ready to be measured.

    Attributes:
        train: one training step: forward, backward, optimizer.
        infer: one forward pass.
        images: of the batch.
        held: bytes of parameters, buffers, gradients and the state of the optimizer.
        device: where it runs.
    """

    train: Callable[[], object]
    infer: Callable[[], object]
    images: int
    held: Callable[[], int]
    device: torch.device


def measure(runs: Mapping[str, Path], seconds: float, policy: BuildPolicy) -> dict[str, Cost]:
    """Measure the models of runs, in turn within each round; medians over the rounds.

    All train on the first batch of their data, with the batch size, the precision and the device of the training.

    Args:
        runs: entry -> folder of one of its runs, which has its configuration and, mostly, its last checkpoint.
        seconds: about how long it may take; three rounds are measured in any case.
        policy: what configurations may build.

    Returns:
        Entry -> what it costs.
    """
    with tempfile.TemporaryDirectory(prefix="visionattn-") as folder:
        runners = {name: _runner(run, Path(folder), policy) for name, run in runs.items()}
        device = next(iter(runners.values())).device
        begin = time.perf_counter()
        for runner in runners.values():  # what is compiled or allocated once
            runner.train(), runner.infer()
        start = time.perf_counter()
        memory = {name: runner.held() + peak_bytes(runner.train, device) for name, runner in runners.items()}
        energy = {name: _energy(runner) for name, runner in runners.items()}
        for runner in runners.values():
            runner.train(), runner.infer()
        one = max((time.perf_counter() - start) / 3, 1e-3)
        rounds = int(min(max((seconds - (time.perf_counter() - begin)) / one, FEWEST), MOST))
        train = interleaved({name: runner.train for name, runner in runners.items()}, rounds, device)
        infer = interleaved({name: runner.infer for name, runner in runners.items()}, rounds, device)
    return {
        name: Cost(
            runner.images / statistics.median(train[name]),
            runner.images / statistics.median(infer[name]),
            memory[name],
            energy[name],
        )
        for name, runner in runners.items()
    }


def _energy(runner: Runner) -> float | None:
    """Joules of a training image, over about half a second of steps."""
    meter, steps, begin = Meter(runner.device), 0, time.perf_counter()
    meter.start()
    if meter.joules() is None and runner.device.type != "cuda":
        return None
    while not steps or time.perf_counter() - begin < 0.5:
        runner.train()
        if runner.device.type == "cuda":
            torch.cuda.synchronize(runner.device)
        meter.sample()
        steps += 1
    joules = meter.joules()
    return None if joules is None else joules / (steps * runner.images)


def _runner(folder: Path, scratch: Path, policy: BuildPolicy) -> Runner:
    cfg = parse_config((folder / "config.yaml").read_text(encoding="utf-8"), folder / "config.yaml")
    with open_dict(cfg):
        cfg.logger = cfg.callbacks = None
    run = build(cfg, scratch, policy)
    _load(run, folder)
    return _prepared(run, cfg)


def _load(run: Run, folder: Path) -> None:
    """Put the trained weights in; a detector works on as many boxes as they find."""
    path = folder / "checkpoints" / LAST
    if path.is_file():
        run.task.load_state_dict(read_checkpoint(path)["state_dict"])


def _prepared(run: Run, cfg: DictConfig) -> Runner:
    device, data = run.trainer.strategy.root_device, run.data
    data.setup("fit")
    task: Any = run.task.to(device)
    task.meet(data)
    batch = next(iter(data.train_dataloader()))
    moved = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, device, 0), 0)
    height, width = data.image_size
    images = torch.randn(len(batch["id"]), data.in_chans, height, width, device=device)
    optimizer = task.build_optimizer(total_steps=1000, steps_per_epoch=100, batch=run.batch)["optimizer"]
    clip = OmegaConf.select(cfg, "trainer.gradient_clip_val")
    context = run.trainer.precision_plugin.forward_context

    def train() -> None:
        task.train()
        optimizer.zero_grad()
        with context():
            loss = task.step(dict(moved)).loss
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(task.parameters(), clip)
        optimizer.step()

    def infer() -> None:
        task.eval()
        with torch.no_grad(), context():
            task(images)

    def held() -> int:
        states = [value for state in optimizer.state.values() for value in state.values()]
        return _bytes([*task.parameters(), *task.buffers(), *(p.grad for p in task.parameters()), *states])

    return Runner(train, infer, len(batch["id"]), held, device)


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors if isinstance(one, Tensor))


def seconds_of_forward(tasks: Mapping[str, Any], images: Tensor, rounds: int = 5) -> dict[str, float]:
    """Seconds of a forward pass of each model, medians of rounds in which they run in turn."""

    def runner(task: Any) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad():
                task(images)

        return run

    runners = {name: runner(task.to(images.device).eval()) for name, task in tasks.items()}
    for run in runners.values():
        run()
    times = interleaved(runners, rounds, images.device)
    return {name: statistics.median(values) for name, values in times.items()}
