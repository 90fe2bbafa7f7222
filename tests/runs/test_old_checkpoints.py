"""Checkpoints and exported folders from before files moved (commit a659b0d): they load and give what they gave."""

import json
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch

import visionattn
from visionattn.cli import main
from visionattn.config.renames import renamed
from visionattn.config.targets import locate
from visionattn.runs.open import open_run

pytestmark = pytest.mark.filterwarnings("default")
OLD = Path(__file__).parents[1] / "recorded" / "before_redesign"
OUTPUTS = json.loads((OLD / "outputs.json").read_text())
SIZES = {"classification": 32, "detection": 64, "segmentation": 48, "panoptic": 64}


def image(name):
    return torch.randn(1, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(0))


def close(values, recorded):
    recorded = torch.tensor(recorded)
    torch.testing.assert_close(values.flatten()[: len(recorded)].cpu(), recorded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SIZES)
def test_an_old_checkpoint_gives_its_recorded_outputs(name):
    if name == "panoptic":
        pytest.importorskip("transformers")
    task = open_run(OLD / f"{name}.ckpt").task
    task.eval()
    with torch.no_grad():
        maps = task.features(image(name))
        outputs = {
            "classification": lambda: task(image(name)),
            "detection": lambda: task(image(name))[0]["scores"],
            "segmentation": lambda: task.scores([image(name)[0]])[0],
            "panoptic": lambda: task.head(maps)[0],
        }[name]()
    for features, recorded in zip(maps, OUTPUTS[name]["features"], strict=True):
        close(features, recorded["first"])
    close(outputs, OUTPUTS[name]["output"])


def test_an_old_run_is_evaluated_and_resumed(tmp_path):
    run = tmp_path / "run" / "checkpoints"
    run.mkdir(parents=True)
    shutil.copy(OLD / "classification.ckpt", run / "last.ckpt")
    assert main(["evaluate", f"ckpt={run}/last.ckpt", f"hydra.run.dir={tmp_path}/result"]) == 0
    assert json.loads((tmp_path / "result" / "result.json").read_text())["num_samples"] == 359
    words = ["backbone.dims=[8,8,16]", "backbone.depths=[1,1,1]", "backbone.num_heads=[1,2,2]", "data.batch_size=16"]
    words += ["trainer.accelerator=cpu", "trainer.limit_train_batches=2", "data.num_workers=0", "trainer.max_epochs=2"]
    assert main(["train", *words, "resume=auto", f"hydra.run.dir={tmp_path}/run"]) == 0
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("kind", ["export_visionattn", "export_safetensors"])
def test_an_old_export_loads(kind, tmp_path):
    if kind == "export_visionattn":
        model = timm.create_model(f"local-dir:{OLD / kind}", pretrained=True)
    else:
        model = visionattn.create_backbone(
            "dinat_pico",
            num_classes=10,
            weights=str(OLD / kind),
            overrides=["dims=[8,8,16]", "depths=[1,1,1]", "num_heads=[1,2,2]"],
        )
    with torch.no_grad():
        logits = model.eval()(image("classification"))
    task = open_run(OLD / "classification.ckpt").task
    with torch.no_grad():
        expected = task.eval()(image("classification"))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_every_name_that_a_configuration_of_before_had_is_one_of_now():
    conf = Path(visionattn.__file__).parent / "conf"
    now = {name for path in conf.rglob("*.yaml") for name in re.findall(r"_target_: *([\w.]+)", path.read_text())}
    for target in (OLD / "targets.txt").read_text().split():
        assert renamed(target) in now, target
        assert locate(renamed(target)).__name__ == target.rpartition(".")[2]
    assert renamed("torch.nn.GELU") == "torch.nn.GELU"
