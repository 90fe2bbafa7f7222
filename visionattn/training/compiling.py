"""``task.compile``: what ``torch.compile`` takes of a task, and what became of it.

Where all training images have one size, backbone and head are one graph of fixed sizes, one for training and one for
evaluation, whose smaller last batch is filled up. Where sizes vary, or weights are divided among processes, modules are
compiled one by one for any size. Random numbers are those of the uncompiled model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.errors import ConfigError, counted
from visionattn.training.fsdp import FullySharded
from visionattn.training.options import TrainingOptions

CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes that replay a recorded graph of the device's work, which has fixed sizes and fixed memory."""
BACKEND = "inductor"
SHAPES = 4
"""Sizes per phase that a region of fixed sizes is compiled for; further ones run uncompiled."""
_VARIANTS = 8
"""Graphs per module that is compiled on its own: training and evaluation, one image and several, and as many again."""
_SHOWN = 3
_INSTEAD = "task.compile=true compiles without them"


class FixedRegion:
    """A function of a batch of images, compiled for the sizes that come.

    An evaluation batch with fewer images than the largest before it is filled up with copies of its last image, whose
    results are cut off; so the last batch of a split needs no graph of its own. An image's result must not depend on
    the other images of an evaluation batch.

    Args:
        function: ``(B, C, H, W)`` to a tensor, or a tuple or list of tensors and None.
        compiled: the same, compiled.
        cuda_graphs: whether what ``compiled`` returns is overwritten by its next call.
        evaluation: whether evaluation is compiled too.
    """

    def __init__(
        self, function: Callable[..., Any], compiled: Callable[..., Any], cuda_graphs: bool, evaluation: bool
    ) -> None:
        self.function, self.compiled = function, compiled
        self.cuda_graphs, self.evaluation = cuda_graphs, evaluation
        self._batches: set[torch.Size] = set()
        self._rows: dict[torch.Size, int] = {}

    def __call__(self, images: Tensor, training: bool) -> Any:
        """Return the result for images, of a step of training or of evaluation."""
        if not (self._known_batch(images) if training else self.evaluation and self._known_size(images)):
            return self.function(images)
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        if training:
            return self.compiled(images)
        count, rows = len(images), self._rows[images.shape[1:]]
        if count < rows:
            images = torch.cat([images, images[-1:].expand(rows - count, *images.shape[1:])])
        return _first(self.compiled(images), count, copy=self.cuda_graphs)

    def _known_batch(self, images: Tensor) -> bool:
        if images.shape not in self._batches and len(self._batches) < SHAPES:
            self._batches.add(images.shape)
        return images.shape in self._batches

    def _known_size(self, images: Tensor) -> bool:
        size = images.shape[1:]
        if size in self._rows or len(self._rows) < SHAPES:
            self._rows[size] = max(len(images), self._rows.get(size, 0))
        return size in self._rows


def _first(output: Any, count: int, copy: bool) -> Any:
    """The first ``count`` rows of the tensors of an output."""
    if isinstance(output, Tensor):
        rows = output[:count]
        return rows.clone() if copy else rows
    if isinstance(output, (tuple, list)):
        return type(output)(_first(one, count, copy) for one in output)
    return output


