"""HorNet: the names of the official code.

The stem is the first of its downsampling layers; pointwise convolutions are linear layers here.
"""

from __future__ import annotations

import re

from visionattn.weights.formats import Format, Rule, as_linear

_BLOCK = r"stages\.(\d+)\.(\d+)\."
_OURS = r"stages.\1.blocks.\2."
_SPREAD = {"dw.": "conv.", "complex_weight": "spectrum", "pre_norm.": "norm1.", "post_norm.": "norm2."}

FORMATS = [
    Format(
        "HorNet (official)",
        lambda names: "stages.0.0.gnconv.proj_in.weight" in names,
        [
            Rule(r"downsample_layers\.0\.0\.(.+)", r"stem.conv1.\1"),
            Rule(r"downsample_layers\.0\.1\.(.+)", r"stem.norm.\1"),
            Rule(r"downsample_layers\.(\d)\.0\.(.+)", r"stages.\1.downsample.norm.\2"),
            Rule(r"downsample_layers\.(\d)\.1\.(.+)", r"stages.\1.downsample.conv.\2"),
            Rule(_BLOCK + r"gamma([12])", _OURS + r"scale\3.gamma"),
            Rule(_BLOCK + r"(norm[12]\..+)", _OURS + r"\3"),
            Rule(_BLOCK + r"gnconv\.proj_in\.(.+)", _OURS + r"mixer.proj_in.\3", as_linear),
            Rule(_BLOCK + r"gnconv\.proj_out\.(.+)", _OURS + r"mixer.proj.\3", as_linear),
            Rule(_BLOCK + r"gnconv\.pws\.(.+)", _OURS + r"mixer.raise_order.\3", as_linear),
            *(
                Rule(_BLOCK + rf"gnconv\.dwconv\.{re.escape(old)}(.*)", _OURS + rf"mixer.spread.{new}\3")
                for old, new in _SPREAD.items()
            ),
            Rule(_BLOCK + r"gnconv\.dwconv\.(weight|bias)", _OURS + r"mixer.spread.\3"),
            Rule(_BLOCK + r"pwconv([12])\.(.+)", _OURS + r"ffn.fc\3.\4"),
            Rule(r"norm\.(.+)", r"head.norm.\1"),
            Rule(r"head\.(weight|bias)", r"head.fc.\1"),
        ],
    )
]
