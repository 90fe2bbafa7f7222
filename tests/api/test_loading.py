"""``visionattn.load``: the same model from every form, and the figures of the command."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import visionattn
from visionattn.cli import main
from visionattn.errors import CheckpointError, ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.RandomState(i).randint(0, 255, (20 + i, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def model(trained):
    return visionattn.load(trained, device="cpu")


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """The run's model in both forms that load."""
    folder = tmp_path_factory.mktemp("exports")
    for form in ("timm", "safetensors"):
        assert main(["export", f"ckpt={trained}", f"format={form}", f"dir={folder / form}", "options.score=false"]) == 0
    return folder


def test_the_figures_are_those_of_the_command(trained, model, photos, tmp_path):
    assert main(["predict", f"ckpt={trained}", f"source={photos}", f"dir={tmp_path / 'out'}", "device=cpu"]) == 0
    said = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    results = model.predict(photos)
    assert [one.to_dict()["top"] for one in results] == [one["top"] for one in said]
    files = results.save(tmp_path / "mine")
    assert {file.name for file in files.values()} == {"sheet.png", "predictions.csv", "predictions.json"}


def test_the_backbone_gives_its_last_map_and_features(model):
    images = torch.randn(1, model.backbone.in_chans, 32, 48)
    with torch.no_grad():
        last = model.backbone(images)
        maps = model.backbone.forward_intermediates(images, norm=True, intermediates_only=True)
    assert last.ndim == 4
    assert torch.equal(last, maps[-1])


@pytest.mark.parametrize("form", ["timm", "safetensors"])
def test_an_export_predicts_as_its_run(written, model, photos, form):
    copy = visionattn.load(written / form, device="cpu")
    assert copy.class_names == model.class_names
    assert np.allclose(copy.predict(photos / "0.png").scores, model.predict(photos / "0.png").scores, atol=1e-6)


def test_every_kind_of_image_is_the_same_image(model, photos):
    image = Image.open(photos / "1.png")
    pixels = np.asarray(image)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    expected = model.predict(photos / "1.png").scores
    for same in (image, pixels, tensor, tensor / 255, str(photos / "1.png")):
        assert np.array_equal(model.predict(same).scores, expected)
    several = model.predict([image, photos / "1.png", tensor])
    assert [one.size for one in several] == [(30, 21)] * 3
    assert len(model.predict(torch.stack([tensor, tensor]))) == 2
    assert len(model.predict(str(photos / "*.png"), batch_size=2)) == 3


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (torch.zeros(5, 8, 8), r"3 channels, got a tensor \(C, H, W\) of shape \(5, 8, 8\)"),
        (torch.rand(3, 8, 8) * 9, "floats from 0 to 1; got floats from"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "got int64"),
        (np.zeros(7), r"got one of shape \(7,\)"),
        ([], "no image in the list"),
        (3, "got 3"),
        ("nowhere.png", "was not found"),
    ],
)
def test_what_is_no_image_is_told(model, wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        model.predict(wrong)


def test_an_unreadable_image_is_named(model, photos, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be read"):
        model.predict([photos / "0.png", tmp_path / "broken.jpg"])


@pytest.mark.parametrize("option", [{"score": 2}, {"top_k": 0}, {"batch_size": True}])
def test_an_impossible_option_is_named(model, photos, option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        model.predict(photos / "0.png", **option)


def test_what_is_nothing_is_told_with_the_nearest_name(tmp_path):
    with pytest.raises(ConfigError, match="did you mean swin_tiny"):
        visionattn.load("swin_tinny")
    with pytest.raises(CheckpointError, match="there are no weights in the folder"):
        visionattn.load(tmp_path)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CheckpointError, match="holds the graph model"):
        visionattn.load(tmp_path)


def test_weights_alone_are_told_how_they_load(written, tmp_path):
    shutil.copy(written / "safetensors" / "model.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match="holds weights alone"):
        visionattn.load(tmp_path)


def test_a_name_takes_weights_from_a_file(tmp_path):
    network = visionattn.create_backbone("dinat_pico", num_classes=4)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = visionattn.load("dinat_pico", weights=tmp_path / "weights.pth", device="cpu")
    image = torch.rand(3, 64, 64)
    assert len(model.predict(image).labels) == 4
    assert "ClassificationTask" in repr(model)


def test_the_package_shows_what_it_offers():
    assert set(visionattn.__all__) == {name for name in dir(visionattn) if name == "__version__" or name[0] != "_"}
    with pytest.raises(AttributeError) as told:
        _ = visionattn.creat_backbone
    assert (told.value.name, told.value.obj) == ("creat_backbone", visionattn)  # Python names the nearest then
    for name in visionattn.__all__:
        assert getattr(visionattn, name) is not None
