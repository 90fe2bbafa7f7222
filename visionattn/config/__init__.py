"""Composing, checking and building configurations.

    cfg = compose("train", ["backbone=swin_tiny"])     # also inside a running Hydra application
    check_targets(cfg)                                 # refuses what a configuration must not name, importing nothing
    model = instantiate(cfg.backbone)                  # checks again, then builds; errors name the key

A configuration is data and may come from a stranger. ``targets`` lists what it may build, ``hydra_nodes`` what it may
do to Hydra itself. No file can widen these lists; only ``allow=[my_package]`` on the command line does.
"""

from visionattn.config.building import instantiate
from visionattn.config.composing import compose
from visionattn.config.hydra_nodes import check_hydra
from visionattn.config.messages import check_complete
from visionattn.config.policy import DEFAULT_POLICY, BuildPolicy
from visionattn.config.targets import check_allow, check_targets

__all__ = [
    "DEFAULT_POLICY",
    "BuildPolicy",
    "check_allow",
    "check_complete",
    "check_hydra",
    "check_targets",
    "compose",
    "instantiate",
]
