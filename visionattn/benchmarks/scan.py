"""The selective scan beside the chunked form in torch and a loop over the tokens.

Keys of a row: ``side``, ``method``, ``pass``, ``milliseconds`` (median over rounds, in which the methods alternate),
``times_auto`` (these divided by those of ``auto``), ``peak_bytes`` that torch's allocator holds beyond the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import interleaved, medians, peak_bytes
from visionattn.errors import ConfigError
from visionattn.kernels import selective_scan
from visionattn.kernels.backends.torch_scan import lay_out, line_up

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
PASSES = ("inference", "train")
WAYS = 4


def run_scan(
    sides: Sequence[int] = (56,),
    dim: int = 96,
    state: int = 1,
    batch: int = 4,
    passes: Sequence[str] = PASSES,
    dtype: str = "float32",
    loop: bool = True,
    repeats: int = 5,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure four directions over square maps of drawn numbers.

    Args:
        sides: of the map, in tokens.
        dim: channels.
        state: states of a channel and direction.
        batch: maps at a time.
        passes: ``inference``; ``train`` is forward and backward.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        loop: also the loop, which takes seconds.
        repeats: rounds; every method runs once in a round.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the rows; None writes none.

    Returns:
        One row per side, method and pass; the module's docstring names its keys.

    Raises:
        ConfigError: an unknown pass or type, or sizes below 1.
    """
    _check(sides, passes, dtype, [dim, state, batch, repeats])
    torch_device, rows = choose_device(device), []
    for side, kind in product(sides, passes):
        given = [t.to(torch_device, getattr(torch, dtype)) for t in _drawn(batch, side, dim, state)]
        rows += [{"side": side, "pass": kind, **row} for row in _measured(given, kind == "train", loop, repeats)]
    settings = {"dim": dim, "state": state, "batch": batch, "dtype": dtype, "threads": torch.get_num_threads()}
    _tell(rows, output_dir, torch_device, settings | {"repeats": repeats})
    return rows


def _tell(rows: list[Row], output_dir: str | Path | None, device: torch.device, settings: Row) -> None:
    columns = ("side", "pass", "method", "milliseconds", "times_auto", "peak_bytes")
    cells = [[f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in columns] for row in rows]
    show(columns, cells)
    save(rows, output_dir, "scan", device, settings)


def _check(sides: Sequence[int], passes: Sequence[str], dtype: str, sizes: list[int]) -> None:
    if set(passes) - set(PASSES) or not passes:
        raise ConfigError(f"passes are {' and '.join(PASSES)}, got {list(passes)}")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype is float32, bfloat16 or float16, got {dtype}")
    if min([*sizes, *sides]) < 1 or not sides:
        raise ConfigError(f"sizes are at least 1, got sides {list(sides)} and dim, state, batch, repeats {sizes}")


def _drawn(batch: int, side: int, dim: int, state: int) -> list[Tensor]:
    size, generator = (batch, side, side), torch.Generator().manual_seed(0)
    shapes = [(*size, dim), (*size, WAYS, dim), (WAYS, dim, state), *[(*size, WAYS, state)] * 2]
    x, delta, a, b, c = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x, delta, -a.exp(), b, c]


def _measured(given: list[Tensor], train: bool, loop: bool, repeats: int) -> list[Row]:
    scans: dict[str, Scan] = {name: partial(selective_scan, backend=name) for name in ("auto", "reference")}
    if loop:
        scans["loop"] = token_by_token
    runners = {name: partial(_run, scan, given, train) for name, scan in scans.items()}
    for run in runners.values():
        run()
    times, device = medians(interleaved(runners, repeats, given[0].device)), given[0].device
    return [
        {
            "method": name,
            "milliseconds": 1000 * times[name],
            "times_auto": times[name] / times["auto"],
            "peak_bytes": peak_bytes(run, device),
        }
        for name, run in runners.items()
    ]


def _run(scan: Scan, given: list[Tensor], train: bool) -> None:
    with torch.set_grad_enabled(train):
        inputs = [t.detach().requires_grad_(train) for t in given]
        out = scan(*inputs)
        if train:
            torch.autograd.grad(out, inputs, out.detach())


def token_by_token(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan as Mamba's reference code does it: decays of all tokens at once, then one token after another.

    Shape:
        as :func:`visionattn.kernels.selective_scan`; the directions go side by side.
    """
    ways, size = range(a.shape[0]), (x.shape[1], x.shape[2])
    xs = torch.stack([line_up(x, way) for way in ways], dim=1)
    steps, bs, cs = (torch.stack([line_up(t[:, :, :, way], way) for way in ways], dim=1) for t in (delta, b, c))
    steps = F.softplus(steps)
    decays = (steps[..., None] * a[:, None]).exp()
    inputs = (steps * xs)[..., None] * bs[..., None, :]
    h, ys = torch.zeros_like(inputs[:, :, 0]), []
    for decay, new, reading in zip(decays.unbind(2), inputs.unbind(2), cs.unbind(2), strict=True):
        h = decay * h + new
        ys.append(torch.einsum("bkcs,bks->bkc", h, reading))
    lines = torch.stack(ys, dim=2)
    return sum((lay_out(lines[:, way], way, size) for way in ways[1:]), lay_out(lines[:, 0], 0, size))
