"""A new task in a user's own files: it writes a step and names an evaluator; nothing of the package is edited.

The task is depth from one image on the drawn shapes: shapes are near, the textures behind them far.
"""

import csv
import json

import pytest

from tests.commands.short_runs import newest
from visionattn.cli import main
from visionattn.data.shapes import make_shapes

pytestmark = pytest.mark.filterwarnings("default")
FILES = {
    "own_depth.py": '''
"""Depth from one image: a head, a task, an evaluator."""

import torch
from torch import nn
from torch.nn import functional as F

from visionattn.training import Evaluator, StepOutput, VisionTask
from visionattn.training.distributed import gather

NEAR, FAR, SHAPES = 1.0, 3.0, 10


def depth_of(classes):
    return torch.where(classes < SHAPES, NEAR, FAR), classes != 255


class DepthHead(nn.Module):
    def __init__(self, feature_info):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(level["num_chs"], 1, 1) for level in feature_info)

    def forward(self, features):
        size = features[0].shape[-2:]
        return sum(F.interpolate(layer(x), size) for layer, x in zip(self.layers, features, strict=True))


class DepthTask(VisionTask):
    def step(self, batch):
        if not self.training:
            return StepOutput(None, [self.depth(image[None], image.shape[-2:])[0] for image in batch["image"]])
        depth, known = depth_of(batch["target"])
        error = self.loss(self.depth(batch["image"], depth.shape[-2:])[known], depth[known])
        return StepOutput(error, parts={"depth": error})

    def depth(self, images, size):
        return F.interpolate(self(images), size, mode="bilinear")[:, 0]


class DepthError(Evaluator):
    """Mean relative error of the depth over all pixels."""

    shown = ("abs_rel",)

    def reset(self):
        self.total = self.count = 0.0

    def update(self, prediction, batch):
        for predicted, classes in zip(prediction, batch["target"], strict=True):
            depth, known = depth_of(classes)
            self.total += float(((predicted - depth).abs() / depth)[known].sum())
            self.count += float(known.sum())

    def compute(self, data):
        total, count = (sum(values) for values in zip(*gather((self.total, self.count)), strict=True))
        return {"abs_rel": 100 * total / count}
''',
    "conf/evaluator/own_error.yaml": "# relative error of the depth\n_target_: own_depth.DepthError\n",
    "conf/task/own_depth.yaml": """
# depth from one image
defaults:
  - /evaluator@evaluators.depth: own_error
  - _self_

_target_: own_depth.DepthTask
backbone: ${backbone}
head: {_target_: own_depth.DepthHead, _partial_: true}
loss: {_target_: torch.nn.L1Loss}
optimizer: ${optim}
schedule: ${schedule}
monitor: val/abs_rel
monitor_mode: min
""",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.lstrip("\n"))
    make_shapes("ade20k", folder / "shapes", num_train=16, num_val=4, image_size=64)
    return folder


def test_it_has_less_than_eighty_lines():
    lines = [line for text in FILES.values() for line in text.splitlines() if line.strip()]
    assert len(lines) < 80


def test_it_trains_validates_and_is_evaluated(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(own))
    words = ["--config-dir", str(own / "conf"), "allow=[own_depth]", "trainer.accelerator=cpu"]
    words += ["trainer.precision=32-true", "seed=1"]
    data = ["data=ade20k", f"data.root={own / 'shapes'}", "data.num_classes=15", "data.image_size=48"]
    data += ["data.batch_size=8", "data.num_workers=0", "data.train_transform.short_edge=null"]
    short = ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=4", "optim.lr=3e-3", "callbacks=no_ema"]
    short += ["schedule.warmup_epochs=0", "logger=csv", "trainer.log_every_n_steps=1"]
    assert main(["train", "task=own_depth", "backbone=swin_pico", *data, *short, *words]) == 0
    run = newest(tmp_path / "outputs" / "own_depth" / "swin_pico")
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert losses == [float(row["train/loss_depth"]) for row in rows if row["train/loss_depth"]]
    assert losses[-1] < losses[0]
    validated = next(float(row["val/abs_rel"]) for row in rows if row["val/abs_rel"])
    assert (run / "checkpoints" / "best.ckpt").is_file()
    result = tmp_path / "result"
    assert main(["evaluate", f"ckpt={run}/checkpoints/last.ckpt", f"hydra.run.dir={result}", *words]) == 0
    contents = json.loads((result / "result.json").read_text())
    assert contents["num_samples"] == 4
    assert contents["metrics"] == {"abs_rel": pytest.approx(validated)}
