"""The efficiency length of the mixers: from which side of the map on each beats full attention, in time and in memory.

Zhang et al. 2022, *CAB: Comprehensive Attention Benchmarking on Long Sequence Modeling*, arXiv 2210.07661, who ask for
the length of a sequence from which an efficient attention costs less than the plain one. Here the length is the side of
a square map.

Keys of a row: ``mixer``, ``side``, ``pass``, ``milliseconds`` of one block's mixer (median over rounds of the mean of
two successive blocks, which alternate where the mixer alternates), ``times_full`` (full attention's milliseconds
divided by these), ``peak_bytes`` of both blocks, ``reason``: empty, or why there are no figures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from timm.models.convit import GPSA
from torch import Tensor, nn

from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import interleaved, peak_bytes
from visionattn.config import DEFAULT_POLICY, compose
from visionattn.config.catalog import choices
from visionattn.drawing.lengths import plot_lengths
from visionattn.errors import ConfigError

FULL = "full"
_NOTHING = "none"  # the mixer of a stage without one
PASSES = ("inference", "train")
TIMM_LAYERS: dict[str, Callable[[int, int], nn.Module]] = {"timm:gpsa": GPSA}
"""Layers of timm that our mixers can stand beside, called with channels and heads."""
_NEVER, _ALWAYS = math.inf, 0.0


def run_lengths(
    mixers: Sequence[str] | None = None,
    sides: Sequence[int] = (7, 14, 28, 56, 112),
    passes: Sequence[str] = PASSES,
    dim: int = 64,
    num_heads: int = 2,
    batch: int = 1,
    repeats: int = 5,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure time and memory of mixers on maps of growing side, in turn with full attention.

    Args:
        mixers: names of ``conf/mixer``; None: all that are no presets and mix anything. Full attention is always
            among them. ``timm:gpsa`` is timm's layer of ConViT, to stand beside ``gated_positional``.
        sides: sides of the square map, in tokens.
        passes: ``inference``; ``train`` is forward and backward.
        dim: channels.
        num_heads: heads.
        batch: maps at a time.
        repeats: rounds; every mixer runs once in a round.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the rows and of the plot; None writes none.

    Returns:
        One row per mixer, side and pass; the module's docstring names its keys.

    Raises:
        ConfigError: an unknown mixer or pass, or sides that do not grow.
    """
    names, torch_device, rows = _checked(mixers, sides, passes), choose_device(device), []
    for side in sides:
        blocks = {name: _two_blocks(name, dim, num_heads).to(torch_device) for name in names}
        x = torch.randn(batch, side, side, dim, device=torch_device)
        for kind in passes:
            rows += [{"side": side, "pass": kind, **row} for row in _measured(blocks, x, kind, repeats)]
    settings = {"dim": dim, "num_heads": num_heads, "batch": batch, "repeats": repeats}
    _tell(rows, passes, list(sides), output_dir, torch_device, settings)
    return rows


def _tell(
    rows: list[Row],
    passes: Sequence[str],
    sides: list[int],
    output_dir: str | Path | None,
    device: torch.device,
    settings: Row,
) -> None:
    """Print the tables, and write rows and plot."""
    lengths = {kind: efficiency_lengths(rows, kind) for kind in passes}
    _show(rows, lengths, sides)
    settings |= {"threads": torch.get_num_threads(), "lengths": _plain(lengths)}
    save(rows, output_dir, "lengths", device, settings)
    if output_dir is not None:
        file = Path(output_dir) / "lengths.png"
        plot_lengths({kind: _series(rows, kind) for kind in passes}, file)
        print(f"  plot: {file}")


def _checked(mixers: Sequence[str] | None, sides: Sequence[int], passes: Sequence[str]) -> list[str]:
    known = choices("mixer")
    names = list(mixers or [name for name in known if "/" not in name and name != _NOTHING])
    if unknown := sorted(set(names) - set(known) - set(TIMM_LAYERS)):
        raise ConfigError(f"mixers={unknown[0]} is not known; see `visionattn list mixers`")
    if set(passes) - set(PASSES) or not passes:
        raise ConfigError(f"passes are {' and '.join(PASSES)}, got {list(passes)}")
    if len(sides) < 2 or list(sides) != sorted(set(sides)) or min(sides) < 1:
        raise ConfigError(f"sides are two numbers of tokens or more that grow, such as [14,28,56], got {list(sides)}")
    return [FULL, *(name for name in names if name != FULL)]


def _two_blocks(name: str, dim: int, num_heads: int) -> nn.Module:
    """The mixers of two successive blocks."""
    if name in TIMM_LAYERS:
        return nn.ModuleList([_OnMaps(TIMM_LAYERS[name](dim, num_heads)) for _ in range(2)])
    factory: Callable[..., nn.Module] = DEFAULT_POLICY.instantiate(compose(f"mixer/{name}")["mixer"])
    return nn.ModuleList([factory(dim=dim, num_heads=num_heads, index=index) for index in range(2)])


