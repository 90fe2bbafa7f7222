"""Old names of configuration files and groups -> the names they have now.

A name that somebody has typed, in a command or in a YAML file, keeps working; a note on the error stream says the new
one. :mod:`visionattn.config.renames` does the same for what configurations build.
"""

from __future__ import annotations

import os
import sys

MIXERS = {
    "carrier_7": "fastervit/carrier_7",
    "continuous_12": "fastervit/12",
    "continuous_14": "fastervit/14",
    "continuous_16": "fastervit/16",
    "continuous_24": "fastervit/24",
    "continuous_32": "fastervit/32",
    "continuous_48": "fastervit/48",
    "continuous_7": "continuous_window",
    "cross_1": "cswin/1",
    "cross_12": "cswin/12",
    "cross_2": "cswin/2",
    "cross_7": "cross_shaped",
    "dilated_11_14": "dinat/11_14",
    "dilated_11_2": "dinat/11_2",
    "dilated_11_2_3": "dinat/11_2_3",
    "dilated_11_4": "dinat/11_4",
    "dilated_11_4_7": "dinat/11_4_7",
    "dilated_11_8": "dinat/11_8",
    "dilated_3": "dinat/3_2",
    "dilated_7_13": "dinat/7_13",
    "dilated_7_16": "dinat/7_16",
    "dilated_7_2": "dinat/7_2",
    "dilated_7_20": "dinat/7_20",
    "dilated_7_28": "dinat/7_28",
    "dilated_7_2_3_4": "dinat/7_2_3_4",
    "dilated_7_2_3_4_5": "dinat/7_2_3_4_5",
    "dilated_7_3": "dinat/7_3",
    "dilated_7_3_5_7": "dinat/7_3_5_7",
    "dilated_7_4": "dinat/7_4",
    "dilated_7_4_8": "dinat/7_4_8",
    "dilated_7_5_10": "dinat/7_5_10",
    "dilated_7_6": "dinat/7_6",
    "dilated_7_7_14": "dinat/7_7_14",
    "dilated_7_8": "dinat/7_8",
    "full_lepe": "locally_enhanced",
    "grid_12": "maxvit/grid_12",
    "grid_16": "maxvit/grid_16",
    "neighborhood_11": "dinat/11",
    "neighborhood_3": "dinat/3",
    "strip_self_1": "strip_self",
    "strip_self_2": "s2aformer/2",
    "strip_self_4": "s2aformer/4",
    "strip_self_8": "s2aformer/8",
    "window_12": "swin/12",
    "window_4": "swin/4",
    "window_and_channel_12": "davit/12",
    "window_and_channel_7": "davit/7",
    "window_and_global_14_0": "gcvit/14_0",
    "window_and_global_7_0": "gcvit/7_0",
    "window_and_global_7_2": "gcvit/7_2",
    "window_and_global_7_3": "gcvit/7_3",
    "window_and_grid_12": "maxvit/12",
    "window_and_grid_16": "maxvit/16",
    "window_and_grid_7": "maxvit/7",
    "window_and_neighborhood": "alternate",
    "window_beside_neighborhood": "parallel",
    "window_cut_12": "maxvit/window_12",
    "window_cut_16": "maxvit/window_16",
    "window_cut_7": "maxvit/window_7",
    "window_plain_12": "davit/window_12",
    "window_plain_7": "davit/window_7",
}
"""Mixers and presets, which all lay in one folder."""
FILES = {f"mixer/{old}": f"mixer/{new}" for old, new in MIXERS.items()}
FILES["stem/overlap_centred"] = "stem/overlap_centered"
"""``group/name`` of before -> ``group/name`` of now."""
GROUPS = {"subject": "benchmark"}
_told: set[str] = set()


def current_override(override: str) -> str:
    """An override with its group under the name of now; everything else as it is."""
    key, equals, value = override.partition("=")
    sign = key[: len(key) - len(key.lstrip("+~"))]
    group, at, package = key[len(sign) :].partition("@")
    if group not in GROUPS:
        return override
    tell(f"the group {group}", GROUPS[group])
    return f"{sign}{GROUPS[group]}{at}{package}{equals}{value}"


def current_file(path: str) -> str | None:
    """The path of now of a configuration that had another one (both without ``.yaml``), or None; says so once."""
    new = FILES.get(path)
    if new is not None:
        group, _, name = path.partition("/")
        tell(f"{group} {name}", new.removeprefix(f"{group}/"))
    return new


def tell(old: str, new: str) -> None:
    """A note on the error stream, once for each old name and in the first process alone."""
    if old not in _told and os.environ.get("LOCAL_RANK", "0") == "0":
        _told.add(old)
        print(f"visionattn: {old} is now called {new}; the old name still works", file=sys.stderr)
