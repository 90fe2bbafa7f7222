"""``format=timm``: what is written loads in plain timm, gives the same numbers, and goes to the Hub."""

import json
import re
import subprocess
import sys

import huggingface_hub
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.commands.short_runs import TINY
from tests.export.hub import TOKEN, Hub
from visionattn.cli import main

pytestmark = pytest.mark.filterwarnings("default")


def test_the_folder_says_everything_about_the_model(exported, swin):
    config = json.loads((exported / "config.json").read_text())
    assert config["architecture"] == "swin_tiny_patch4_window7_224"
    assert config["label_names"] == [str(digit) for digit in range(10)]
    facts = config["pretrained_cfg"]
    assert (facts["mean"], facts["std"], facts["input_size"]) == ([0.5] * 3, [0.5] * 3, [3, 32, 32])
    assert (facts["crop_pct"], facts["interpolation"], facts["license"]) == (1.0, "bilinear", "apache-2.0")
    card = (exported / "README.md").read_text()
    for part in ("license: apache-2.0", "library_name: timm", "visionattn train backbone=swin_pico", "| top1 | "):
        assert part in card, part
    assert "(allowed 1e-05)" in card
    with Image.open(exported / "curves.png") as image:
        assert min(image.size) > 200


def test_plain_timm_loads_it_and_gives_our_logits(exported, swin, tmp_path):
    """In a process that never imports visionattn, from our evaluation weights."""
    contents = torch.load(swin / "checkpoints" / "best.ckpt", weights_only=True)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.save(images, tmp_path / "images.pt")
    code = f"""
import sys, timm, torch
model = timm.create_model("local-dir:{exported}", pretrained=True).eval()
features = timm.create_model("local-dir:{exported}", pretrained=True, features_only=True).eval()
images = torch.load({str(tmp_path / "images.pt")!r})
with torch.no_grad():
    torch.save([model(images), *(x.permute(0, 3, 1, 2) for x in features(images))], {str(tmp_path / "out.pt")!r})
assert "visionattn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=tmp_path)
    theirs = torch.load(tmp_path / "out.pt", weights_only=True)
    from visionattn.runs.open import open_run

    task = open_run(swin / "checkpoints" / "best.ckpt").task
    task.eval()
    with torch.no_grad():
        ours = [task(images), *task.backbone.forward_intermediates(images, intermediates_only=True)]
    assert torch.equal(contents["state_dict"]["backbone.norm.weight"], task.backbone.norm.weight)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(other, mine, rtol=0, atol=1e-5 * float(mine.abs().max()))


@pytest.mark.heavy
def test_what_timm_cannot_express_gets_our_names_and_says_why(trained, tmp_path, capsys):
    run = tmp_path / "run"
    swapped = ["backbone=swin_pico", "mixer@backbone.mixers.s2=dinat/3", "trainer.limit_train_batches=1"]
    assert main(["train", *TINY[:1], *swapped, *TINY[2:], "trainer.max_epochs=1", f"hydra.run.dir={run}"]) == 0
    capsys.readouterr()
    checkpoint = f"ckpt={run}/checkpoints/last.ckpt"
    assert main(["export", checkpoint, f"dir={tmp_path}/refused", "options.names=timm"]) == 2
    error = capsys.readouterr().err
    assert "timm cannot express this swin_pico: mixers.s2._target_" in error
    assert "options.names=visionattn" in error
    assert not (tmp_path / "refused").exists()
    assert main(["export", checkpoint, f"dir={tmp_path}/ours"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "visionattn's, as timm's would not do: timm cannot express this swin_pico: mixers.s2._target_" in told
    model = timm.create_model(f"local-dir:{tmp_path}/ours", pretrained=True)
    assert type(model.stages[1].blocks[0].mixer).__name__ == "NeighborhoodAttention"
    assert main(["export", f"ckpt={trained}/checkpoints/best.ckpt", "options.names=timm"]) == 2
    assert "timm cannot express this dinat_pico" in capsys.readouterr().err
    assert main(["export", checkpoint, "options.names=ours"]) == 2


def test_a_copy_that_differs_is_an_error_and_leaves_nothing(swin, tmp_path, capsys, monkeypatch):
    from visionattn.export import timm as to_timm

    real = to_timm.put_into

    def broken(theirs, ours):
        real(theirs, ours)
        with torch.no_grad():
            theirs.layers[0].blocks[0].attn.relative_position_bias_table.add_(0.1 * torch.randn(49, 2))

    monkeypatch.setattr(to_timm, "put_into", broken)
    words = ["export", f"ckpt={swin}/checkpoints/best.ckpt", f"dir={tmp_path}/out", "options.score=false"]
    assert main([*words, "options.names=timm"]) == 1
    assert "the exported model differs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(words) == 0  # options.names=auto
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architecture"] == "va_swin_pico"
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "timm's would not do: the exported model differs" in told


def test_export_and_trained_model_are_scored_beside_each_other(swin, tmp_path, capsys):
    assert main(["export", f"ckpt={swin}", f"dir={tmp_path}/out"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    top1 = re.search(r"top1 of the trained model ([\d.]+) top1 of the export ([\d.]+) on 359 validation images", told)
    assert top1 is not None
    assert top1[1] == top1[2]
    assert f"{float(top1[1]):.4g}" in (tmp_path / "out" / "README.md").read_text()
    assert "| crop_mode | center |" in (tmp_path / "out" / "README.md").read_text()
    assert main(["export", f"ckpt={swin}", f"dir={tmp_path}/out"]) == 2
    assert "which is not overwritten; give dir=ANOTHER_FOLDER or overwrite=true" in capsys.readouterr().err
    assert main(["export", f"ckpt={swin}", f"dir={tmp_path}/out", "overwrite=true", "options.score=false"]) == 0
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert main(["export", f"ckpt={swin}", f"dir={tmp_path}/out", "overwrite=true"]) == 2
    assert "holds files that no export wrote (thesis.tex)" in capsys.readouterr().err


def test_noise_takes_the_place_of_data_that_are_not_here_and_it_is_said(swin, tmp_path, capsys):
    contents = torch.load(swin / "checkpoints" / "best.ckpt", weights_only=True)
    contents["config"] = contents["config"].replace(
        "_target_: visionattn.data.classification.Digits\n    size: 32\n    interpolation: bicubic",
        "_target_: visionattn.data.classification.ImageFolder\n    root: /nowhere",
    )
    assert "/nowhere" in contents["config"]
    torch.save(contents, tmp_path / "moved.ckpt")
    assert main(["export", f"ckpt={tmp_path}/moved.ckpt", f"dir={tmp_path}/out"]) == 0
    assert "noise" in capsys.readouterr().out
    assert "the training command is unknown" in (tmp_path / "out" / "README.md").read_text()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub().running() as standing_in:
        for module in (huggingface_hub.constants,):
            monkeypatch.setattr(module, "ENDPOINT", standing_in.address)
            monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield standing_in


def test_push_to_hub_brings_the_very_files(swin, hub, tmp_path, capsys):
    words = [f"ckpt={swin}/checkpoints/best.ckpt", f"dir={tmp_path}/up", "options.push_to_hub=me/digits"]
    assert main(["export", *words, "options.private=true"]) == 0, capsys.readouterr().err
    assert f"{hub.address}/me/digits/commit/" in capsys.readouterr().out
    assert hub.created[0]["name"] == "digits"
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    written = {path.name: path.read_bytes() for path in (tmp_path / "up").iterdir()}
    assert written.keys() == {"config.json", "model.safetensors", "README.md", "curves.png"}
    assert hub.files["me/digits"] == written


def test_without_a_token_the_folder_is_written_and_the_error_says_what_to_do(swin, hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    words = [f"ckpt={swin}/checkpoints/best.ckpt", f"dir={tmp_path}/up", "options.push_to_hub=me/digits"]
    assert main(["export", *words]) == 2
    error = capsys.readouterr().err
    assert "HF_TOKEN" in error
    assert "hf_wrong" not in error
    assert load_file(tmp_path / "up" / "model.safetensors")


def test_a_folder_that_is_pushed_is_named_properly(swin, hub, tmp_path, capsys):
    assert main(["export", f"ckpt={swin}/checkpoints/best.ckpt", f"dir={tmp_path}", "options.push_to_hub=a/b/c"]) == 2
    assert "a/b/c" in capsys.readouterr().err
