"""What `make gpu` runs: the stages in their order, each one process with the most seconds that it gets."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

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
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 4
WORKERS = max(2, min(8, CORES // 2))
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
MODELS = ["swin_tiny", "maxvit_tiny", "gcvit_tiny", "davit_tiny"]
"""Those that have a goal beside timm's."""
OTHER_MODELS = ["dinat_tiny", "nat_tiny", "cswin_tiny", "fastervit_0"]
COMPILERS = ["reduce-overhead", "combo_kernels=true"]
"""Other forms of compilation that the first model is measured in."""
TUNED = ["dinat_tiny.s1", "dinat_tiny.s3", "swin_tiny.s1.shifted"]
PLANS = """
from visionattn.benchmarks.kernels.tune import run_tune
run_tune({cases}, repeats=5, most=14, output_dir={results}, seconds={{left}})
"""
INTERPRETED_PLANS = """
from visionattn.benchmarks.kernels.tune import run_tune
small = dict(repeats=1, output_dir={results}, device="cpu", dtype="float16", batch=1)
run_tune("dinat_tiny.s4", most=1, **small)
run_tune("dinat_tiny.s3", most=3, **small)
"""


@dataclass(frozen=True)
class Stage:
    """A process of the run.

    Attributes:
        name: as it is printed and chosen.
        command: what follows `python`; `{left}` stands for the seconds in which it may begin something.
        seconds: the most that it gets.
        what: it does, in a few words.
        compile_threads: threads in which each process of it compiles.
        interpreted: whether Triton's kernels run in its interpreter.
    """

    name: str
    command: list[str]
    seconds: float
    what: str
    compile_threads: int = 4
    interpreted: bool = False


def listed(words: list[str]) -> str:
    """A list as Hydra reads it."""
    return "[" + ",".join(f"'{word}'" for word in words) + "]"


def tests(seconds: float) -> Stage:
    command = [
        "-m",
        "pytest",
        "-m",
        "gpu",
        "tests/gpu",
        "-vv",
        "-rfEs",
        "--tb=short",
        "--durations=10",
        "-W",
        "default",
    ]
    command += [word for plugin in FOREIGN for word in ("-p", f"no:{plugin}")]
    if find_spec("xdist") is not None:
        command += ["-n", str(WORKERS)]
        if tuple(map(int, version("pytest-xdist").split(".")[:2])) >= (3, 2):
            command += ["--maxschedchunk=1"]  # the tests' order is kept
    return Stage("tests", command, seconds, "pytest -m gpu, what has never run on a card first", compile_threads=1)


def benchmark(name: str, seconds: float, what: str, kind: str, *options: str) -> Stage:
    return Stage(name, ["-m", "visionattn", "benchmark", kind, "seconds={left}", *options], seconds, what)


def scan(seconds: float, *options: str) -> Stage:
    return Stage("scan", ["-m", "visionattn", "benchmark", "scan", *options], seconds, "the selective scan")


def compiling(name: str, jobs: list[tuple[str, str]], seconds: float, *options: str) -> Stage:
    """Compiles models into Inductor's cache, several at a time; ``jobs``: names and modes."""
    script = str(Path(__file__).with_name("gpu_compile.py"))
    words = [f"{model}:{mode}" for model, mode in jobs]
    what = f"{len(jobs)} models into Inductor's cache"
    return Stage(name, [script, "--seconds", "{left}", *options, *words], seconds, what, compile_threads=2)


def stages(results: Path) -> list[Stage]:
    """What runs on a card, in the order of importance."""
    rows = f"output_dir={results}"
    both = ["directions=[forward,backward,forward+backward]", f"backends={listed(QUICK)}", rows]
    forms = ["dtypes=[bfloat16]", "batches=[64]", "passes=[train,inference]", "compile=[false,true]", rows]
    others = ["dtypes=[bfloat16]", "batches=[64]", "passes=[train,inference]", f"compile={listed(COMPILERS)}", rows]
    natten = ["cases=natten.256", "backends=[auto,dense]", "directions=[forward,backward]", "repeats=3", rows]
    plans = ["-c", PLANS.format(cases=TUNED, results=repr(str(results)))]
    ahead = [*((name, "default") for name in MODELS), *((MODELS[0], form) for form in COMPILERS)]
    return [
        tests(175.0),
        compiling("compiling", ahead, 175.0),
        benchmark("kernels", 60.0, "attention beside other methods", "kernels", f"cases={listed(KERNELS)}", *both),
        benchmark("models", 260.0, "models with a goal, eager and compiled", "backbones", _names(MODELS), *forms),
        Stage("plans", plans, 90.0, "plans of the Triton kernels, neighborhoods first"),
        benchmark("natten", 30.0, "NATTEN's case, a window of 80 in 256 x 256", "kernels", *natten),
        benchmark("compilers", 60.0, "CUDA graphs, combined kernels", "backbones", _names(MODELS[:1]), *others),
        compiling("compiling others", [(name, "default") for name in OTHER_MODELS], 120.0),
        benchmark("other models", 170.0, "eager and compiled", "backbones", _names(OTHER_MODELS), *forms),
        scan(25.0, "loop=false", rows),
        benchmark("other kernels", 60.0, "the other stages", "kernels", f"cases={listed(OTHERS)}", *both),
    ]


def rehearsal(results: Path) -> list[Stage]:
    """The same on the CPU, small."""
    small = ["device=cpu", "repeats=2", f"output_dir={results}"]
    kernels = ["batch=1", f"backends={listed(QUICK)}", "directions=[forward,backward]", *small]
    models = ["batches=[2]", "dtypes=[bfloat16]", "compile=[false,true]", "size=64", "channels_last=[false,true]"]
    plans = ["-c", INTERPRETED_PLANS.format(results=repr(str(results)))]
    cases = ["biformer_tiny.s3", "maxvit_tiny.s4.block", "dinat_tiny.s4"]
    return [
        tests(2400.0),
        compiling("compiling", [("swin_pico", "default")], 900.0, "--device", "cpu", "--batch", "2", "--size", "64"),
        benchmark("kernels", 300.0, "one case", "kernels", "cases=swin_tiny.s4", *kernels),
        benchmark("models", 900.0, "one model", "backbones", "names=swin_pico", *models, *small),
        Stage("plans", plans, 1200.0, "plans in Triton's interpreter", interpreted=True),
        scan(120.0, "sides=[14]", "batch=1", "loop=false", *small),
        benchmark("other kernels", 300.0, "three cases", "kernels", f"cases={listed(cases)}", *kernels),
        Stage("interpreter", [str(_CASES)], 1200.0, "all attention kernels in Triton's interpreter", interpreted=True),
    ]


_CASES = Path(__file__).resolve().parent.parent / "tests" / "kernels" / "triton_cases.py"


def _names(models: list[str]) -> str:
    return f"names={listed(models)}"


def chosen(every: list[Stage], only: str | None) -> list[Stage]:
    """The stages of these names, separated by commas, in their order; None: all.

    Raises:
        SystemExit: a name is unknown.
    """
    if only is None:
        return every
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in {stage.name for stage in every}]
    if unknown or not names:
        known = ", ".join(stage.name for stage in every)
        sys.exit(f"--only: there is no stage {unknown[0] if unknown else only!r}; choose from {known}")
    return [stage for stage in every if stage.name in names]
