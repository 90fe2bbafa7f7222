"""A backbone in a user's own file, of forty lines, trains in all three tasks; nothing of the package is edited."""

import pytest

from tests.commands.short_runs import newest
from visionattn.cli import main
from visionattn.data.shapes import make_shapes

pytestmark = pytest.mark.filterwarnings("default")
OWN = '''
"""Three strided convolutions, each followed by two mixing ones."""

from torch import nn


class Mixing(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x + self.pointwise(self.depthwise(x).relu())


class OwnBackbone(nn.Module):
    def __init__(self, width=8, in_chans=3, **kwargs):
        super().__init__()
        strides = [4, 2, 2]
        widths = [in_chans, width, 2 * width, 4 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, above, stride, stride), Mixing(above), Mixing(above))
            for below, above, stride in zip(widths, widths[1:], strides)
        )
        reduction, self.feature_info = 1, []
        for i, (channels, stride) in enumerate(zip(widths[1:], strides)):
            reduction *= stride
            self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": f"stages.{i}"})

    def forward_intermediates(self, x, norm=False, intermediates_only=False, **kwargs):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps if intermediates_only else (x, maps)
'''
YAML = "# a backbone of the user's own\n_target_: own_package.OwnBackbone\nwidth: 8\nnum_classes: 0\n"
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"]
TASKS = {
    "classification": ["data=digits", "data.batch_size=16"],
    "detection": [
        *("task=detection", "data=coco", "head=mask_rcnn", "data.num_classes=10", "data.image_size=64"),
        *("data.num_workers=0", "data.train_transform.short_edges=[64]", "data.eval_transform.short_edge=64"),
        *("head.pyramid.channels=16", "head.regions.width=16", "head.regions.mask_channels=16"),
        *("head.regions.sampled=8", "head.proposals.after_nms=[20,10]"),
    ],
    "segmentation": [
        *("task=segmentation", "data=ade20k", "head=upernet", "data.num_classes=15", "data.image_size=48"),
        *("data.batch_size=8", "data.num_workers=0", "data.train_transform.short_edge=null"),
        *("task.inference.short_edge=null", "head.decoder.channels=8", "head.auxiliary.channels=8"),
    ],
}
FIGURES = {"classification": "val/top1", "detection": "val/mask_ap", "segmentation": "val/mIoU"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_package.py").write_text(OWN)
    (folder / "conf" / "backbone").mkdir(parents=True)
    (folder / "conf" / "backbone" / "own.yaml").write_text(YAML)
    for layout in ("coco", "ade20k"):
        make_shapes(layout, folder / layout, num_train=8, num_val=4, image_size=64)
    return folder


def test_the_file_has_forty_lines_at_most():
    assert len(OWN.strip().splitlines()) <= 40


@pytest.mark.parametrize("task", sorted(TASKS))
def test_it_trains(own, tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(own))
    words = ["--config-dir", str(own / "conf"), "allow=[own_package]", "backbone=own", "trainer.precision=32-true"]
    if task != "classification":
        words.append(f"data.root={own / {'detection': 'coco', 'segmentation': 'ade20k'}[task]}")
    assert main(["train", *TASKS[task], *words, *SHORT]) == 0
    run = newest(tmp_path / "outputs" / task / "own")
    assert FIGURES[task] in (run / "metrics.csv").read_text()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_a_stride_that_does_not_double_is_an_error_that_names_the_stage(own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (own / "odd_package.py").write_text(OWN.replace("strides = [4, 2, 2]", "strides = [4, 4, 2]"))
    (own / "conf" / "backbone" / "odd.yaml").write_text(YAML.replace("own_package", "odd_package"))
    monkeypatch.syspath_prepend(str(own))
    words = ["--config-dir", str(own / "conf"), "allow=[odd_package]", "backbone=odd", f"data.root={own / 'coco'}"]
    assert main(["train", *TASKS["detection"], *words, *SHORT]) == 2
    assert "stages.1 has stride 16 after 4" in capsys.readouterr().err
