"""Compile models for their measurement, several at a time, into Inductor's cache: a stage of `make gpu`.

Each word is NAME:MODE, or NAME:OPTION=VALUE. A process of its own compiles our model or timm's for one pass, the
longest first; whatever has not begun in time, or fails, is compiled where it is measured.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = max(1, min(7, (os.cpu_count() or 2) * 7 // 16))


def compile_one(name: str, mode: str, owner: str, kind: str, options: argparse.Namespace) -> None:
    """Compile one model for one pass, by running it once."""
    import torch

    from visionattn.backbones.zoo import backbone_files
    from visionattn.benchmarks.contenders import TIMM, Work, contenders, with_counterpart
    from visionattn.benchmarks.device_time import own_stream
    from visionattn.benchmarks.record import choose_device

    device = choose_device(options.device)
    side = options.size or backbone_files()[name]["card"]["input_size"][-1]
    models = with_counterpart(name, side, compared=owner == TIMM)
    if owner not in models:
        print(f"{name}: timm has none")
        return
    with own_stream(device):
        work = Work(kind, "bfloat16", torch.randn(options.batch, 3, side, side, device=device))
        chosen = {owner: models[owner].to(device)}
        (found,) = contenders(chosen, work, [True if mode == "default" else mode], [False])
    print(f"{name} {mode}, {owner}, {kind}: {found.reason or f'{found.first_seconds:.0f} s'}", flush=True)
    sys.exit(1 if found.reason else 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="NAME:MODE of torch.compile")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="nothing begins later")
    parser.add_argument("--device", help="cpu or cuda")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, help="side of the images")
    parser.add_argument("--one", nargs=2, metavar=("OWNER", "PASS"), help="compile this alone, in this process")
    options = parser.parse_args()
    if options.one:
        compile_one(*options.models[0].split(":"), *options.one, options)
        return 0
    begin = time.monotonic()
    settings = ["--batch", str(options.batch)]
    settings += ["--device", options.device] if options.device else []
    settings += ["--size", str(options.size)] if options.size else []

    def run(job: list[str]) -> int:
        if time.monotonic() - begin > options.seconds:
            return 0
        return subprocess.run([sys.executable, __file__, *job, *settings], check=False).returncode

    forms = [("visionattn", "train"), ("timm", "train"), ("visionattn", "inference"), ("timm", "inference")]
    jobs = [[model, "--one", *form] for model in options.models for form in forms]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return max(pool.map(run, jobs))


if __name__ == "__main__":
    sys.exit(main())
