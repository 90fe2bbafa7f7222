"""``visionattn data``: writes a small data set, drawn or scikit-learn's digits, as real files in a real layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.classification.write_digits import write_digits
from visionattn.data.probes import PROBES, make_probe
from visionattn.data.shapes import make_shapes
from visionattn.errors import ConfigError
from visionattn.runs.table import print_results
from visionattn.training.writing import writing

_SHAPES, _DIGITS = 128, 32


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Draw and write; see :func:`visionattn.data.shapes.make_shapes` and :func:`visionattn.data.probes.make_probe`.

    ``make=digits`` writes all of scikit-learn's scanned digits.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        The summary of what was written; empty for a dry run.

    Raises:
        ConfigError: nothing of that name can be made, or in that layout.
        DataError: the folder holds something else.
    """
    if cfg.make not in ("shapes", "digits", *PROBES):
        raise ConfigError(f"make={cfg.make} is unknown; make is digits, shapes, {' or '.join(PROBES)}")
    if cfg.make == "shapes" and cfg.layout is None:
        raise ConfigError("shapes need a layout: layout=imagenet, coco, coco_panoptic or ade20k")
    if cfg.make != "shapes" and cfg.layout not in (None, "imagenet"):
        raise ConfigError(f"{cfg.make} are written in ImageNet's layout alone; leave layout={cfg.layout} out")
    if dry_run:
        return {}
    numbers = {"num_train": cfg.num_train, "num_val": cfg.num_val, "seed": cfg.seed}
    with writing(Path(cfg.dir), "make room or choose another dir=; the same command begins the set anew"):
        if cfg.make == "shapes":
            summary = make_shapes(cfg.layout, cfg.dir, image_size=cfg.image_size or _SHAPES, **numbers)
        elif cfg.make == "digits":
            summary = write_digits(cfg.dir, cfg.image_size or _DIGITS)
        else:
            summary = make_probe(cfg.make, cfg.dir, image_size=cfg.image_size, **numbers)
    print_results(cfg.make, {name: str(value) for name, value in summary.items()}, {"folder": Path(cfg.dir)})
    return summary
