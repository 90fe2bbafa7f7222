"""Tests and measurements that need a GPU, in under eight minutes on one card: `make gpu`.

1. the tests marked gpu, those first that have never run on a card (tests/gpu/conftest.py says which); beside them a
   process compiles the models that stage 3 measures, whose graphs are kept in Inductor's cache;
2. the kernels of Swin, DiNAT, MaxViT and CSWin: forward, backward and both, wall and device time;
3. Swin-T, ours and timm's, eager and compiled, training and inference; then the other models, eager;
4. the Triton plans worth trying, the selective scan; the other models compiled, and the other kernels, routed attention
   first, if time is left.
Each stage is a process of its own with a limit: one that fails or hangs takes nothing from the others. Rows go to
benchmarks/results/ (or --results) with hardware, versions and configuration; the exit status is 0 if all stages passed.

`python benchmarks/gpu.py --rehearse` runs every stage on the CPU with the smallest models, and writes no rows.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 465.0
TESTS = 175.0
WORKERS = max(2, min(10, (os.cpu_count() or 4) - 4))
ENDING = 25.0
"""Seconds that a stage gets to end after it may begin nothing more."""
FOREIGN = (
    "benchmark",
    "cov",
    "pytest_cov",
    "timeout",
    "randomly",
    "rerunfailures",
    "sugar",
    "anyio",
    "asyncio",
    "typeguard",
)
"""pytest's plugins that this suite does not want, where they are installed."""
KERNELS = ["swin_tiny.s1.shifted", "dinat_tiny.s1", "swin_tiny.s3.shifted", "dinat_tiny.s1.dilated"]
KERNELS += ["maxvit_tiny.s1.grid", "cswin_tiny.s1.vertical", "cswin_tiny.s3.vertical", "dinat_tiny.s3"]
OTHERS = [
    "biformer_tiny.s?",
    "biformer_tiny.s3.512",
    "swin_tiny.s1",
    "swin_tiny.s2*",
    "swin_tiny.s3",
    "swin_tiny.s4",
    "dinat_tiny.s2*",
    "dinat_tiny.s3.dilated",
]
OTHERS += ["dinat_tiny.s4", "cswin_tiny.*.horizontal", "maxvit_tiny.*.block", "windows.*"]
QUICK = ["auto", "timm*", "partition sdpa", "sdpa ceiling", "gathered copies"]
MODELS = ["swin_tiny", "dinat_tiny", "davit_tiny", "maxvit_tiny", "gcvit_tiny"]
PLANS = """
import torch
from visionattn.benchmarks import record
from visionattn.benchmarks.kernels.tune import tune
cases = ["swin_tiny.s1.shifted", "dinat_tiny.s1"]
record.save(tune(cases), RESULTS, "plans", torch.device("cuda"), {"cases": cases})
"""
OTHER_MODELS = ["nat_tiny", "cswin_tiny", "fastervit_0"]


@dataclass(frozen=True)
class Stage:
    """A process of the run.

    Attributes:
        name: as it is printed.
        command: what follows `python`; `{left}` stands for the seconds in which it may begin something.
        until: second of the whole run at which it has to have ended.
        compile_threads: threads in which each process of it compiles.
    """

    name: str
    command: list[str]
    until: float
    compile_threads: int = 4


def listed(words: list[str]) -> str:
    """A list as Hydra reads it."""
    return "[" + ",".join(f"'{word}'" for word in words) + "]"


def tests(until: float) -> Stage:
    command = ["-m", "pytest", "-m", "gpu", "tests/gpu", "-vv", "-rfEs", "--tb=short", "--durations=10"]
    command += [word for plugin in FOREIGN for word in ("-p", f"no:{plugin}")]
    if find_spec("xdist") is not None:
        command += ["-n", str(WORKERS)]
    return Stage("tests", command, until, compile_threads=1)


def benchmark(name: str, until: float, kind: str, *options: str) -> Stage:
    return Stage(name, ["-m", "visionattn", "benchmark", kind, "seconds={left}", *options], until)


