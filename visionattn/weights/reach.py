"""Whether weights that timm publishes can be had now: in the Hub's cache, or over the network. Nothing is fetched.

Nothing here imports torch or timm.
"""

from __future__ import annotations

import os
import urllib.request
from urllib.error import HTTPError

_FILE, _SECONDS = "model.safetensors", 3.0


def why_out_of_reach(name: str, repository: str | None = None, file: str | None = None, *, asked: bool = False) -> str:
    """Why timm's weights of this name cannot be had; empty: they can.

    Args:
        name: timm's, such as ``swin_tiny_patch4_window7_224.ms_in1k``.
        repository: on the Hub; None: ``timm/NAME``.
        file: in it; None: the usual one.
        asked: whether somebody asked for just these: then several processes fetch them too, and what the Hub answers
            is left to timm.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    repository, file = repository or f"timm/{name}", file or _FILE
    if isinstance(try_to_load_from_cache(repository, file), str):
        return ""
    if constants.HF_HUB_OFFLINE:
        return f"timm's {name} is not in the Hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    if not asked and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return f"timm's {name} is not in the Hub's cache, and several processes do not fetch it by themselves"
    address = f"{constants.ENDPOINT}/{repository}/resolve/main/{file}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_SECONDS):
            return ""
    except (OSError, ValueError) as error:
        if asked and isinstance(error, HTTPError):
            return ""
        reason = getattr(error, "reason", None) or error
        return f"timm's {name} is not in the Hub's cache, and {constants.ENDPOINT} cannot be reached ({reason})"
