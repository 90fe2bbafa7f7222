"""Whether weights can be had now: in the Hub's cache, or over the network. Nothing is fetched.

Nothing here imports torch or timm.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Sequence
from urllib.error import HTTPError

_FILES, _SECONDS = ("model.safetensors",), 3.0


def why_out_of_reach(
    name: str,
    repository: str | None = None,
    files: Sequence[str] = _FILES,
    *,
    revision: str | None = None,
    asked: bool = False,
) -> str:
    """Why weights on the Hub cannot be had; empty: they can.

    Args:
        name: timm's, such as ``swin_tiny_patch4_window7_224.ms_in1k``; or what a message calls them.
        repository: on the Hub; None: ``timm/NAME``.
        files: in it; one of them will do.
        revision: of the repository.
        asked: whether somebody asked for just these: then several processes fetch them too, and what the Hub answers
            is left to its own client.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    told, repository = (name if repository else f"timm's {name}"), repository or f"timm/{name}"
    if any(isinstance(try_to_load_from_cache(repository, file, revision=revision), str) for file in files):
        return ""
    if constants.HF_HUB_OFFLINE:
        return f"{told} is not in the Hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    if not asked and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return f"{told} is not in the Hub's cache, and several processes do not fetch it by themselves"
    address = f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{files[0]}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_SECONDS):
            return ""
    except (OSError, ValueError) as error:
        if asked and isinstance(error, HTTPError):
            return ""
        reason = getattr(error, "reason", None) or error
        return f"{told} is not in the Hub's cache, and {constants.ENDPOINT} cannot be reached ({reason})"
