"""Every door that takes files, every file of the corpus: nothing runs, nothing hangs, each is refused by its name."""

import importlib
import json
import shutil
import time

import pytest
import timm
import torch
from omegaconf import OmegaConf
from PIL import Image

import visionattn
from tests.commands import hostile
from visionattn.cli import main
from visionattn.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("default")
LONGEST = 5.0
BACKBONE = ["backbone=swin_pico"]
DATA = ["trainer.accelerator=cpu"]
DOORS = {
    "train weights=": lambda path: ["train", *BACKBONE, *DATA, f"weights={path}"],
    "train ckpt=": lambda path: ["train", *BACKBONE, *DATA, f"ckpt={path}"],
    "evaluate ckpt=": lambda path: ["evaluate", *DATA, f"ckpt={path}"],
    "evaluate weights=": lambda path: ["evaluate", *BACKBONE, *DATA, "data=digits", f"weights={path}"],
    "compare weights=": lambda path: ["compare", "mixers=[window,full]", *BACKBONE, *DATA, f"weights={path}"],
    "export ckpt=": lambda path: ["export", f"ckpt={path}"],
    "predict ckpt=": lambda path: ["predict", f"ckpt={path}", "source=x.png"],
}
BUILDERS = ["evaluate ckpt=", "export ckpt=", "predict ckpt="]


@pytest.fixture(scope="module", autouse=True)
def _imported():
    """What the commands import counts for nothing in the time of a file."""
    for name in ("train", "evaluate", "export", "predict"):
        importlib.import_module(f"visionattn.commands.{name}")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Each file once for all doors; where they would leave their mark."""
    folder = tmp_path_factory.mktemp("corpus")
    mark = folder / "mark"
    made = {make.__name__: make(folder, mark) for make in (*hostile.WEIGHTS, *hostile.CONFIGS, *hostile.FOLDERS)}
    return made, mark


def refused(arguments, path, mark, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    start = time.process_time()  # of the processor, so that other work beside the tests counts for nothing
    code = main(arguments)
    seconds = time.process_time() - start
    error = capsys.readouterr().err
    assert code in (1, 2), error
    assert not mark.exists()
    assert not (mark.parent.parent / mark.name).exists()
    assert seconds < LONGEST, f"{seconds:.1f} s"
    assert "Traceback" not in error
    assert len(error) < 4000
    return error


@pytest.mark.parametrize(
    "door", [pytest.param(door, marks=pytest.mark.heavy if door.startswith("compare") else ()) for door in DOORS]
)
@pytest.mark.parametrize("make", hostile.WEIGHTS, ids=lambda make: make.__name__)
def test_weights_that_are_not_data(corpus, door, make, capsys, monkeypatch, tmp_path):
    made, mark = corpus
    path = made[make.__name__]
    assert path.name in refused(DOORS[door](path), path, mark, capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("door", BUILDERS)
@pytest.mark.parametrize("make", hostile.CONFIGS, ids=lambda make: make.__name__)
def test_configurations_that_act_or_unfold(corpus, door, make, capsys, monkeypatch, tmp_path):
    made, mark = corpus
    path = made[make.__name__]
    error = refused(DOORS[door](path), path, mark, capsys, monkeypatch, tmp_path)
    assert path.name in error or "_target_" in error


@pytest.mark.parametrize("make", [hostile.unfolds, hostile.nested, hostile.no_text], ids=lambda make: make.__name__)
def test_a_configuration_that_unfolds_when_a_run_goes_on(corpus, make, capsys, monkeypatch, tmp_path):
    made, mark = corpus
    path = made[make.__name__]
    assert path.name in refused(DOORS["train ckpt="](path), path, mark, capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("door", ["train weights=", "evaluate weights="])
@pytest.mark.parametrize("make", hostile.FOLDERS, ids=lambda make: make.__name__)
def test_folders_in_the_hubs_form(corpus, door, make, capsys, monkeypatch, tmp_path):
    made, mark = corpus
    path = made[make.__name__]
    assert path.name in refused(DOORS[door](path), path, mark, capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("target", ["os.system", "logging.os.system", "torch.load"])
def test_a_model_on_the_hub_whose_architecture_acts(tmp_path, target):
    """timm hands the arguments in config.json to our entry point, and that builds nothing it does not know."""
    arguments = {"architecture": {"_target_": target, "_args_": [f"mkdir {tmp_path}/mark"]}}
    described = {"architecture": "va_swin_pico", "num_classes": 10, "model_args": arguments, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="refused"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=False)
    assert not (tmp_path / "mark").exists()


def test_the_corpus_would_act(tmp_path):
    """The mark appears where such a file is read as most programs read it."""
    torch.load(hostile.old_torch_file(tmp_path, tmp_path / "mark"), weights_only=False)
    assert (tmp_path / "mark").exists()


def test_a_picture_that_would_fill_the_memory(tmp_path, capsys, monkeypatch):
    whole = hostile.contents(
        *("task=segmentation", "data=image_mask", "head=semantic_fpn", "data.root=x", "data.num_classes=2"),
        *("recipe=own", "data.image_size=512", "task.inference.stride=341"),
        *("data.train_transform.short_edge=512", "data.train_transform.long_edge=2048"),
    )
    whole["config"] = OmegaConf.to_yaml(OmegaConf.create(whole["config"]))
    torch.save(whole, tmp_path / "good.ckpt")
    path = hostile.picture_bomb(tmp_path)
    words = ["predict", f"ckpt={tmp_path}/good.ckpt", f"source={path}", "device=cpu"]
    error = refused(words, path, tmp_path / "mark", capsys, monkeypatch, tmp_path)
    assert "bomb.png cannot be read" in error


def test_pictures_that_would_fill_the_memory_are_counted_in_a_data_set(tmp_path, capsys, monkeypatch):
    bomb = hostile.picture_bomb(tmp_path)
    for split in ("train", "val"):
        for label in ("a", "b"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            shutil.copy(bomb, folder)
            for number in range(3):
                Image.new("RGB", (40, 40), (60 * number, 10, 90)).save(folder / f"{number}.png")
    words = ["data=image_folder", f"data.root={tmp_path}/data", "data.num_classes=2", "data.num_workers=0"]
    arguments = ["train", *BACKBONE, *DATA, *words, "data.batch_size=2", "data.image_size=32"]
    error = refused(arguments, None, tmp_path / "mark", capsys, monkeypatch, tmp_path)
    assert "bomb.png" in error


def test_loading_weights_from_python(corpus):
    made, mark = corpus
    for make in hostile.WEIGHTS:
        with pytest.raises(visionattn.weights.read.CheckpointError, match=made[make.__name__].name):
            visionattn.create_backbone("swin_pico", weights=made[make.__name__])
    assert not mark.exists()
