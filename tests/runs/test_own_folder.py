"""``data=FOLDER``: what is chosen for it, what of it a person may choose, and that nothing is chosen behind others."""

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from tests.corpus import trees
from visionattn.config import compose
from visionattn.data.mirroring import WRITING
from visionattn.errors import ConfigError, DataError
from visionattn.runs import own_folder
from visionattn.runs.infer import infer
from visionattn.runs.own_folder import RECOGNIZED, with_folder
from visionattn.runs.settings import Composition
from visionattn.weights import reach


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two classes of images of the size of photographs, in the current folder."""
    for label in ("cat", "dog"):
        (tmp_path / "my pets" / label).mkdir(parents=True)
        Image.new("RGB", (300, 200)).save(tmp_path / "my pets" / label / "0.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_folder, "_gpu", lambda typed: False)
    monkeypatch.setattr(own_folder, "why_out_of_reach", lambda name: "")
    return "data='my pets'"


def words(*given, command="train"):
    return dict(word.partition("=")[::2] for word in with_folder(given, command))


def test_a_folder_is_replaced_by_its_layout_a_backbone_and_weights(photos):
    found = words(photos, "seed=3")
    assert {key: found[key] for key in ("data", "data.root", "backbone", "weights", "seed")} == {
        "data": "image_folder",
        "data.root": "'my pets'",
        "backbone": "shvit_s1",
        "weights": "timm",
        "seed": "3",
    }
    cfg = compose("train", with_folder([photos], "train"))
    assert cfg.recipe_name == "classification_finetune"
    assert cfg[RECOGNIZED].weights == "timm's shvit_s1.in1k"
    made = Composition(typed=with_folder([photos], "train"), chosen={"data": "", "backbone": "", "weights": ""})
    assert made.keys == {"data.root"}


def share(*given):
    """The share of images that a training mirrors, and why."""
    cfg = compose("train", with_folder(given, "train"))
    (one,) = [one for one in infer(cfg).values if one.key.endswith("flip")]
    return one.value, one.how


def test_writing_is_not_mirrored(tmp_path):
    for label in ("A", "7"):
        for index in range(2):
            (tmp_path / label).mkdir(exist_ok=True)
            Image.new("RGB", (300, 200)).save(tmp_path / label / f"{index}.jpg")
    assert share(f"data={tmp_path}") == (0.0, WRITING)
    stated = compose("train", with_folder([f"data={tmp_path}", "data.train_transform.hflip=0.3"], "train"))
    infer(stated)
    assert stated.data.train_transform.hflip == 0.3
    (tmp_path / "A").rename(tmp_path / "other")
    assert share(f"data={tmp_path}")[0] == 0.5


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("labels.csv", ("A", "B"), "a mirror changes"),
        ("labels.csv", ("turn_left", "turn_right"), "a mirror makes turn_right of turn_left"),
        ("labels.csv", ("0", "1"), ""),
        (
            "data.yaml",
            "train: images/train\nval: images/val\nnames: {0: LeftHand, 1: RightHand, 2: hat}\n",
            "a mirror makes",
        ),
        ("data.yaml", "train: images/train\nval: images/val\nnames: [left shoe, hat]\n", ""),
        ("data.yaml", "train: images/train\nval: images/val\nnames: ['0']\n", ""),
    ],
)
def test_names_in_files_are_judged_as_those_of_folders(tmp_path, file, text, why):
    if file == "data.yaml":
        (tmp_path / file).write_text(text)
        for folder in ("images/train", "images/val"):
            (tmp_path / folder).mkdir(parents=True)
            Image.new("RGB", (300, 200)).save(tmp_path / folder / "0.jpg")
    else:
        for index in range(8):
            Image.new("RGB", (300, 200)).save(tmp_path / f"{index}.jpg")
        (tmp_path / file).write_text("file,label\n" + "".join(f"{index}.jpg,{text[index % 2]}\n" for index in range(8)))
    found, how = share(f"data={tmp_path}")
    assert (found, why in how) == (0.0 if why else 0.5, True)


def test_a_head_that_does_not_fit_the_folder_is_named_with_what_does(tmp_path):
    trees.coco(tmp_path)
    with pytest.raises(DataError, match=r"does not train head=upernet; leave head= away$"):
        words(f"data={tmp_path}", "head=upernet")
    with pytest.raises(DataError, match=r"does not train task=segmentation; leave task= away$"):
        words(f"data={tmp_path}", "task=segmentation")
    with pytest.raises(
        DataError, match=r"leave head= away, or learn objects alone with task\.panoptic=false task\.instance"
    ):
        words(f"data={tmp_path}", "head=mask2former")
    assert words(f"data={tmp_path}", "head=mask2former", "task.panoptic=false")["data"] == "coco"


def test_a_gpu_gets_a_larger_backbone(photos, monkeypatch):
    monkeypatch.setattr(own_folder, "_gpu", lambda typed: True)
    assert words(photos)["backbone"] == "swin_tiny"


def test_without_weights_the_reason_is_told_and_a_small_backbone_learns(photos, monkeypatch):
    monkeypatch.setattr(own_folder, "why_out_of_reach", lambda name: f"{name} is far away")
    found = words(photos)
    assert (found["backbone"], "weights" in found) == ("dinat_pico", False)
    assert "shvit_s1.in1k is far away; weights=FILE starts from a file" in found[RECOGNIZED]
    assert "weights" not in words(photos, "backbone=nat_mini")
    assert "timm has no weights for nat_mini, its authors" in words(photos, "backbone=nat_mini")[RECOGNIZED]


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        ("backbone=swin_small", ()),
        ("weights=null", ("backbone",)),
        ("weights=a.pth", ("backbone",)),
        ("weights=timm", ()),
        ("experiment=finetune/classification", ("backbone", "weights")),
    ],
)
def test_what_somebody_chose_stays(photos, given, absent):
    found, (key, _, value) = words(photos, given), given.partition("=")
    assert found[key] == value
    assert not set(absent) & set(found)


def test_small_images_start_from_nothing(tmp_path):
    trees.image_folder(tmp_path)
    found = words(f"data={tmp_path}")
    assert (found["backbone"], "weights" in found) == ("dinat_pico", False)
    assert (found["recipe"], found["data.train_transform.auto_augment"]) == ("digits", "null")
    assert "for small images" in found[RECOGNIZED]
    assert words(f"data={tmp_path}", "data.train_transform.re_prob=0.1")["data.train_transform.re_prob"] == "0.1"
    assert compose("train", with_folder([f"data={tmp_path}"], "train")).trainer.max_epochs == 36


def test_a_run_that_goes_on_keeps_what_it_began_with(photos, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"backbone_name": "swin_pico", "weights": None}))
    found = words(photos, "hydra.run.dir=run", "resume=auto")
    assert (found["backbone"], "weights" in found) == ("swin_pico", False)


def test_small_images_go_on_with_all_that_was_chosen_for_them(tmp_path):
    trees.image_folder(tmp_path / "ants")
    began = with_folder([f"data={tmp_path / 'ants'}"], "train")
    cfg = compose("train", [*began, "backbone_name=dinat_pico", "recipe_name=digits"])
    (tmp_path / "run").mkdir()
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")
    assert with_folder([f"data={tmp_path / 'ants'}", f"hydra.run.dir={tmp_path / 'run'}", "resume=auto"], "train") == [
        *began,
        f"hydra.run.dir={tmp_path / 'run'}",
        "resume=auto",
    ]


def test_a_run_that_goes_on_without_being_named_keeps_its_weights(photos, tmp_path, monkeypatch):
    """The network that is gone meanwhile is not asked again: the run that had its weights goes on."""

    def begin(name, *given):
        chosen = words(photos, *given)["backbone"]
        cfg = compose("train", [*with_folder([photos, *given], "train"), f"backbone_name={chosen}", "recipe_name=x"])
        folder = tmp_path / "outputs" / "classification" / chosen / name
        folder.mkdir(parents=True)
        OmegaConf.save(cfg, folder / "config.yaml")

    begin("2026-01-02_03-04-05")
    begin("2026-01-02_03-04-06", "backbone=nat_mini")
    monkeypatch.setattr(own_folder, "why_out_of_reach", lambda name: f"{name} is far away")
    found = words(photos, "resume=auto")
    assert (found["backbone"], found["weights"]) == ("shvit_s1", "timm")
    assert words(photos, "resume=auto", "backbone=nat_mini")["backbone"] == "nat_mini"
    assert words(photos)["backbone"] == "dinat_pico"
    (tmp_path / "others").symlink_to(tmp_path / "my pets")
    assert words("data=others", "resume=auto")["backbone"] == "dinat_pico"


def test_other_commands_only_get_the_data(photos, capsys):
    assert words(photos, command="data doctor") == {"data": "image_folder", "data.root": "'my pets'"}
    assert "is read as data=image_folder: class folders cat, dog in it" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["data=coco", "data.root=x"], ["data=digits"], ["seed=1"], ["data=nothing"]])
def test_kinds_of_data_are_left_alone(given):
    assert with_folder(given, "train") == given


def test_folders_that_contradict_are_refused(photos, tmp_path):
    with pytest.raises(ConfigError, match=r"data=my pets and data.root=x name two folders"):
        words(photos, "data.root=x")
    (tmp_path / "coco").mkdir()
    with pytest.raises(ConfigError, match=r"data=\./coco recognizes that folder"):
        words("data=coco")
    with pytest.raises(ConfigError, match=r"names several folders"):
        words("data=my,coco")


def test_a_name_that_is_neither_kind_nor_folder_is_answered_with_the_nearest_of_both(photos):
    with pytest.raises(ConfigError, match=r"there is none my_pets here; did you mean my pets\?"):
        compose("train", with_folder(["data=my_pets"], "train"))
    with pytest.raises(ConfigError, match=r"data=digits reads no folder; data=my_pets recognizes one"):
        compose("train", ["data.root=my_pets"])


def test_weights_are_looked_for_in_the_cache_and_over_the_network(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file, revision: str(tmp_path))
    assert reach.why_out_of_reach("a.b") == ""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file, revision: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in reach.why_out_of_reach("a.b")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in reach.why_out_of_reach("a.b")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "several processes" in reach.why_out_of_reach("a.b")
