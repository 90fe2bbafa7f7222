"""Whether published weights can be had now: in the Hub's cache, or over the network. Nothing is fetched."""

from __future__ import annotations

import os
import urllib.request

_FILE, _SECONDS = "model.safetensors", 3.0


def why_out_of_reach(name: str) -> str:
    """Why timm's weights of this name cannot be had; empty: they can.

    Args:
        name: timm's, such as ``swin_tiny_patch4_window7_224.ms_in1k``, which the Hub has as ``timm/NAME``.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    repository = f"timm/{name}"
    if isinstance(try_to_load_from_cache(repository, _FILE), str):
        return ""
    if constants.HF_HUB_OFFLINE:
        return f"timm's {name} is not in the Hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return f"timm's {name} is not in the Hub's cache, and several processes do not fetch it by themselves"
    address = f"{constants.ENDPOINT}/{repository}/resolve/main/{_FILE}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_SECONDS):
            return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"timm's {name} is not in the Hub's cache, and {constants.ENDPOINT} cannot be reached ({reason})"