class _OnMaps(nn.Module):
    """A layer for sequences of tokens, on maps."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.flatten(1, 2))
        return y.unflatten(1, x.shape[1:3])


def _measured(blocks: Mapping[str, nn.Module], x: Tensor, kind: str, repeats: int) -> list[Row]:
    runners: dict[str, Callable[[], object]] = {}
    reasons: dict[str, str] = {}
    for name, pair in blocks.items():
        run = partial(_run, pair.train(kind == "train"), x, kind == "train")
        try:
            run()
        except (RuntimeError, ValueError) as error:
            reasons[name] = str(error).splitlines()[0]
        else:
            runners[name] = run
    times = {name: statistics.median(found) for name, found in interleaved(runners, repeats, x.device).items()}
    rows = []
    for name in blocks:
        if name in times:
            figures: Row = {"milliseconds": 500 * times[name], "times_full": times[FULL] / times[name]}
            rows.append({"mixer": name, **figures, "peak_bytes": peak_bytes(runners[name], x.device), "reason": ""})
        else:
            empty = {"milliseconds": None, "times_full": None, "peak_bytes": None}
            rows.append({"mixer": name, **empty, "reason": reasons[name]})
    return rows


def _run(pair: nn.Module, x: Tensor, train: bool) -> None:
    with torch.set_grad_enabled(train):
        given = x.detach().requires_grad_(train)
        y = given
        for mixer in pair.children():
            y = mixer(y)
        if train:
            torch.autograd.grad(y.sum(), [given, *pair.parameters()])


def efficiency_lengths(rows: Sequence[Row], kind: str) -> dict[str, dict[str, float]]:
    """The side from which a mixer takes less than full attention.

    Between two measured sides it is interpolated on logarithmic axes. 0: already on the smallest one; infinity: not
    even on the largest.

    Args:
        rows: of :func:`run_lengths`.
        kind: the pass.

    Returns:
        Mixer to ``time`` and ``memory``.
    """
    found = {}
    series = _series(rows, kind)
    full = series[FULL]
    for name, points in series.items():
        if name != FULL:
            found[name] = {
                key: _crossing([(side, full[side][place] / points[side][place]) for side in points])
                for place, key in enumerate(("time", "memory"))
            }
    return found


def _series(rows: Sequence[Row], kind: str) -> dict[str, dict[int, tuple[float, float]]]:
    """Mixer to side to (milliseconds, bytes), of the rows with figures."""
    series: dict[str, dict[int, tuple[float, float]]] = {}
    for row in rows:
        if row["pass"] == kind and not row["reason"]:
            series.setdefault(row["mixer"], {})[row["side"]] = (row["milliseconds"], max(row["peak_bytes"], 1))
    return series


def _crossing(ratios: Sequence[tuple[int, float]]) -> float:
    """From which side on the ratio stays above 1, up to the largest side."""
    if ratios[-1][1] <= 1:
        return _NEVER
    below = [place for place, (_, ratio) in enumerate(ratios) if ratio <= 1]
    if not below:
        return _ALWAYS
    (side, low), (other, high) = ratios[below[-1]], ratios[below[-1] + 1]
    share = -math.log(low) / (math.log(high) - math.log(low))
    return math.exp(math.log(side) + share * (math.log(other) - math.log(side)))


def _plain(lengths: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Row:
    """For a file, where JSON has no infinity: None stands for never."""
    return {
        kind: {
            name: {key: value if math.isfinite(value) else None for key, value in one.items()}
            for name, one in of_kind.items()
        }
        for kind, of_kind in lengths.items()
    }


def _show(rows: Sequence[Row], lengths: Mapping[str, Mapping[str, Mapping[str, float]]], sides: list[int]) -> None:
    for kind, found in lengths.items():
        series = _series(rows, kind)
        headings = ("model", *map(str, sides), "faster", "smaller")
        cells = []
        for name, points in series.items():
            own = [_short(points[side][0]) if side in points else "-" for side in sides]
            cells.append([name, *own, *(_side(found.get(name, {}).get(key), sides) for key in ("time", "memory"))])
        show(headings, cells, f"milliseconds by side, {kind}; faster and smaller than {FULL} from side")
    for name, reason in dict.fromkeys((row["mixer"], row["reason"]) for row in rows if row["reason"]):
        print(f"  {name}: {reason}")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _side(value: float | None, sides: Sequence[int]) -> str:
    if value is None:
        return ""
    return "never" if value == _NEVER else f"<{sides[0]}" if value == _ALWAYS else f"{value:.0f}"
