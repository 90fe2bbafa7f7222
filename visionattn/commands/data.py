"""``visionattn data``: writes a small data set as real files in a real layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.shapes import make_shapes
from visionattn.errors import ConfigError
from visionattn.runs.table import print_results


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Draw and write; see :func:`visionattn.data.shapes.make_shapes`.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        The summary of what was written; empty for a dry run.

    Raises:
        ConfigError: nothing of that name can be made, or in that layout.
        DataError: the folder holds something else.
    """
    if cfg.make != "shapes":
        raise ConfigError(f"make={cfg.make} is unknown; use make=shapes")
    if dry_run:
        return {}
    summary = make_shapes(
        cfg.layout,
        cfg.dir,
        num_train=cfg.num_train,
        num_val=cfg.num_val,
        image_size=cfg.image_size,
        seed=cfg.seed,
    )
    print_results("shapes", {name: str(value) for name, value in summary.items()}, {"folder": Path(cfg.dir)})
    return summary
