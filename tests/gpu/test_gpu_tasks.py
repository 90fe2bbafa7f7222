"""`visionattn train` on a device: each task for some steps, equal bits of two runs and of one that was cut off."""

import json

import pytest

from tests.runs.interruption import Killed, differing
from visionattn.cli import main
from visionattn.data.shapes import make_shapes

SHORT = ["trainer=default", "trainer.devices=1", "trainer.limit_val_batches=1", "logger=csv", "data.batch_size=4"]
SHORT += ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
RCNN = ["head.regions.width=16", "head.regions.mask_channels=16", "head.regions.sampled=8", "head.pyramid.channels=16"]
MASKS = ["head.channels=32", "head.num_queries=6", "head.decoder_layers=1", "head.num_points=64", "weights=null"]
MASKS += ["data.train_transform.crop_size=[48,48]", "data.eval_transform.short_edge=48"]
TASKS = {
    "classification": ("imagenet", ["backbone=swin_pico", "data=shapes"]),
    "detection": ("coco", ["experiment=shapes/mask_rcnn", "data.train_transform.short_edges=[64]", *RCNN]),
    "segmentation": ("ade20k", ["experiment=shapes/upernet", "head.decoder.channels=8"]),
    "panoptic": ("coco_panoptic", ["experiment=shapes/mask2former", *MASKS]),
}
REPEATED = ["data=shapes", "trainer.limit_val_batches=0", "callbacks.best=null", "allow=[tests]", "resume=auto"]
REPEATED += ["backbone.drop_path_rate=0.2", "task.mixup_alpha=0.8", "trainer.deterministic=warn", "data.batch_size=16"]
REPEATED += ["+callbacks.probe={_target_: tests.runs.interruption.Probe, folder: '${run_dir}'}"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """The drawn images in a layout."""

    def make(layout, images=20):
        folder = tmp_path_factory.getbasetemp() / f"{layout}_{images}"
        if not folder.exists():
            make_shapes(layout, folder, num_train=images, num_val=10, image_size=64)
        return folder

    return make


def train(device, folder, *words):
    place = ["trainer.accelerator=gpu" if device.type == "cuda" else "trainer.accelerator=cpu", "data.image_size=64"]
    return main(["train", *SHORT, *words, *place, "trainer.precision=bf16-mixed", f"hydra.run.dir={folder}"])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("compile", ["false", "true", "reduce-overhead"], ids=["eager", "compiled", "CUDA graphs"])
def test_a_training_of_some_steps(task, compile, device, shapes, tmp_path):
    if task == "panoptic":
        pytest.importorskip("transformers")
    if compile != "false" and device.type == "cpu":
        pytest.skip("Inductor takes minutes on a CPU")
    if compile == "reduce-overhead" and task in ("detection", "panoptic"):
        pytest.skip("CUDA graphs need images of one size")
    layout, words = TASKS[task]
    run = tmp_path / "run"
    assert train(device, run, *words, f"data.root={shapes(layout)}", f"task.compile={compile}") == 0
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert json.loads((run / "results.json").read_text())


@pytest.mark.parametrize("name", ["swin_pico", "dinat_pico"])
def test_two_runs_and_one_that_was_cut_off_are_equal(name, device, shapes, tmp_path, monkeypatch):
    """A hundred steps on a card: every tensor of the checkpoint is equal to the bit."""
    epochs = 10 if device.type == "cuda" else 2
    words = [f"backbone={name}", *REPEATED, f"data.root={shapes('imagenet', 160)}", f"trainer.max_epochs={epochs}"]
    for run, ends in {"one": [], "two": [], "cut": ["train 13 raise"]}.items():
        for end in ends:
            monkeypatch.setenv("PROBE", end)
            with pytest.raises(Killed):
                train(device, tmp_path / run, *words, "callbacks.last.every_n_steps=4")
        monkeypatch.setenv("PROBE", "never 0 raise")
        assert train(device, tmp_path / run, *words, "callbacks.last.every_n_steps=4") == 0
    last = "checkpoints/last.ckpt"
    assert differing(tmp_path / "one" / last, tmp_path / "two" / last) == []
    assert differing(tmp_path / "one" / last, tmp_path / "cut" / last) == []
