"""The scores of a model on larger and on smaller images than those of its evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from visionattn.config import BuildPolicy
from visionattn.config.messages import plain
from visionattn.errors import ConfigError
from visionattn.runs.build import Run, build_evaluation
from visionattn.runs.result import finite

FACTORS = (0.75, 1.0, 1.25, 1.5, 2.0)
_EDGES = ("short_edge", "long_edge")


class Sizes:
    """The task's figures at 0.75 to 2 times the size of the evaluation.

    What is enlarged is what decides the size of an evaluation image: the base size of a segmentation's inference, the
    edges of ``data.eval_transform`` where it has them (detection, panoptic segmentation), else ``data.image_size``.
    Sliding windows keep their size. Scores are taken as always: boxes and masks at the size of the original image.

    Args:
        run: the evaluation.
        policy: what configurations may build.
    """

    def __init__(self, run: Run, policy: BuildPolicy) -> None:
        self.run, self.policy = run, policy
        self.inference: Any = getattr(run.task, "inference", None)
        self.transform = plain(run.data_config.get("eval_transform")) or {}

    def check(self) -> None:
        """Raises ConfigError where the evaluation takes images in their own size, which cannot be scaled."""
        base = self._base()
        if base is not None and not all(isinstance(value, int) for value in base.values()):
            where = "task.inference" if self.inference is not None else "data.eval_transform"
            raise ConfigError(
                f"measures=[sizes] scales {where}.short_edge and long_edge, which are "
                f"{' and '.join(map(str, base.values()))} here: give both a number of pixels"
            )

    def measure(self, cfg: DictConfig) -> dict[str, Any]:
        """Validate at each of :data:`FACTORS`.

        Returns:
            ``metric``, the task's own; ``sizes``: for each factor ``factor``, ``size`` and ``metrics``.
        """
        rows = []
        for factor in FACTORS:
            other = build_evaluation(cfg, self.run.task, self.run.data_config, Path(), self.policy)
            with self._scaled(factor) as size:
                other.trainer.validate(self.run.task, datamodule=self.run.data, verbose=False)
            logged = {name.removeprefix("val/"): float(value) for name, value in other.trainer.callback_metrics.items()}
            rows.append({"factor": factor, "size": size, "metrics": finite(logged)[0]})
        return {"metric": self.run.task.monitor.removeprefix("val/"), "sizes": rows}

    def _base(self) -> dict[str, Any] | None:
        """The edges that decide the size; None: ``image_size`` does."""
        if self.inference is not None:
            return {name: getattr(self.inference, name) for name in _EDGES}
        return {name: self.transform[name] for name in _EDGES} if _EDGES[0] in self.transform else None

    @contextmanager
    def _scaled(self, factor: float) -> Iterator[list[int]]:
        """The evaluation at another size, which is given."""
        base, data = self._base(), self.run.data
        if self.inference is not None and base is not None:
            edges = {name: round(value * factor) for name, value in base.items()}
            with _changed(self.inference, edges):
                yield list(edges.values())
            return
        edges = {name: round(value * factor) for name, value in (base or {}).items()}
        size = tuple(round(edge * factor) for edge in data.image_size)
        with resized(self.run, self.policy, size, edges):
            yield list(edges.values() or size)


@contextmanager
def resized(
    run: Run, policy: BuildPolicy, size: tuple[int, ...], edges: Mapping[str, int] | None = None
) -> Iterator[None]:
    """The data with another image size, and keys of their evaluation transform with other values."""
    data: Any = run.data
    node = (plain(run.data_config.get("eval_transform")) or {}) | dict(edges or {})
    factory = policy.instantiate(node) if node else type(data.eval_transform)
    transform = factory(image_size=size, mean=data.mean, std=data.std)
    with _changed(data, {"image_size": size, "eval_transform": transform}):
        yield


@contextmanager
def _changed(owner: Any, values: Mapping[str, Any]) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
