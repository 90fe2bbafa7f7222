"""Our weights under the names of other projects."""

import re


def renamed(name, table):
    for old, new in table.items():
        if re.match(old, name):
            return re.sub(old, new, name, count=1)
    return name


def published_backbone(name, backbone):
    """Our weights under the names of the official dense Swin or DiNAT."""
    swin = {
        r"stem\.conv1": "patch_embed.proj",
        r"stem\.norm": "patch_embed.norm",
        r"stages\.(\d)\.blocks\.(\d+)\.mixer\.bias_table": r"layers.\1.blocks.\2.attn.relative_position_bias_table",
        r"stages\.(\d)\.blocks\.(\d+)\.mixer": r"layers.\1.blocks.\2.attn",
        r"stages\.(\d)\.blocks\.(\d+)\.ffn": r"layers.\1.blocks.\2.mlp",
        r"stages\.(\d)\.blocks\.(\d+)\.norm": r"layers.\1.blocks.\2.norm",
        r"norm\.": "norm3.",
    }
    dinat = {
        r"stem\.conv1": "patch_embed.proj.0",
        r"stem\.conv2": "patch_embed.proj.1",
        r"stem\.norm": "patch_embed.norm",
        r"stages\.(\d)\.blocks\.(\d+)\.mixer\.bias_table": r"levels.\1.blocks.\2.attn.rpb",
        r"stages\.(\d)\.blocks\.(\d+)\.mixer": r"levels.\1.blocks.\2.attn",
        r"stages\.(\d)\.blocks\.(\d+)\.ffn": r"levels.\1.blocks.\2.mlp",
        r"stages\.(\d)\.blocks\.(\d+)\.norm": r"levels.\1.blocks.\2.norm",
        r"stages\.(\d)\.blocks\.(\d+)\.scale([12])\.gamma": r"levels.\1.blocks.\2.gamma\3",
        r"norm\.": "norm3.",
    }
    found = {}
    for own, tensor in backbone.state_dict().items():
        if one := re.fullmatch(r"stages\.(\d)\.downsample\.(.+)", own):  # at the end of the stage before
            rest = one[2] if name == "swin_tiny" else one[2].replace("conv.", "reduction.")
            found[f"{'layers' if name == 'swin_tiny' else 'levels'}.{int(one[1]) - 1}.downsample.{rest}"] = tensor
            continue
        new = renamed(own, swin if name == "swin_tiny" else dinat)
        if new.endswith("relative_position_bias_table"):  # rows of query minus key
            tensor = tensor.flip(1, 2).flatten(1).t()
        found[new] = tensor
    return found
