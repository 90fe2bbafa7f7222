"""``visionattn data doctor``: what is wrong with a data set, before hours are spent on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.checks import ERROR, Checked, Report
from visionattn.errors import ConfigError, DataError, counted
from visionattn.runs.infer import infer
from visionattn.runs.table import print_results


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Check the splits of a data set; print the findings, write ``doctor.json`` and images.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``errors`` and ``warnings``, counted; empty for a dry run.

    Raises:
        ConfigError: this kind of data has no checks.
        DataError: something is wrong; raised at the end, when everything has been looked at and reported.
    """
    infer(cfg, policy)
    data = policy.instantiate(cfg.data)
    if not isinstance(data, Checked):
        raise ConfigError(
            f"data doctor cannot check a {type(data).__name__} yet (checks exist for detection, segmentation and "
            "panoptic data)"
        )
    if dry_run:
        print_results("dry run: the data module can be built; nothing was read", {"data": type(data).__name__})
        return {}
    run_dir.mkdir(parents=True, exist_ok=True)
    report = Report(run_dir, cfg.limit)
    for split in cfg.splits:
        data.validate(split, report)
    (run_dir / "doctor.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
    _print(report, run_dir)
    if report.errors:
        raise DataError(f"data doctor found {counted(report.errors, 'error')}; see {run_dir}/doctor.json")
    return {"errors": 0, "warnings": sum(finding.count for finding in report.findings.values())}


def _print(report: Report, run_dir: Path) -> None:
    console = Console()
    for (split, _), finding in report.findings.items():
        color = "red" if finding.severity == ERROR else "yellow"
        head = f"[{color}]{finding.severity}[/{color}]"
        console.print(f"{head} {escape(f'{split}: {finding.kind} ({finding.count})')}", highlight=False, soft_wrap=True)
        for example in finding.examples:
            console.print(f"    {escape(example)}", highlight=False, soft_wrap=True)
        if finding.count > len(finding.examples):
            console.print(f"    ... and {finding.count - len(finding.examples)} more", highlight=False, soft_wrap=True)
    if not report.findings:
        console.print("no problems found")
    print_results("data doctor", report.facts, {**report.figures, "findings": run_dir / "doctor.json"})
