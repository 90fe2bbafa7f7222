"""Building a training without its data, as shapes alone."""

from pathlib import Path

import torch

from visionattn import config
from visionattn.runs.build import build
from visionattn.runs.infer import infer

PLACES = ["run_dir=x", "name=x", "backbone_name=x", "trainer.accelerator=cpu"]


def facts_without_data(*words: str) -> dict[str, str]:
    """What a training of these overrides would be; its data need not be there if nothing is asked of them."""
    cfg = config.compose("train", [*words, *PLACES])
    infer(cfg)
    with torch.device("meta"):
        return build(cfg, Path("x"), config.DEFAULT_POLICY).facts(cfg)
