"""DaViT: the official code's names and timm's.

Depth counts pairs in both; our blocks 2d and 2d + 1 are the spatial and the channel block of pair d.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from visionattn.weights.formats import Format, Rule
from visionattn.weights.timm_counterpart import Configuration, Twin, one_for_all


def _block(rest: str) -> Callable[[re.Match[str]], str]:
    """Groups: stage, pair, position in the pair, and what ``rest`` uses."""
    return lambda match: match.expand(rf"stages.\1.blocks.{2 * int(match[2]) + int(match[3])}.{rest}")


def _shared(block: str, position: str) -> list[Rule]:
    return [
        Rule(block + position, _block(r"position\4.conv.\5")),
        Rule(block + r"(norm[12]\..+)", _block(r"\4")),
        Rule(block + r"attn\.((?:qkv|proj)\..+)", _block(r"mixer.\4")),
        Rule(block + r"mlp\.(.+)", _block(r"ffn.\4")),
    ]


FORMATS = [
    Format(
        "DaViT (timm)",
        lambda names: "stages.0.blocks.0.0.cpe1.proj.weight" in names,
        [
            Rule(r"stem\.conv\.(.+)", r"stem.conv1.\1"),
            Rule(r"stem\.norm\.(.+)", r"stem.norm.\1"),
            Rule(r"stages\.(\d+)\.downsample\.((?:norm|conv)\..+)", r"stages.\1.downsample.\2"),
            *_shared(r"stages\.(\d+)\.blocks\.(\d+)\.([01])\.", r"cpe([12])\.proj\.(.+)"),
            Rule(r"(head\.(?:norm|fc)\..+)", r"\1"),
        ],
    ),
    Format(
        "DaViT (official)",
        lambda names: "main_blocks.0.0.0.cpe.0.proj.weight" in names,
        [
            Rule(r"patch_embeds\.0\.proj\.(.+)", r"stem.conv1.\1"),
            Rule(r"patch_embeds\.0\.norm\.(.+)", r"stem.norm.\1"),
            Rule(r"patch_embeds\.(\d+)\.proj\.(.+)", r"stages.\1.downsample.conv.\2"),
            Rule(r"patch_embeds\.(\d+)\.norm\.(.+)", r"stages.\1.downsample.norm.\2"),
            *(
                Rule(rf"main_blocks\.(\d+)\.(\d+)\.([01])\.cpe\.{i}\.proj\.(.+)", _block(rf"position{i + 1}.conv.\4"))
                for i in (0, 1)
            ),
            *_shared(r"main_blocks\.(\d+)\.(\d+)\.([01])\.", r"cpe([12])\.proj\.(.+)")[1:],
            Rule(r"norms\.(.+)", r"head.norm.\1"),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
    ),
]


def _arguments(ours: Configuration, image_size: tuple[int, int]) -> dict[str, Any]:
    return {
        "embed_dims": list(ours["dims"]),
        "depths": list(ours["depths"]),
        "num_heads": list(ours["num_heads"]),
        "window_size": one_for_all(ours, "mixers", "spatial", "window_size"),
        "mlp_ratio": ours["block"]["mlp_ratio"],
    }


TWINS = [
    Twin(
        "DaViT",
        like="davit_tiny",
        architecture="davit_tiny",
        free=("dims", "depths", "num_heads", "block.mlp_ratio", "mixers.*.mixers.spatial.window_size"),
        arguments=_arguments,
    )
]
