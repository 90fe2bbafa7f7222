"""Scoring weights without any run of ours: the same predictions as timm's own way, the protocol of the weights."""

import json

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import get_pretrained_cfg

from tests.commands.short_runs import newest
from tests.data.helpers import closing
from visionattn.backbones import zoo
from visionattn.cli import main
from visionattn.runs.pretrained import PROTOCOL, protocol_of

pytestmark = pytest.mark.filterwarnings(
    "default", "error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning"
)
SMALL = "[1,1,1,1]"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """11 drawn images of different shapes in ImageNet's layout."""
    root = tmp_path_factory.mktemp("tree")
    assert (
        main(["data", "make=shapes", "layout=imagenet", f"dir={root}/s", "num_train=10", "num_val=11", "image_size=72"])
        == 0
    )
    for number, path in enumerate(sorted((root / "s" / "val").rglob("*.*"))):
        with Image.open(path) as image:
            image.resize((60 + 7 * (number % 5), 90 - 5 * (number % 4))).save(path)
    return root / "s"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """timm's swin_tiny with one block a stage and ten classes, in timm's naming, and the model itself."""
    torch.manual_seed(1)
    model = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=10).eval()
    path = tmp_path_factory.mktemp("weights") / "swin.safetensors"
    save_file(model.state_dict(), path)
    return path, model


def timms_answers(model, tree, **changes):
    """Logits as timm's validate.py computes them: resolve_data_config, create_loader."""
    config = resolve_data_config(changes, model=model)
    dataset = closing(create_dataset("", root=str(tree / "val")))
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=8,
        use_prefetcher=False,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        num_workers=0,
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in loader])
    names = [f"val/{name}" for name in dataset.filenames(absolute=False)]
    return dict(zip(names, logits, strict=True)), dataset


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], {}),
        (
            ["data.eval_transform.crop_mode=squash", "data.eval_transform.crop_pct=1.0"],
            {"crop_mode": "squash", "crop_pct": 1.0},
        ),
        (
            [
                "data.eval_transform.crop_mode=border",
                "data.eval_transform.interpolation=bilinear",
                "data.mean=[0.5,0.4,0.3]",
            ],
            {"crop_mode": "border", "interpolation": "bilinear", "mean": (0.5, 0.4, 0.3)},
        ),
    ],
    ids=["center", "squash", "border"],
)
def test_the_same_predictions_as_timms_own_way(tree, weights, ours, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, model = weights
    seen = {}
    monkeypatch.setattr(
        "visionattn.tasks.classification.observer.calibration",
        lambda said: seen.update(said=said) or {"ece": 0.0, "confidence": 0.0},
    )
    arguments = ["backbone=swin_tiny", f"backbone.depths={SMALL}", f"weights={path}", "num_workers=0", "batch_size=5"]
    assert (
        main(["evaluate", *arguments, "data=image_folder", f"data.root={tree}", "trainer.accelerator=cpu", *ours]) == 0
    )
    expected, _ = timms_answers(model, tree, **theirs)
    said = seen["said"]
    assert sorted(said.ids) == sorted(expected)
    for name, prediction, confidence in zip(said.ids, said.prediction, said.confidence, strict=True):
        assert prediction == int(expected[name].argmax())
        assert confidence == pytest.approx(float(expected[name].softmax(-1).max()), rel=1e-4)


def test_the_result_says_what_it_depends_on(tree, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)
    path, model = weights
    arguments = ["backbone=swin_tiny", f"backbone.depths={SMALL}", f"weights={path}", "num_workers=0"]
    assert main(["evaluate", *arguments, "data=image_folder", f"data.root={tree}", "trainer.accelerator=cpu"]) == 0
    result = json.loads((newest(tmp_path / "outputs" / "evaluate") / "result.json").read_text())
    assert result["protocol"]["crop_pct"] == 0.9  # the card's, not the data configuration's 0.875
    assert result["protocol"]["interpolation"] == "bicubic"
    assert result["num_samples"] == 11
    assert result["checkpoint"]["path"] == str(path)
    assert len(result["checkpoint"]["sha256"]) == 64
    expected, dataset = timms_answers(model, tree)
    right = sum(
        int(expected[f"val/{name}"].argmax()) == label
        for name, (_, label) in zip(dataset.filenames(absolute=False), dataset.reader.samples, strict=True)
    )
    assert result["metrics"]["top1"] == pytest.approx(100 * right / 11)
    confidence = sum(float(logits.softmax(-1).max()) for logits in expected.values()) / 11
    assert result["metrics"]["confidence"] == pytest.approx(100 * confidence, rel=1e-4)
    assert 0 <= result["metrics"]["ece"] <= 100
    assert "224x224, crop_pct 0.9, crop_mode center, interpolation bicubic" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "evaluate needs ckpt=<checkpoint of a run>, or a model"),
        (["backbone=swin_tiny"], "evaluate needs ckpt=<checkpoint of a run>, or a model"),
        (["backbone=swin_tiny", "weights=timm", "ckpt=x"], "not both"),
        (["backbone=swin_tiny", "weights=/nowhere.pth"], "there is no checkpoint at /nowhere.pth"),
        (["backbone=dinat_tiny", "weights=timm"], "timm publishes no weights for the backbone dinat_tiny"),
    ],
)
def test_what_is_missing_is_one_sentence(arguments, message, capsys):
    assert main(["evaluate", *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_without_data_it_says_so(weights, capsys):
    path, _ = weights
    assert main(["evaluate", "backbone=swin_tiny", f"backbone.depths={SMALL}", f"weights={path}"]) == 2
    assert "name a data set" in capsys.readouterr().err


def test_without_a_network_it_is_one_sentence(monkeypatch, capsys, tmp_path):
    def refuse(*_, **__):
        raise OSError("could not reach the hub")

    monkeypatch.setattr("visionattn.weights.from_timm.timm.create_model", refuse)
    monkeypatch.setattr("visionattn.weights.from_timm.why_out_of_reach", lambda *_, **__: "")
    assert main(["evaluate", "backbone=swin_tiny", f"backbone.depths={SMALL}", "weights=timm"]) == 1
    error = capsys.readouterr().err
    assert "timm could not download the weights swin_tiny_patch4_window7_224.ms_in1k" in error
    assert "Traceback" not in error


PUBLISHED = {
    name: contents["card"]["weights"]["timm"]
    for name, contents in zoo.backbone_files().items()
    if (contents["card"].get("weights") or {}).get("timm")
}


def test_every_card_states_timms_protocol():
    assert len(PUBLISHED) > 25
    for name, published in PUBLISHED.items():
        card = protocol_of(zoo.default_cfgs[zoo.PREFIX + name].cfgs[""].to_dict())
        assert card == protocol_of(get_pretrained_cfg(published).to_dict()), name
        assert set(card) == set(PROTOCOL)
