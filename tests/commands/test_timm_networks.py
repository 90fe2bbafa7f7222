"""Networks of timm with timm's own classifier, in every command: timm's preprocessing, timm's logits."""

import json

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config

import visionattn
from tests.commands.short_runs import TINY, newest
from tests.data.helpers import closing
from visionattn.cli import main
from visionattn.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.filterwarnings("default")
NAME = "test_vit"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Ten drawn images of ten classes in ImageNet's layout."""
    root = tmp_path_factory.mktemp("tree") / "s"
    words = ["make=shapes", "layout=imagenet", f"dir={root}", "num_train=10", "num_val=10", "image_size=72"]
    assert main(["data", *words]) == 0
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network of timm with ten classes, and its file."""
    torch.manual_seed(1)
    model = timm.create_model(NAME, num_classes=10).eval()
    path = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.save(model.state_dict(), path)
    return path, model


def test_the_logits_of_an_evaluation_are_those_of_timms_own_script(tree, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, model = weights
    kept = {}
    monkeypatch.setattr(
        "visionattn.tasks.classification.observer.calibration",
        lambda said: kept.update(said=said) or {"ece": 0.0, "confidence": 0.0},
    )
    words = [f"backbone=timm/{NAME}", f"weights={path}", "num_workers=0", "batch_size=4", "trainer.accelerator=cpu"]
    assert main(["evaluate", *words, "data=image_folder", f"data.root={tree}"]) == 0
    result = json.loads((newest(tmp_path / "outputs" / "evaluate") / "result.json").read_text())
    config = resolve_data_config(model=model, use_test_size=True)
    said = result["protocol"]
    assert (said["size"], said["crop_pct"]) == ([160, 160], config["crop_pct"])
    assert (said["mean"], said["std"]) == (list(config["mean"]), list(config["std"]))
    dataset = closing(create_dataset("", root=str(tree / "val")))
    names = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    loader = create_loader(
        dataset, batch_size=10, use_prefetcher=False, num_workers=0, **{name: config[name] for name in names}
    )
    with torch.no_grad():
        expected = torch.cat([model(images) for images, _ in loader]).softmax(-1)
    order = {name: i for i, name in enumerate(f"val/{name}" for name in dataset.filenames(absolute=False))}
    for name, prediction, confidence in zip(
        kept["said"].ids, kept["said"].prediction, kept["said"].confidence, strict=True
    ):
        own = expected[order[name]]
        assert (prediction, confidence) == (int(own.argmax()), pytest.approx(float(own.max()), abs=1e-6))


def test_a_classifier_of_timm_loads_by_its_name(weights):
    path, theirs = weights
    model = visionattn.load(NAME, weights=path, device="cpu")
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(model.task(images), theirs(images), rtol=0, atol=1e-6)
    assert len(model.predict(torch.rand(3, 50, 70)).labels) == 5


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("resnet18", CheckpointError, "HF_HUB_OFFLINE forbids to fetch it; without a network, download them elsewhere"),
        ("timm/resnt18", ConfigError, r"timm has no network 'resnt18'; did you mean resnet18 or "),
        ("resnt18", ConfigError, r"a backbone of ours or of timm; did you mean resnet18\?"),
        ("timm/resnet18.a4_in1k", ConfigError, r"timm has no weights 'a4_in1k' of resnet18; did you mean resnet18\.a"),
        ("vit_small_patch16_dinov3", CheckpointError, "without a classifier; train one on it: visionattn train"),
        ("coatnet_0_224", CheckpointError, "timm publishes no weights for coatnet_0_224"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(name, error, sentence, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=sentence):
        visionattn.load(name)


def test_a_published_classifier_is_exported_under_timms_name(weights, tmp_path):
    path, theirs = weights
    folder = tmp_path / "out"
    assert main(["export", f"backbone=timm/{NAME}", f"weights={path}", "format=timm", f"dir={folder}"]) == 0
    copy = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(copy(images), theirs(images), rtol=0, atol=1e-6)
        loaded = visionattn.load(folder, device="cpu")
        torch.testing.assert_close(loaded.task(images), theirs(images), rtol=0, atol=1e-6)
    assert loaded.data.image_size == (160, 160)


def test_a_fine_tuned_network_becomes_a_checkpoint_of_timm(tmp_path):
    run, folder = tmp_path / "run", tmp_path / "out"
    assert main(["train", f"backbone=timm/{NAME}", *TINY, f"hydra.run.dir={run}"]) == 0
    assert main(["export", f"ckpt={run}", "format=timm", f"dir={folder}", "options.score=false"]) == 0
    copy = timm.create_model(NAME, num_classes=10, checkpoint_path=str(folder / "model.safetensors")).eval()
    images, model = torch.rand(2, 3, 160, 160), visionattn.load(run, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(copy(images), model.task(images), rtol=0, atol=1e-6)
    assert visionattn.load(folder).class_names == [str(digit) for digit in range(10)]
