"""``weights=`` from anywhere: what is taken, resized and left out, and what is said about it."""

import huggingface_hub
import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from tests.commands.short_runs import TINY
from tests.export.hub import Hub
from visionattn import config
from visionattn.backbones import TimmBackbone
from visionattn.cli import main
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.pretrained import check_weights, load_pretrained
from visionattn.weights.load import load_model
from visionattn.weights.sources import check_source

FILLED = ["run_dir=x", "name=x", "backbone_name=x", "recipe=own"]


def task(*words):
    return config.instantiate(config.compose("train", [*FILLED, *words]).task)


def classifier(num_classes, *words):
    return task("data=image_folder", "data.root=x", "backbone=swin_pico", f"data.num_classes={num_classes}", *words)


def segmenter(num_classes, *words):
    shared = ("task=segmentation", "data=image_mask", "data.root=x", "head=semantic_fpn", "backbone=swin_pico")
    sizes = ("data.image_size=512", "data.train_transform.short_edge=512", "data.train_transform.long_edge=2048")
    return task(*shared, *sizes, "task.inference.stride=341", f"data.num_classes={num_classes}", *words)


def equal(ours, theirs, prefix=""):
    mine, other = ours.state_dict(), theirs.state_dict()
    return {name for name in mine if name.startswith(prefix) and torch.equal(mine[name], other[name])}


@pytest.fixture
def saved(tmp_path):
    made = classifier(10)
    torch.save({"state_dict": made.state_dict()}, tmp_path / "run.ckpt")
    return made, tmp_path / "run.ckpt"


def test_the_backbone_alone_and_the_whole_model(saved):
    made, path = saved
    other = classifier(10)
    report = load_pretrained(other, str(path))
    assert len(report.taken) == len(made.backbone.state_dict()) == len(equal(other.backbone, made.backbone))
    assert report.left_out == ["head.classifier.fc.weight", "head.classifier.fc.bias"] or len(report.left_out) == 2
    assert report.fresh == ["head.classifier.fc.weight (10, 192)", "head.classifier.fc.bias (10,)"]
    report = load_pretrained(other, str(path), "model")
    assert equal(other, made) == set(made.state_dict())
    assert report.fresh == report.left_out == []


def test_a_whole_model_of_another_number_of_classes(saved):
    made, path = saved
    other = classifier(7)
    report = load_pretrained(other, str(path), "model")
    assert len(equal(other.backbone, made.backbone)) == len(made.backbone.state_dict())
    assert report.fresh == ["head.classifier.fc.weight (7, 192)", "head.classifier.fc.bias (7,)"]
    assert "2 fresh" in report.summary()


def test_another_window_is_resized_and_said(saved):
    made, path = saved
    other = classifier(10, "mixer@backbone.mixers.s2=window")
    report = load_pretrained(other, str(path), "model")
    assert set(report.resized) == {f"stages.1.blocks.{i}.mixer.bias_table" for i in (0, 1)}
    assert next(report.lines()) == "resized: stages.1.blocks.0.mixer.bias_table (4, 7, 7) -> (4, 13, 13)"
    assert other.backbone.stages[1].blocks[0].mixer.bias_table.shape == (4, 13, 13)
    assert made.backbone.stages[1].blocks[0].mixer.bias_table.shape == (4, 7, 7)


def test_a_segmentation_model_gives_its_backbone_or_its_head(tmp_path, saved):
    made = segmenter(5)
    torch.save({"state_dict": made.state_dict()}, tmp_path / "seg.ckpt")
    report = load_pretrained(other := classifier(10), str(tmp_path / "seg.ckpt"))
    assert len(equal(other.backbone, made.backbone)) == len(made.backbone.state_dict())
    assert "head.decoder.classify.1.weight" in report.left_out
    report = load_pretrained(other := segmenter(3), str(tmp_path / "seg.ckpt"), "model")
    assert report.fresh == ["head.decoder.classify.1.weight (3, 128, 1, 1)", "head.decoder.classify.1.bias (3,)"]
    assert len(equal(other.head, made.head)) == len(made.head.state_dict()) - 2
    with pytest.raises(CheckpointError, match=r"missing: .*decoder"):
        load_pretrained(segmenter(3), str(saved[1]), "model")


