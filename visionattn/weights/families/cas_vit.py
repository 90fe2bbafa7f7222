"""CAS-ViT: the names of the official code.

Its list of stages has the downsampling layers between them: entries 0, 2, 4, 6 are stages. Pointwise convolutions are
linear layers here. The detection and segmentation code has a norm for each map and no classifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from visionattn.weights.formats import Format, Rule, as_linear, with_counters

_BLOCK = r"network\.([0246])\.(\d+)\."
_GATES = {"0.block.0": "conv", "0.block.1": "norm", "0.block.3": "place", "1.block.1": "channel"}
_LOCAL = {"0": "mix", "1": "norm", "2": "conv", "4": "proj"}


def _block(rest: str) -> Callable[[re.Match[str]], str]:
    """Groups: entry of the list, block, what ``rest`` uses."""
    return lambda match: f"stages.{int(match[1]) // 2}.blocks.{match[2]}.{match.expand(rest)}"


def _between(match: re.Match[str]) -> str:
    part = {"proj": "conv", "norm": "norm"}[match[2]]
    return f"stages.{(int(match[1]) + 1) // 2}.downsample.{part}.{match[3]}"


FORMATS = [
    Format(
        "CAS-ViT (official)",
        lambda names: "network.0.0.local_perception.network.0.weight" in names,
        [
            Rule(r"patch_embed\.0\.(.+)", r"stem.conv1.\1"),
            Rule(r"patch_embed\.1\.(.+)", r"stem.norm1.\1"),
            Rule(r"patch_embed\.3\.(.+)", r"stem.conv2.\1"),
            Rule(r"patch_embed\.4\.(.+)", r"stem.norm2.\1"),
            Rule(r"network\.([135])\.(proj|norm)\.(.+)", _between),
            *(
                Rule(_BLOCK + rf"local_perception\.network\.{old}\.(.+)", _block(rf"position1.{new}.\3"), as_linear)
                for old, new in _LOCAL.items()
            ),
            *(
                Rule(_BLOCK + rf"attn\.oper_{side[0]}\.{re.escape(old)}\.(.+)", _block(rf"mixer.{side}_gates.{new}.\3"))
                for side in ("query", "key")
                for old, new in _GATES.items()
            ),
            Rule(_BLOCK + r"attn\.qkv\.(.+)", _block(r"mixer.qkv.\3"), as_linear),
            Rule(_BLOCK + r"attn\.dwc\.(.+)", _block(r"mixer.conv.\3")),
            Rule(_BLOCK + r"attn\.proj\.(.+)", _block(r"mixer.proj.\3")),
            Rule(_BLOCK + r"(norm[12]\..+)", _block(r"\3")),
            Rule(_BLOCK + r"mlp\.(fc[12]\..+)", _block(r"ffn.\3"), as_linear),
            Rule(r"(norm\..+)", r"\1"),
            Rule(r"norm[0246]\..+", None),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
            Rule(r"dist_head\.(weight|bias)", r"head.fc_distilled.\1"),
        ],
        prepare=with_counters,
    )
]
