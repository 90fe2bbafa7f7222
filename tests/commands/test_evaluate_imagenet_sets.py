"""`visionattn evaluate` on ImageNet's test sets: the figures of result.json, on one and on two processes."""

import json

import pytest
import torch
from safetensors.torch import save_file
from timm.data import ImageDataset, create_transform

import visionattn
from tests.commands.short_runs import newest
from tests.commands.test_processes import result_of
from tests.commands.test_processes import visionattn as command
from tests.data.helpers import closing, jpeg
from visionattn.cli import main
from visionattn.data.classification.imagenet import subset_labels, wordnet_ids

pytestmark = pytest.mark.filterwarnings(
    "default", "error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning"
)
PROTOCOL = {"crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model with 1,000 classes, and the file of its weights."""
    torch.manual_seed(5)
    model = visionattn.create_backbone("swin_pico", num_classes=1000).eval()
    model.head.fc.weight.data.normal_()
    path = tmp_path_factory.mktemp("weights") / "pico.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def logits_of(model, root, **changes):
    data = closing(ImageDataset(str(root), transform=create_transform((3, 32, 32), **{**PROTOCOL, **changes})))
    with torch.no_grad():
        return dict(zip(data.filenames(absolute=False), model(torch.stack([image for image, _ in data])), strict=True))


def plant(root, labels):
    for number, label in enumerate(labels):
        path = root / wordnet_ids()[label] / f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, (40 + 3 * number, 50)))


def arguments(path, data, root):
    chosen = ["backbone=swin_pico", f"weights={path}", f"data={data}", f"data.root={root}"]
    return ["evaluate", *chosen, "num_workers=0", "batch_size=2", "trainer.accelerator=cpu"]


def test_only_the_subsets_classes_are_answers(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    subset = list(subset_labels("imagenet-r"))
    labels = [subset[place] for place in (0, 5, 5, 150, 199, 30, 31)]
    plant(tmp_path / "r", labels)
    logits = logits_of(model[0], tmp_path / "r")
    named = wordnet_ids()
    right = {name: subset[int(row[subset].argmax())] == named.index(name.split("/")[0]) for name, row in logits.items()}
    free = {name: int(row.argmax()) for name, row in logits.items()}
    assert not set(free.values()) <= set(subset), "the test must see answers outside the subset"
    assert main(arguments(model[1], "imagenet_r", tmp_path / "r")) == 0
    result = json.loads((newest(tmp_path / "outputs" / "evaluate") / "result.json").read_text())
    assert result["metrics"]["top1"] == pytest.approx(100 * sum(right.values()) / 7)
    confidence = sum(float(row[subset].softmax(-1).max()) for row in logits.values()) / 7
    assert result["metrics"]["confidence"] == pytest.approx(100 * confidence, rel=1e-4)
    assert result["classes"] == 200
    assert (result["num_samples"], result["num_published"]) == (7, 30_000)
    assert "7 of 30,000 published images: the scores are not comparable" in " ".join(capsys.readouterr().out.split())


@pytest.mark.heavy
def test_real_on_two_processes_is_real_on_one(model, tmp_path, monkeypatch):
    plant(tmp_path / "real" / "val", [0, 1, 2, 3, 4])
    (tmp_path / "real" / "real.json").write_text(json.dumps([list(range(600)), [], list(range(999)), [], [7]]))
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
    words = [*arguments(model[1], "imagenet_real", tmp_path / "real"), "data.source.real_labels=real.json"]
    monkeypatch.chdir(tmp_path / "1")
    assert main(words) == 0
    done = command(*words, "trainer=ddp", "trainer.devices=2", cwd=tmp_path / "2")
    assert done.returncode == 0, done.stderr
    assert "pin_memory" not in done.stderr
    one, two = (result_of(tmp_path / str(count)) for count in (1, 2))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["metrics"]["real_images"] == 3
    for name in ("top1", "top5", "real_top1", "real_images"):
        assert one["metrics"][name] == two["metrics"][name], name
    assert one["metrics"]["ece"] == pytest.approx(two["metrics"]["ece"], rel=1e-5)  # other batches round otherwise
    assert one["ids_sha256"] == two["ids_sha256"]


def test_corruptions(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for corruption in ("fog", "snow"):
        for severity in (1, 2):
            plant(tmp_path / "c" / corruption / str(severity), [3, 5, 7])
    chosen = ["data.source.corruptions=[fog,snow]", "data.source.severities=[1,2]"]
    assert main([*arguments(model[1], "imagenet_c", tmp_path / "c"), *chosen]) == 0
    result = json.loads((newest(tmp_path / "outputs" / "evaluate") / "result.json").read_text())
    metrics = result["metrics"]
    assert result["protocol"]["crop_pct"] == 1.0  # ImageNet-C's files are cropped already
    logits = logits_of(model[0], tmp_path / "c" / "fog" / "1", crop_pct=1.0)
    wrong = [int(row.argmax()) != wordnet_ids().index(name.split("/")[0]) for name, row in logits.items()]
    assert metrics["error/fog"] == pytest.approx(100 * sum(wrong) / 3)
    assert metrics["ce/snow"] == pytest.approx(100 * metrics["error/snow"] / 86.6816)
    assert metrics["top1"] == pytest.approx(100 - metrics["error/fog"])
    assert "mce" not in metrics
