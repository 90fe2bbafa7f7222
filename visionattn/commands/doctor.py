"""``visionattn data doctor``: what is wrong with a data set, before hours are spent on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.data.checks import ERROR, Checked, Report
from visionattn.errors import ConfigError, DataError, counted
from visionattn.files import write_whole
from visionattn.runs.infer import infer
from visionattn.runs.table import print_results


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Check the splits of a data set; print the findings, write ``doctor.json`` and images.

    Keys of the data that are ``auto`` are filled in as for a training. With ``json=true`` (``--json``) one JSON
    document is printed and nothing else.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``errors`` and ``warnings``, counted; empty for a dry run.

    Raises:
        ConfigError: this kind of data has no checks.
        DataError: something is wrong; raised at the end, when everything has been looked at and reported.
    """
    report, inferred = Report(run_dir, cfg.limit), dict[str, Any]()
    data: Any = None
    try:
        found = infer(cfg, policy)
        inferred = {one.key: one.value for one in found.values if one.key.startswith("data.")}
    except DataError as error:
        report.error("data", "what the data tell cannot be read", str(error))
    else:
        data = policy.instantiate(cfg.data)
        if not isinstance(data, Checked):
            name = type(data).__name__
            raise ConfigError(f"data doctor cannot check a {name}: it has no method validate(split, report)")
    if dry_run:
        print_results("dry run: the data module can be built; nothing was read", {"data": type(data).__name__})
        return {}
    run_dir.mkdir(parents=True, exist_ok=True)
    for split in cfg.splits if data is not None else ():
        data.validate(split, report)
    _write(report, run_dir, inferred, cfg.json)
    if report.errors:
        raise DataError(f"data doctor found {counted(report.errors, 'error')}; see {run_dir}/doctor.json")
    return {"errors": 0, "warnings": report.warnings}


def _write(report: Report, run_dir: Path, inferred: dict[str, Any], as_json: bool) -> None:
    facts = {"inferred": plain(inferred), "folder": str(run_dir)}
    text = json.dumps({**report.as_dict(), **facts}, indent=2, default=str)
    write_whole(run_dir / "doctor.json", text + "\n")
    if as_json:
        print(text)
    else:
        _print(report, run_dir, inferred)


def _print(report: Report, run_dir: Path, inferred: dict[str, Any]) -> None:
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
    found = {f"{key} (inferred)": value for key, value in inferred.items()}
    print_results("data doctor", {**found, **report.facts}, {**report.figures, "findings": run_dir / "doctor.json"})