class Compiling:
    """The compiled regions of a task; without ``task.compile`` there are none.

    Args:
        options: of the task.
        sizes_vary: whether its images have sizes of their own.
        owner: its name, for messages.

    Raises:
        ConfigError: CUDA graphs, which have fixed sizes, for images whose sizes vary.

    Attributes:
        mode: of ``torch.compile``; empty: nothing is compiled.
        regions: what is compiled, in words.
    """

    def __init__(self, options: TrainingOptions, sizes_vary: bool, owner: str) -> None:
        self.mode: str = "default" if options.compile is True else options.compile or ""
        self.regions: list[str] = []
        self._num_modules, self._checkpointing = 0, options.grad_checkpointing
        self._told = self._start = Counter[str]()
        if sizes_vary and self.cuda_graphs:
            raise ConfigError(
                f"task.compile={self.mode} uses CUDA graphs, which need images of one size, and {owner} takes images "
                f"of many sizes: {_INSTEAD}"
            )

    @property
    def cuda_graphs(self) -> bool:
        """Whether the mode uses CUDA graphs."""
        return self.mode in CUDA_GRAPHS

    def check(self, trainer: Any) -> None:
        """Refuse what cannot work on the device and with the strategy of a trainer.

        Raises:
            ConfigError: CUDA graphs without CUDA, with accumulated steps or with divided weights; no compiler.
        """
        if not self.mode:
            return
        device = trainer.strategy.root_device.type
        if self.cuda_graphs:
            problems = {
                f"this run is on the device {device}": device != "cuda",
                f"the gradients of trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} steps outlive "
                "their memory": trainer.accumulate_grad_batches != 1,
                "trainer=fsdp moves the weights": isinstance(trainer.strategy, FullySharded),
            }
            for problem, holds in problems.items():
                if holds:
                    raise ConfigError(f"task.compile={self.mode} uses CUDA graphs, but {problem}: {_INSTEAD}")
        if fault := _missing(device):
            raise ConfigError(f"task.compile={self.mode} needs a compiler: {fault}; task.compile=false trains without")

    def whole(self, name: str, function: Callable[[Tensor], Any], evaluation: bool) -> FixedRegion:
        """Compile a function of images for fixed sizes."""
        self._told = self._start = _graphs_and_breaks()
        self.regions.append(f"{name} as one graph" + ("" if evaluation else ", evaluation uncompiled"))
        return FixedRegion(function, self._compiled(function, dynamic=False), self.cuda_graphs, evaluation)

    def parts(self, name: str, modules: Sequence[nn.Module], dynamic: bool, method: str = "forward") -> None:
        """Compile modules one by one, in place; the names of their parameters stay.

        Args:
            name: what they are called in words.
            modules: any number.
            dynamic: whether for any size, or for each size anew.
            method: which of their methods.
        """
        self._told = self._start = _graphs_and_breaks()
        for module in modules:
            setattr(module, method, self._compiled(getattr(module, method), dynamic))
        self._num_modules += len(modules)
        if modules:
            self.regions.append(name if len(modules) == 1 else f"{len(modules)} {name}")

    def _compiled(self, function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
        how: dict[str, Any] = {"backend": BACKEND}
        if BACKEND == "inductor":
            from torch._inductor import list_mode_options

            how["options"] = list_mode_options(self.mode) | {"fallback_random": True}
        compiled: Callable[..., Any] = torch.compile(function, dynamic=dynamic, **how)
        return compiled

    @contextmanager
    def active(self) -> Iterator[None]:
        """Where compiled code runs: as many graphs as there are modules, and the compiler's errors in a sentence.

        Raises:
            ConfigError: instead of the compiler's error, whose first line it quotes.
        """
        if not self.regions:
            yield
            return
        from torch._dynamo import config
        from torch._dynamo.exc import TorchDynamoException

        limit = _VARIANTS * max(self._num_modules, 1)
        settings: dict[str, Any] = {"recompile_limit": limit, "accumulated_recompile_limit": max(limit, 256)}
        if self._checkpointing:  # torch cannot divide a graph with checkpoints among DDP's buckets
            settings["optimize_ddp"] = False
        try:
            with config.patch(settings):
                yield
        except TorchDynamoException as error:
            raise ConfigError(f"torch.compile failed: {_line(error)}. task.compile=false trains without it") from error

    def describe(self) -> str:
        """What is compiled, and how; empty: nothing."""
        return f"{', '.join(self.regions)} (mode {self.mode})" if self.regions else ""

    def facts(self) -> dict[str, Any]:
        """What was compiled, for a file: mode, regions, the number of graphs, and reasons of graph breaks."""
        counts = _graphs_and_breaks() - self._start
        return {"mode": self.mode, "regions": self.regions, "graphs": counts[""], "graph_breaks": _reasons(counts)}

    def outcome(self) -> str:
        """The graphs that were compiled so far, and where they break."""
        return _in_words(_graphs_and_breaks() - self._start)

    def news(self) -> str:
        """The graphs that were compiled since it was last asked; empty if there are none."""
        if not self.regions:
            return ""
        now = _graphs_and_breaks()
        new, self._told = now - self._told, now
        return _in_words(new) if new else ""


def _graphs_and_breaks() -> Counter[str]:
    """Graphs of this process under the empty name; every other name is the reason of a break."""
    from torch._dynamo.utils import counters

    return Counter({"": counters["stats"]["unique_graphs"]}) + Counter(counters["graph_break"])


def _reasons(counts: Counter[str]) -> list[str]:
    """Why graphs break; how often is not known, since torch looks at a piece of code several times."""
    return [reason.strip().splitlines()[0] for reason in counts if reason]


def _in_words(counts: Counter[str]) -> str:
    reasons = _reasons(counts)
    told = "; ".join(reasons[:_SHOWN] + ["..."] * (len(reasons) > _SHOWN))
    return f"{counted(counts[''], 'graph')}, " + (f"which break: {told}" if reasons else "no graph break")


def _missing(device: str) -> str:
    """What the compiler lacks on this machine, in words; empty if nothing."""
    from torch._dynamo.eval_frame import check_if_dynamo_supported

    try:
        check_if_dynamo_supported()
        if device == "cpu":
            from torch._inductor.cpp_builder import get_cpp_compiler

            get_cpp_compiler()
        elif device == "cuda":
            from torch.utils._triton import has_triton

            return "" if has_triton() else "Triton is not installed, or does not work with this GPU"
    except RuntimeError as error:
        return _line(error)
    return ""


def _line(error: BaseException) -> str:
    """What went wrong, in one line; the compiler wraps its errors."""
    error = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.:')}" if lines else type(error).__name__
