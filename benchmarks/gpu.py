"""Tests and measurements that need a GPU, in under eight minutes on one card: `make gpu`.

Each stage is a process of its own with a limit: one that fails or hangs takes nothing from the others. `--plan` lists
the stages in their order of importance. While the tests run, models are compiled beside them for the stage that
measures them. What the limit leaves out is named at the end, with the command of a second run:
`python benchmarks/gpu.py --only "plans,other models" --seconds 330`.

Rows go to benchmarks/results/ (or --results), as soon as each is measured, with hardware, versions and configuration;
each stage's output goes to its folder logs/. The end tells the first errors of what failed and the figures of all
models. No process outlives the run, however it ends. The exit status is 0 if no stage failed.

`python benchmarks/gpu.py --rehearse` runs every stage on the CPU with the smallest models, and keeps no rows.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_processes import Child, Guard, first_errors  # noqa: E402
from gpu_stages import Stage, chosen, rehearsal, stages  # noqa: E402

LIMIT = 465.0
ENDING = 20.0
"""Seconds that a stage gets to end after it may begin nothing more."""
LATE, NO_TIME = 124, 125
"""Exit status of a stage that did not end in time, and of one that did not begin."""


class Run:
    """The stages of a run.

    Attributes:
        found: exit status of each stage.
    """

    def __init__(self, results: Path, limit: float, rehearse: bool) -> None:
        self.results, self.limit, self.rehearse = results, limit, rehearse
        self.begin, self.guard, self.found = time.monotonic(), Guard(), dict[str, int]()
        (results / "logs").mkdir(parents=True, exist_ok=True)

    def all(self, every: list[Stage]) -> None:
        """Run the stages in turn; a stage that compiles runs beside the tests that stand before it."""
        for index, stage in enumerate(every):
            if stage.name in self.found:
                continue
            if stage.name != "tests" or self.rehearse or not is_beside(every, index + 1):
                self.found[stage.name] = self.one(stage)
                continue
            beside, begin = every[index + 1], time.monotonic()
            child = self.start(beside, min(beside.seconds, self.left()), quiet=True)
            self.found[stage.name] = self.one(stage)
            self.found[beside.name] = child.wait(max(begin + beside.seconds - time.monotonic(), 0.0))

    def one(self, stage: Stage) -> int:
        """Run a stage; its exit status."""
        left = min(stage.seconds, self.left())
        if left < ENDING + 5:
            print(f"== {stage.name}: no time left", flush=True)
            return NO_TIME
        print(f"== {time.monotonic() - self.begin:.0f} s: {stage.name}, at most {left:.0f} s", flush=True)
        status = self.start(stage, left).wait(left)
        if status == LATE:
            print(f"== {stage.name}: did not end within {left:.0f} s", flush=True)
        return status

    def start(self, stage: Stage, left: float, quiet: bool = False) -> Child:
        """The stage's process."""
        may_begin = str(int(left - ENDING))
        command = [sys.executable, *(word.replace("{left}", may_begin) for word in stage.command)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "160",
            "VISIONATTN_GPU_SECONDS": may_begin,
            "TORCHINDUCTOR_COMPILE_THREADS": str(stage.compile_threads),
        }
        if self.rehearse:
            environment["VISIONATTN_GPU_TESTS"] = "cpu"
        if stage.interpreted:
            environment["TRITON_INTERPRET"] = "1"
        return Child(command, ROOT, environment, self.log(stage.name), self.guard, quiet)

    def log(self, name: str) -> Path:
        """Where a stage's output goes."""
        return self.results / "logs" / f"{name.replace(' ', '_')}.txt"

    def left(self) -> float:
        """Seconds."""
        return self.begin + self.limit - time.monotonic()

    def tell(self, every: list[Stage], before: set[Path]) -> int:
        """Print the figures of models, what failed and what was not reached; the exit status of the run."""
        files = sorted(set(self.results.glob("backbones_*.json")) - before)
        for line in [line for path in files for line in figures(json.loads(path.read_text()))]:
            print(line)
        log = self.log("tests")
        for line in log.read_text(errors="replace").splitlines() if "tests" in self.found and log.is_file() else []:
            if line.startswith("MEASURED"):
                print(line)
        statuses = {stage.name: self.found.get(stage.name, NO_TIME) for stage in every}
        for name, status in statuses.items():
            for line in first_errors(self.log(name), status) if status != NO_TIME else []:
                print(f"!! {name}: {line}")
        late = [name for name, status in statuses.items() if status in (LATE, NO_TIME)]
        if late:
            again = f'python benchmarks/gpu.py --only "{",".join(late)}"'
            print(f"not ended or not reached: {', '.join(late)}; {again}")
        print(f"took {time.monotonic() - self.begin:.0f} s; exit status of each stage: {statuses}", flush=True)
        return next((status for status in statuses.values() if status not in (0, NO_TIME)), 0)


def is_beside(every: list[Stage], index: int) -> bool:
    """Whether the stage of this index compiles beside the tests, which stand before it."""
    return 0 < index < len(every) and every[index].name.startswith("compiling") and every[index - 1].name == "tests"


def figures(document: dict[str, Any]) -> Iterator[str]:
    """A line for each row of models, and for each that failed."""
    for row in document["rows"]:
        form = " ".join(word for word in (row["model"], row["compile"], "nhwc" if row["channels_last"] else "") if word)
        name = f"{row['backbone']} {row['pass']} {form}"
        if row["reason"]:
            yield f"!! {name}: {row['reason']}"
            continue
        ratio = f", {row['times_timm']:.2f} x timm" if row["times_timm"] else ""
        first = f", first call {row['first_seconds']:.0f} s" if row["first_seconds"] else ""
        rates = f"{row['device_images_per_second']:.0f} img/s on the device, {row['images_per_second']:.0f} on the wall"
        yield f"{name}: {rates}{ratio}{first}"


def plan(every: list[Stage], limit: float, rehearse: bool) -> None:
    """Print the stages with the seconds that each gets, and when it begins if those before it take all of theirs."""
    begin = 0.0
    print(f"within {limit:.0f} s:")
    for index, stage in enumerate(every):
        beside = not rehearse and is_beside(every, index)
        when = "beside the tests" if beside else f"from {begin:.0f} s"
        late = "" if begin < limit else ", only if others end sooner"
        print(f"  {stage.name:<17} at most {stage.seconds:>4.0f} s, {when}{late}: {stage.what}")
        begin += 0.0 if beside else stage.seconds
    sys.stdout.flush()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the run as Ctrl-C does: its processes first, then what was found is told."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        print(f"== ended by {interrupt.args[0] if interrupt.args else 'SIGINT'}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="list the stages and end")
    parser.add_argument("--only", help="names of stages, separated by commas")
    parser.add_argument("--seconds", type=float, help=f"limit of the run ({LIMIT:.0f})")
    parser.add_argument("--rehearse", action="store_true", help="every stage on the CPU, small")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the rows")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) if options.rehearse else options.results.resolve()
        every = chosen(rehearsal(results) if options.rehearse else stages(results), options.only)
        limit = options.seconds or (sum(stage.seconds for stage in every) if options.rehearse else LIMIT)
        plan(every, limit, options.rehearse)
        if options.plan:
            return 0
        if not options.rehearse:
            import torch

            if not torch.cuda.is_available():
                print("make gpu needs a CUDA device, and torch finds none", file=sys.stderr)
                return 2
        before = set(results.glob("backbones_*.json"))
        run = Run(results, limit, options.rehearse)
        with ended_by_signals():
            run.all(every)
        return run.tell(every, before)


if __name__ == "__main__":
    sys.exit(main())