def stages(results: Path, rehearse: bool) -> list[Stage]:
    """What runs, in the order of importance."""
    rows = f"output_dir={results}"
    if rehearse:
        small = ["device=cpu", "repeats=2", rows]
        kernels = [
            "cases=swin_tiny.s4",
            "batch=1",
            f"backends={listed(QUICK)}",
            "directions=[forward,backward]",
            *small,
        ]
        models = ["names=swin_pico", "batches=[2]", "compile=[false,true]", "channels_last=[false,true]", *small]
        return [
            tests(1200.0),
            benchmark("kernels", 1300.0, "kernels", *kernels),
            benchmark("models", 1500.0, "backbones", *models),
        ]
    both = ["directions=[forward,backward,forward+backward]", f"backends={listed(QUICK)}", rows]
    models = ["dtypes=[bfloat16]", "batches=[64]", "passes=[train,inference]", rows]
    compiled = ["compile=[false,true]", *models]
    return [
        tests(TESTS + ENDING),
        benchmark("kernels", 250.0, "kernels", f"cases={listed(KERNELS)}", *both),
        benchmark("swin compiled", 370.0, "backbones", f"names={listed(MODELS[:1])}", *compiled),
        benchmark("models", 430.0, "backbones", f"names={listed([*MODELS[1:], *OTHER_MODELS])}", *models),
        Stage("plans", ["-c", PLANS.replace("RESULTS", repr(str(results)))], LIMIT),
        Stage("scan", ["-m", "visionattn", "benchmark", "scan", "loop=false", rows], LIMIT),
        benchmark("models compiled", LIMIT, "backbones", f"names={listed(MODELS[1:])}", *compiled),
        benchmark("other kernels", LIMIT, "kernels", f"cases={listed(OTHERS)}", *both),
    ]


def compiling(until: float) -> Stage:
    """Compiles what is measured later, while the tests run."""
    models = ["compile=[true]", "dtypes=[bfloat16]", "batches=[64]", "passes=[train,inference]", "repeats=1"]
    return benchmark("compiling", until, "backbones", f"names={listed(MODELS[:1])}", *models, "output_dir=null")


def start(stage: Stage, left: float, environment: dict[str, str], quiet: bool = False) -> subprocess.Popen[bytes]:
    """The stage's process, in a session of its own."""
    may_begin = str(int(left - ENDING))
    command = [sys.executable, *(word.replace("{left}", may_begin) for word in stage.command)]
    limits = {"VISIONATTN_GPU_SECONDS": may_begin, "TORCHINDUCTOR_COMPILE_THREADS": str(stage.compile_threads)}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(
        command, cwd=ROOT, env=environment | limits, start_new_session=True, stdout=output, stderr=output
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its workers."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(stage: Stage, begin: float, environment: dict[str, str]) -> int:
    """The exit status of a stage; 124 where it did not end in time, 125 where no time was left for it."""
    left = begin + stage.until - time.monotonic()
    if left < ENDING:
        print(f"== {stage.name}: no time left", flush=True)
        return 125
    print(f"== {stage.name}, at most {left:.0f} s", flush=True)
    process = start(stage, left, environment)
    try:
        return process.wait(left)
    except subprocess.TimeoutExpired:
        kill(process)
        print(f"== {stage.name}: did not end within {left:.0f} s", flush=True)
        return 124


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="every stage on the CPU, small")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the rows")
    options = parser.parse_args()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if options.rehearse:
        environment["VISIONATTN_GPU_TESTS"] = "cpu"
    else:
        import torch

        if not torch.cuda.is_available():
            print("make gpu needs a CUDA device, and torch finds none", file=sys.stderr)
            return 2
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) if options.rehearse else options.results
        beside = None if options.rehearse else start(compiling(TESTS + ENDING), TESTS + ENDING, environment, quiet=True)
        found = {}
        for stage in stages(results, options.rehearse):
            found[stage.name] = run(stage, begin, environment)
            if beside is not None:
                kill(beside)  # once the tests have ended, before anything is measured
    print(f"took {time.monotonic() - begin:.0f} s; exit status of each stage: {found}")
    return max(found.values(), key=lambda status: status not in (0, 125))


if __name__ == "__main__":
    sys.exit(main())
