"""L2ViT: the names of the official code.

The stem is the first of its downsampling layers. Its detection and segmentation code has a norm for each map and no
classifier; those norms are the heads' here.
"""

from __future__ import annotations

from torch import Tensor

from visionattn.weights.formats import Format, Rule, with_counters

_BLOCK = r"stages\.(\d+)\.(\d+)\."
_OURS = r"stages.\1.blocks.\2."


def _one_per_head(temperature: Tensor, wanted: Tensor) -> Tensor:
    """``(N, 1, 1) -> (N, 1)``."""
    return temperature.flatten(1) if temperature.ndim == wanted.ndim + 1 else temperature


FORMATS = [
    Format(
        "L2ViT (official)",
        lambda names: "downsample_layers.0.proj.proj.0.weight" in names,
        [
            Rule(r"downsample_layers\.0\.proj\.proj\.0\.(.+)", r"stem.conv1.\1"),
            Rule(r"downsample_layers\.0\.proj\.proj\.1\.(.+)", r"stem.norm1.\1"),
            Rule(r"downsample_layers\.0\.proj\.proj\.3\.(.+)", r"stem.conv2.\1"),
            Rule(r"downsample_layers\.0\.proj\.proj\.4\.(.+)", r"stem.norm2.\1"),
            Rule(r"downsample_layers\.0\.norm\.(.+)", r"stem.norm.\1"),
            Rule(r"downsample_layers\.([1-3])\.proj\.(.+)", r"stages.\1.downsample.conv.\2"),
            Rule(r"downsample_layers\.([1-3])\.norm\.(.+)", r"stages.\1.downsample.norm.\2"),
            Rule(_BLOCK + r"cpe\.0\.proj\.(.+)", _OURS + r"position1.conv.\3"),
            Rule(_BLOCK + r"cpe\.1\.proj\.(.+)", _OURS + r"position2.conv.\3"),
            Rule(_BLOCK + r"attn\.temperature", _OURS + "mixer.temperature", _one_per_head),
            Rule(_BLOCK + r"attn\.((?:qkv|proj)\..+)", _OURS + r"mixer.\3"),
            Rule(_BLOCK + r"(norm[12]\..+)", _OURS + r"\3"),
            Rule(_BLOCK + r"norm3\.(.+)", _OURS + r"position2.norm.\3"),
            Rule(_BLOCK + r"local_mp\.((?:conv[12]|bn)\..+)", _OURS + r"position2.\3"),
            Rule(_BLOCK + r"mlp\.(fc[12]\..+)", _OURS + r"ffn.\3"),
            Rule(r"(norm\..+)", r"\1"),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
        prepare=with_counters,
    )
]
