"""FaViT: the names of the official code, which counts stages from 1."""

from __future__ import annotations

import re
from collections.abc import Callable

from visionattn.weights.formats import Format, Rule, as_linear

_ATTENTION = {
    r"(q|norm|proj)\.": r"\3.",
    r"kv_g\.": "kv.",
    r"sr\.": "reduce.",
    r"local_conv_g\.": "encoding.",
    r"kv_l\.depth_conv\.": "conv.",
    r"kv_l\.point_conv\.": "mix.",
    r"fcs\.(\d)\.": r"factors.\3.fc.",
    r"single_heads\.(\d)\.": r"factors.\3.kv.",
    r"local_convs\.(\d)\.": r"factors.\3.encoding.",
}
BLOCK = r"block(\d)\.(\d+)\."


def of_stage(rest: str) -> Callable[[re.Match[str]], str]:
    """``rest`` is a template of the name inside its stage; the last group ends it."""
    return lambda match: f"stages.{int(match[1]) - 1}." + match.expand(rest) + match.groups()[-1]


PYRAMID = [
    Rule(r"patch_embed1\.proj\.(.+)", r"stem.conv1.\1"),
    Rule(r"patch_embed1\.norm\.(.+)", r"stem.norm.\1"),
    Rule(r"patch_embed(\d)\.proj\.(.+)", of_stage("downsample.conv.")),
    Rule(r"patch_embed(\d)\.norm\.(.+)", of_stage("downsample.norm.")),
    Rule(r"norm(\d)\.(.+)", of_stage("norm.")),
    Rule(BLOCK + r"(norm[12]\..+)", of_stage(r"blocks.\2.")),
    Rule(BLOCK + r"mlp\.dwconv\.dwconv\.(.+)", of_stage(r"blocks.\2.ffn.conv.")),
    Rule(BLOCK + r"mlp\.(fc[12]\..+)", of_stage(r"blocks.\2.ffn.")),
    Rule(r"head\.(weight|bias)", r"head.fc.\1"),
]
"""What PVT (Wang et al. 2021, arXiv 2102.12122), PVT v2 and their successors name alike: all but their attention."""

FORMATS = [
    Format(
        "FaViT (official)",
        lambda names: "block1.0.attn.kv_g.weight" in names,
        [
            *(
                Rule(
                    BLOCK + rf"attn\.{old}(.+)",
                    of_stage(rf"blocks.\2.mixer.{new}"),
                    as_linear if "mix" in new else None,
                )
                for old, new in _ATTENTION.items()
            ),
            *PYRAMID,
        ],
    )
]