def test_a_head_of_another_width_is_an_error_that_changes_nothing(tmp_path):
    torch.save({"state_dict": segmenter(5).state_dict()}, tmp_path / "seg.ckpt")
    other = segmenter(5, "head.decoder.branch_channels=64")
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"the model needs \(64, 256, 3, 3\)|the model needs"):
        load_pretrained(other, str(tmp_path / "seg.ckpt"), "model")
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_weights_without_a_head_and_words_that_mean_nothing(tmp_path, saved):
    save_file(saved[0].backbone.state_dict(), tmp_path / "bare.safetensors")
    assert len(load_pretrained(classifier(10), str(tmp_path / "bare.safetensors")).taken) == 90
    for words, message in [
        (
            (str(tmp_path / "bare.safetensors"), "model"),
            "have no head for this task; weights_part=backbone loads the backbone alone",
        ),
        ((str(tmp_path),), "no weights in the folder"),
        (("no_such_model",), "is not a file, a folder or a timm model"),
        (("/nowhere.pth",), r"there is no checkpoint at /nowhere\.pth"),
        (("runs/none",), "weights=runs/none is not a file, a folder or a timm model"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            load_pretrained(classifier(10), *words)
    with pytest.raises(ConfigError, match="weights_part is one of"):
        load_pretrained(classifier(10), str(saved[1]), "head")


def test_a_folder_in_the_hubs_form_and_a_folder_of_a_run(exported, swin):
    for place in (f"local-dir:{exported}", str(exported), str(swin)):
        report = load_pretrained(other := classifier(10), place, "model")
        assert report.fresh == []
        assert len(report.taken) == 92
    state = torch.load(swin / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(other.head.classifier.fc.weight, state["head.classifier.fc.weight"])


def test_a_repository_on_the_hub(exported, swin, monkeypatch, tmp_path):
    hub = Hub()
    hub.files["me/digits"] = {path.name: path.read_bytes() for path in exported.iterdir()}
    with hub.running():
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        report = load_pretrained(other := classifier(7), "hf-hub:me/digits", "model")
        with pytest.raises(CheckpointError, match="me/nothing"):
            load_pretrained(classifier(7), "hf-hub:me/nothing")
    state = torch.load(swin / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(other.backbone.norm.weight, state["backbone.norm.weight"])
    assert report.title == "Swin Transformer (timm)"


def test_a_name_of_timms(saved, monkeypatch):
    asked = []

    def weights(card, num_classes, in_chans):
        asked.append((card["weights"]["timm"], num_classes))
        return saved[0].backbone.state_dict()

    monkeypatch.setattr("visionattn.weights.sources.timm_weights", weights)
    load_pretrained(classifier(10), "swin_tiny_patch4_window7_224.ms_in1k")
    load_pretrained(classifier(10), "timm:swin_tiny_patch4_window7_224")
    assert asked == [("swin_tiny_patch4_window7_224.ms_in1k", 0), ("swin_tiny_patch4_window7_224", 0)]


@pytest.mark.filterwarnings("default")
def test_the_command_reports_and_the_card_keeps_it(exported, tmp_path, capsys):
    words = ["backbone=swin_pico", "mixer@backbone.mixers.s1=window", f"weights={exported}", "weights_part=model"]
    run = tmp_path / "run"
    assert main(["train", *words, *TINY, "trainer.max_epochs=1", f"hydra.run.dir={run}"]) == 0
    out = capsys.readouterr().out
    assert "92 tensors loaded, 4 resized" in " ".join(out.split())
    assert "resized: stages.0.blocks.1.mixer.bias_table (2, 7, 7) -> (2, 13, 13)" in out
    assert "92 tensors loaded" in (run / "README.md").read_text()


@pytest.mark.filterwarnings("default")
def test_evaluation_takes_a_folder_and_its_protocol(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["backbone=swin_pico", f"weights={exported}", "data=digits", "trainer.accelerator=cpu"]
    assert main(["evaluate", *words]) == 0, capsys.readouterr().err
    assert "bilinear" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "classes", "taken"), [("test_resnet", 10, 2), ("test_vit", 10, 2), ("test_resnet", 7, 0)]
)
def test_a_whole_checkpoint_of_timm_gives_its_logits(name, classes, taken, tmp_path):
    """Backbone and classifier; a classifier of other classes starts fresh."""
    theirs = timm.create_model(name, num_classes=classes).eval()
    save_file(theirs.state_dict(), tmp_path / "x.safetensors")
    made = task("data=image_folder", "data.root=x", f"backbone=timm/{name}", "data.num_classes=10").eval()
    report = load_pretrained(made, str(tmp_path / "x.safetensors"), "model")
    for names in (report.taken, report.fresh):
        head = [one for one in names if one.startswith("head.")]
        assert len(head) == (taken if names is report.taken else 2 - taken)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        logits, expected = made.head(made.backbone.forward_intermediates(images)[1]), theirs(images)
    if taken:
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)


def test_a_classifier_of_two_layers_is_refused():
    backbone = TimmBackbone("deit_tiny_distilled_patch16_224", arguments={"embed_dim": 32, "depth": 1, "num_heads": 2})
    state = timm.create_model("deit_tiny_distilled_patch16_224", embed_dim=32, depth=1, num_heads=2).state_dict()
    with pytest.raises(CheckpointError, match=r"head\.weight.*head_dist\.bias, which one linear layer cannot take"):
        load_model(backbone, torch.nn.Identity(), state)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("timm", "timm's test_vit is not in the Hub's cache, and HF_HUB_OFFLINE"),
        ("timm:resnet18", "timm's resnet18 is not in the Hub's cache"),
        ("hf-hub:nobody/nothing", "nobody/nothing is not in the Hub's cache"),
        ("nowhere", "weights=nowhere is not a file"),
    ],
)
def test_weights_out_of_reach_are_told_by_a_dry_run(weights, sentence, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=sentence):
        check_source(weights, {"weights": {"timm": "test_vit"}})


def test_a_folder_without_weights_is_refused_in_a_dry_run_too(tmp_path):
    with pytest.raises(CheckpointError, match="there are no weights in the folder"):
        check_weights(classifier(10), OmegaConf.create({"weights": str(tmp_path), "weights_part": "backbone"}))
