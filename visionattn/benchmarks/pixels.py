"""What an image costs a backbone as it grows: time and memory of inference, per pixel.

Where the cost is linear in the number of pixels, both curves are flat. Models of timm stand beside ours as
``timm:<name>``, with their branches merged where timm can merge them.

Keys of a row: ``model``, ``size`` (side of the square image), ``milliseconds`` of a batch (median over rounds),
``peak_bytes``, ``milliseconds_per_megapixel``, ``bytes_per_pixel``, ``times_first`` (the first model's milliseconds at
this size divided by these), ``reason``: empty, or why there are no figures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import timm
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn

from visionattn.backbones.zoo import create_backbone, list_backbones
from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import interleaved, peak_bytes
from visionattn.drawing.lengths import plot_lengths
from visionattn.errors import ConfigError

TIMM = "timm:"
_FIGURES = ("milliseconds", "peak_bytes", "milliseconds_per_megapixel", "bytes_per_pixel", "times_first")


def run_pixels(
    names: str | Sequence[str] = "shvit_s1",
    sizes: Sequence[int] = (256, 512, 1024, 2048),
    batch: int = 1,
    repeats: int = 3,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure time and memory of inference at growing image sizes, in turn.

    Args:
        names: patterns of backbone names, and ``timm:<name>`` for models of timm.
        sizes: sides of the square image, growing.
        batch: images at a time.
        repeats: rounds; every model runs once in a round.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the rows and of the plot; None writes none.

    Returns:
        One row per model and size; the module's docstring names its keys.

    Raises:
        ConfigError: no model of that name, or sizes that do not grow.
    """
    if not sizes or list(sizes) != sorted(set(sizes)) or min(sizes) < 1:
        raise ConfigError(f"sizes are sides of an image that grow, such as [256,512,1024], got {list(sizes)}")
    chosen, torch_device = _chosen([names] if isinstance(names, str) else list(names)), choose_device(device)
    models = {name: _built(name).eval().to(torch_device) for name in chosen}
    rows: list[Row] = []
    for size in sizes:
        images = torch.randn(batch, 3, size, size, device=torch_device)
        rows += _measured(models, images, repeats)
    slopes = exponents(rows)
    _show(rows, slopes, list(sizes))
    settings = {"batch": batch, "repeats": repeats, "threads": torch.get_num_threads(), "exponents": slopes}
    save(rows, output_dir, "pixels", torch_device, settings)
    if output_dir is not None and len(sizes) > 1:
        _plot(rows, Path(output_dir) / "pixels.png")
    return rows


def _chosen(patterns: list[str]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        name = pattern.removeprefix(TIMM)
        matching = list_backbones(pattern) if name == pattern else [pattern] if timm.is_model(name) else []
        if not matching:
            raise ConfigError(f"names={pattern}: there is no such model{' in timm' if name != pattern else ''}")
        found += matching
    return list(dict.fromkeys(found))


def _built(name: str) -> nn.Module:
    if not name.startswith(TIMM):
        return create_backbone(name)
    model: nn.Module = reparameterize_model(timm.create_model(name.removeprefix(TIMM), pretrained=False).eval())
    return model


def _measured(models: Mapping[str, nn.Module], images: Tensor, repeats: int) -> list[Row]:
    runners: dict[str, Callable[[], object]] = {}
    found: dict[str, Row] = {}
    for name, model in models.items():
        run = partial(_infer, model, images)
        try:
            found[name] = {"peak_bytes": peak_bytes(run, images.device), "reason": ""}
        except (RuntimeError, ValueError, AssertionError) as error:
            found[name] = dict.fromkeys(_FIGURES) | {"reason": str(error).splitlines()[0]}
        else:
            runners[name] = run
    times = {name: statistics.median(one) for name, one in interleaved(runners, repeats, images.device).items()}
    pixels, first = images[:, 0].numel(), next(iter(models))
    for name, seconds in times.items():
        found[name] |= {
            "milliseconds": 1e3 * seconds,
            "milliseconds_per_megapixel": 1e9 * seconds / pixels,
            "bytes_per_pixel": found[name]["peak_bytes"] / pixels,
            "times_first": times[first] / seconds if first in times else None,
        }
    return [{"model": name, "size": images.shape[-1], **found[name]} for name in models]


def _infer(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def exponents(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Between the two largest sizes, the power of the number of pixels with which a model's cost grows.

    Args:
        rows: of :func:`run_pixels`.

    Returns:
        Model to ``time`` and ``memory``; 1 is linear. Models with figures of one size are left out.
    """
    found = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name and not row["reason"]][-2:]
        if len(own) == 2:
            grown = 2 * math.log(own[1]["size"] / own[0]["size"])
            costs = {"time": "milliseconds", "memory": "peak_bytes"}
            found[name] = {key: math.log(own[1][cost] / own[0][cost]) / grown for key, cost in costs.items()}
    return found


def _plot(rows: Sequence[Row], file: Path) -> None:
    series: dict[str, dict[int, tuple[float, float]]] = {}
    for row in rows:
        if not row["reason"]:
            figures = row["milliseconds_per_megapixel"], 1e6 * row["bytes_per_pixel"]
            series.setdefault(row["model"], {})[row["size"]] = figures
    labels = ("milliseconds per megapixel", "MB at the peak per megapixel")
    plot_lengths({"inference": series}, file, side="side of the image (pixels)", labels=labels)
    print(f"  plot: {file}")


def _show(rows: Sequence[Row], slopes: Mapping[str, Mapping[str, float]], sizes: list[int]) -> None:
    headings = ("model", *map(str, sizes), "times first", "power", "MB", "power")
    cells = []
    for name in dict.fromkeys(row["model"] for row in rows):
        own = {row["size"]: row for row in rows if row["model"] == name and not row["reason"]}
        last = own[max(own)] if own else {}
        powers = [f"{slopes[name][key]:.2f}" if name in slopes else "" for key in ("time", "memory")]
        times = [f"{own[size]['milliseconds']:.1f}" if size in own else "-" for size in sizes]
        ratio = f"{last['times_first']:.2f}" if last.get("times_first") else ""
        memory = f"{last['peak_bytes'] / 1e6:.0f}" if last else "-"
        cells.append([name, *times, ratio, powers[0], memory, powers[1]])
    show(headings, cells, "milliseconds by side of the image; powers of the pixels between the two largest sizes")
    for name, size, reason in ((row["model"], row["size"], row["reason"]) for row in rows if row["reason"]):
        print(f"  {name} at {size}: {reason}")
