"""Weights of every kind of training, in every form they are written: loaded strictly, the same logits."""

import pytest
import timm
import torch
from safetensors.torch import load_file

import visionattn
from tests.commands.short_runs import TINY
from tests.commands.test_processes import visionattn as in_processes
from visionattn import config
from visionattn.cli import main
from visionattn.runs.open import open_run
from visionattn.runs.pretrained import load_pretrained
from visionattn.training import compiling

pytestmark = pytest.mark.filterwarnings("default")
SHARED = ["backbone=swin_pico", *TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "logger=csv"]
KINDS = {
    "plain": ["callbacks=no_ema"],
    "averaged": ["callbacks.ema.decay=0.5"],
    "compiled": ["callbacks=no_ema", "task.compile=true"],
    "ddp": ["callbacks.ema.decay=0.5", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"],
    "fsdp": ["callbacks=no_ema", "trainer=fsdp", "trainer.devices=2", "trainer.accelerator=cpu"],
}
PROCESSES = ("ddp", "fsdp")


@pytest.fixture(
    scope="module", params=[pytest.param(k, marks=pytest.mark.heavy if k in PROCESSES else ()) for k in KINDS]
)
def checkpoint(request, tmp_path_factory):
    """The last checkpoint of a short training of that kind."""
    folder = tmp_path_factory.mktemp(request.param)
    words = ["train", *SHARED, *KINDS[request.param], f"hydra.run.dir={folder}"]
    if request.param in PROCESSES:
        done = in_processes(*words, cwd=folder)
        assert done.returncode == 0, done.stderr[-3000:]
    else:
        with pytest.MonkeyPatch.context() as patch:  # the wrapping is compile's, the speed does not matter
            patch.setattr(compiling, "BACKEND", "eager")
            assert main(words) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def expected(checkpoint):
    """Pictures, and what the trained model says about them."""
    task = open_run(checkpoint).task
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return images, task.eval()(images)


def check(model, expected):
    images, logits = expected
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), logits, rtol=0, atol=1e-5 * float(logits.abs().max()))


def test_names_are_plain(checkpoint):
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    cfg = config.compose("train", [*SHARED[:1], "run_dir=x", "name=x", "backbone_name=x"])
    assert set(config.instantiate(cfg.task).state_dict()) == set(state)


def test_ours(checkpoint, expected):
    model = visionattn.create_backbone("swin_pico", num_classes=10, weights=str(checkpoint))
    check(model, expected)


def test_timm(checkpoint, expected, tmp_path):
    assert main(["export", f"ckpt={checkpoint}", f"dir={tmp_path}"]) == 0
    model = timm.create_model(f"local-dir:{tmp_path}")
    assert type(model).__module__.startswith("timm.")
    model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    check(model, expected)
    small = ["mixers.s3.window_size=2"]  # timm makes no window larger than the map
    back = visionattn.create_backbone("swin_pico", num_classes=10, weights=str(tmp_path), overrides=small)
    check(back, expected)


def test_safetensors(checkpoint, expected, tmp_path):
    assert main(["export", f"ckpt={checkpoint}", "format=safetensors", f"dir={tmp_path}"]) == 0
    cfg = config.compose("train", [*SHARED[:1], "run_dir=x", "name=x", "backbone_name=x"])
    task = config.instantiate(cfg.task)
    task.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    check(task, expected)
    other = config.instantiate(cfg.task)
    assert load_pretrained(other, str(tmp_path), "model").fresh == []
    check(other, expected)
