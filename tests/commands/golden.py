"""The first 100 losses of the small experiments; `python -m tests.commands.golden` records them anew.

    python -m tests.commands.golden                    # all of them
    python -m tests.commands.golden digits/dinat_pico  # one

A change that is meant to leave training as it is must leave these losses as they are; one that is not records them anew
and says so in its commit.

What is trained is the shipped experiment, its model, data, augmentation, optimizer, schedule and seed, all through
`visionattn train`. Only the precision is float32 everywhere, since processors round bf16 differently, and validation is
left out.
"""

import csv
import json
import sys
import tempfile
from pathlib import Path

import torch

from visionattn.cli import main
from visionattn.data.shapes import make_shapes
from visionattn.runs import provenance

STEPS = 100
FOLDER = Path(__file__).parents[1] / "recorded" / "losses"
DRAWN = {  # layouts
    "shapes/mask_rcnn": "coco",
    "shapes/mask2former": "coco_panoptic",
    "shapes/segman": "ade20k",
    "shapes/upernet": "ade20k",
}
EXPERIMENTS = ("digits/dinat_pico", "digits/swin_pico", *DRAWN)
FIXED = (
    *("trainer=default", "trainer.devices=1"),  # whatever the experiment has
    *(f"trainer.max_steps={STEPS}", "trainer.accelerator=cpu", "trainer.precision=32-true", "logger=csv"),
    *("trainer.limit_val_batches=0", "trainer.log_every_n_steps=1", "callbacks.best=null", "callbacks.last=null"),
)


def losses(experiment: str, folder: Path, *options: str) -> list[float]:
    """``train/loss`` of the first 100 optimizer steps."""
    words = [f"experiment={experiment}", *FIXED, *options]
    if experiment == "shapes/mask2former":
        words.append("weights=null")  # it asks for those of another run
    if experiment in DRAWN:
        make_shapes(DRAWN[experiment], folder / "pictures", num_train=400, num_val=4)
        words.append(f"data.root={folder / 'pictures'}")
    assert main(["train", *words, f"hydra.run.dir={folder / 'run'}"]) == 0
    with (folder / "run" / "metrics.csv").open() as file:
        found = {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}
    assert sorted(found) == list(range(STEPS)), "a loss for every step"
    return [found[step] for step in range(STEPS)]


def path_of(experiment: str) -> Path:
    return FOLDER / f"{experiment.replace('/', '_')}.json"


def recorded(experiment: str) -> dict:
    return json.loads(path_of(experiment).read_text())


def release(version: str) -> str:
    """2.15 of 2.15.1+cpu: what may change how random numbers are drawn."""
    return ".".join(version.split("+")[0].split(".")[:2])


def record(experiment: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = losses(experiment, Path(folder))
    contents = {
        "experiment": experiment,
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "losses": [float(f"{loss:.7g}") for loss in found],
    }
    path_of(experiment).parent.mkdir(exist_ok=True)
    path_of(experiment).write_text(json.dumps(contents) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or EXPERIMENTS:
        record(name)
