"""Speed of whole backbones beside timm's model of the same architecture and weights, measured in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from visionattn.backbones.cost import count_gmacs
from visionattn.backbones.zoo import backbone_files, create_backbone, list_backbones
from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import gemm_flops, interleaved, medians, peak_bytes
from visionattn.errors import ConfigError
from visionattn.weights import load_weights

PASSES = ("inference", "train")


def run_backbones(
    names: str | Sequence[str] = "swin_tiny",
    batches: Sequence[int] = (1, 8),
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    passes: Sequence[str] = PASSES,
    repeats: int = 5,
    size: int | None = None,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure images per second and peak memory of our backbones and of timm's counterparts, in turn.

    Args:
        names: patterns of backbone names.
        batches: images at a time.
        dtypes: ``float32`` or ``bfloat16`` (autocast).
        passes: ``inference``; ``train`` is forward, backward and a fused AdamW step.
        repeats: rounds; each model runs once in a round, and medians over rounds are reported.
        size: side of the square image; None: the card's.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.

    Raises:
        ConfigError: no backbone of that name, or an unknown pass or type.
    """
    chosen = _choose([names] if isinstance(names, str) else list(names), dtypes, passes)
    torch_device = choose_device(device)
    limits = {kind: gemm_flops(getattr(torch, kind), torch_device) for kind in dtypes}
    rows: list[Row] = []
    for name in chosen:
        side = size or backbone_files()[name]["card"]["input_size"][-1]
        models = {owner: model.to(torch_device) for owner, model in with_counterpart(name, side).items()}
        gmacs = count_gmacs(models["visionattn"], (3, side, side))
        for kind, batch, work in product(dtypes, batches, passes):
            facts = {"backbone": name, "size": side, "dtype": kind, "batch": batch, "pass": work}
            rows += _measure(models, facts, gmacs, repeats, limits[kind], torch_device)
    _show(rows)
    settings = {"repeats": repeats, "gemm_flops": limits, "device": str(torch_device)}
    save(rows, output_dir, "backbones", torch_device, settings)
    return rows


def _choose(patterns: list[str], dtypes: Sequence[str], passes: Sequence[str]) -> list[str]:
    """Names of backbones that match a pattern, once each; refuse a request of which nothing can be measured."""
    chosen = list(dict.fromkeys(name for pattern in patterns for name in list_backbones(pattern)))
    if not chosen or set(passes) - set(PASSES) or set(dtypes) - {"float32", "bfloat16"}:
        raise ConfigError(f"nothing to measure for names={patterns}, passes={list(passes)}, dtypes={list(dtypes)}")
    return chosen


def with_counterpart(name: str, side: int) -> dict[str, nn.Module]:
    """Our model and, where the card names one, timm's with the same weights, checked to agree.

    Args:
        name: backbone.
        side: side of the square image of the check.

    Raises:
        ConfigError: the outputs differ by more than 1e-4; then a comparison of speed means nothing.
    """
    card = backbone_files()[name]["card"]
    ours = create_backbone(name)
    counterpart = (card.get("weights") or {}).get("timm")
    if counterpart is None:
        return {"visionattn": ours}
    theirs = timm.create_model(counterpart, pretrained=False, num_classes=1000)
    load_weights(ours, theirs.state_dict())
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        expected = theirs.eval()(image)
        error = float((ours.eval()(image) - expected).abs().max() / expected.abs().max())
    if not error < 1e-4:
        raise ConfigError(f"{name} and timm's {counterpart} differ by {error:.1e}; nothing was measured")
    return {"visionattn": ours, "timm": theirs}


def _measure(
    models: dict[str, nn.Module], facts: Row, gmacs: float, repeats: int, limit: float, device: torch.device
) -> list[Row]:
    images = torch.randn(facts["batch"], 3, facts["size"], facts["size"], device=device)
    work = {owner: _work(model, images, facts["pass"], facts["dtype"]) for owner, model in models.items()}
    for run in work.values():
        run()
    seconds = medians(interleaved(work, repeats, device))
    flops = 2e9 * gmacs * facts["batch"] * (3 if facts["pass"] == "train" else 1)
    return [
        facts
        | {
            "model": owner,
            "images_per_second": facts["batch"] / seconds[owner],
            "times_timm": seconds["timm"] / seconds[owner] if "timm" in seconds else None,
            "peak_bytes": peak_bytes(work[owner], device),
            "share_of_gemm": flops / seconds[owner] / limit,
        }
        for owner in models
    ]


def _work(model: nn.Module, images: Tensor, kind: str, dtype: str) -> Callable[[], object]:
    cast = torch.autocast(images.device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
    if kind == "inference":

        def infer() -> Tensor:
            with torch.inference_mode(), cast:
                return model.eval()(images)

        return infer
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)

    def train() -> None:
        model.train()
        with cast:
            loss = model(images).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return train


def _show(rows: list[Row]) -> None:
    cells = (
        [
            *(str(row[name]) for name in ("backbone", "size", "pass", "dtype", "batch", "model")),
            f"{row['images_per_second']:.1f}",
            f"{row['times_timm']:.2f}" if row["times_timm"] else "-",
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['share_of_gemm']:.0%}",
        ]
        for row in rows
    )
    show(("backbone", "size", "pass", "type", "batch", "model", "img/s", "x timm", "peak MB", "of GEMM"), cells)
