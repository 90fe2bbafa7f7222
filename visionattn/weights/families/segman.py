"""SegMAN: the names of the official code.

Pointwise convolutions are linear layers here. The angles of a stage are no parameters. Stages and the downsampling
between them stand in one row of layers. The segmentation code has no classifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from visionattn.weights.formats import Format, Rule, as_linear, with_counters

_BLOCK = r"layers\.([0246])\.blocks\.(\d+)\."
_PARTS = {
    r"cpe([12])\.(.+)": r"position\3.conv.\4",
    r"(norm[12]\..+)": r"\3",
    r"token_mixer\.((?:qkv|proj|norm)\..+)": r"mixer.\3",
    r"token_mixer\.lepe\.(.+)": r"mixer.position.\3",
    r"token_mixer\.dwconv\.0\.(.+)": r"mixer.conv.\3",
    r"token_mixer\.dwconv\.1\.(.+)": r"mixer.conv_norm.\3",
    r"token_mixer\.(ssm\..+)": r"mixer.\3",
    r"token_mixer\.rpb\.0": "mixer.bias_table",
    r"token_mixer\.rpb\.1": "mixer.pair_bias",
    r"mlp\.(fc[12]\..+)": r"ffn.\3",
    r"mlp\.dwconv\.(.+)": r"ffn.conv.\3",
    r"layer_scale([12])\.weight": r"scale\3.gamma",
    r"layer_scale([12])\.bias": r"scale\3.bias",
}
"""Groups: layer, block, those of the part."""


def _stem(match: re.Match[str]) -> str:
    """Convolution, norm and activation follow each other."""
    number, part = divmod(int(match[1]), 3)
    return f"stem.{('conv', 'norm')[part]}{number + 1}.{match[2]}"


def _inside(new: str) -> Callable[[re.Match[str]], str]:
    return lambda match: f"stages.{int(match[1]) // 2}.blocks.{match[2]}." + match.expand(new)


def _downsampling(match: re.Match[str]) -> str:
    part = ("conv", "norm")[int(match[2])]
    return f"stages.{(int(match[1]) + 1) // 2}.downsample.{part}.{match[3]}"


def _pointwise(tensor: Tensor, wanted: Tensor) -> Tensor:
    """A convolution of single pixels as a linear layer or, where it is depthwise, a vector."""
    return tensor.flatten() if wanted.ndim == 1 else as_linear(tensor, wanted)


FORMATS = [
    Format(
        "SegMAN (official)",
        lambda names: "layers.0.blocks.0.token_mixer.qkv.weight" in names,
        [
            Rule(r"patch_embed\.(\d+)\.(.+)", _stem),
            *(Rule(_BLOCK + old, _inside(new), _pointwise) for old, new in _PARTS.items()),
            Rule(r"layers\.([135])\.([01])\.(.+)", _downsampling),
            Rule(r"layers\.[0246]\.rope\.angle", None),
            Rule(r"classifier\.0\.(.+)", r"head.proj.\1", as_linear),
            Rule(r"classifier\.1\.(.+)", r"head.norm.\1"),
            Rule(r"classifier\.4\.(.+)", r"head.fc.\1", as_linear),
        ],
        prepare=with_counters,
    )
]
