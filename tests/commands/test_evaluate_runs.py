"""Scoring a run: its own figures again, on the same files by another name, with classes in another order, changed."""

import json
from pathlib import Path

import pytest
import torch

from visionattn.cli import main
from visionattn.data.classes import ClassInfo
from visionattn.data.shapes import make_shapes
from visionattn.heads.panoptic.head import Predictions
from visionattn.runs.class_names import match_classes
from visionattn.runs.result import finite
from visionattn.tasks.detection.task import DetectionTask
from visionattn.tasks.panoptic.task import PanopticTask
from visionattn.weights import read_checkpoint

pytestmark = pytest.mark.filterwarnings("default")
ONE_STEP = ["trainer.max_epochs=1", "trainer.max_steps=-1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu"]
ONE_STEP += ["trainer.precision=32-true", "trainer.devices=1", "trainer.strategy=auto", "data.num_workers=0"]
ONE_STEP += ["backbone=swin_pico", "optim=adamw", "optim.lr=1e-3", "weights=null"]
EDGES = ["data.train_transform.short_edges=[40]", "data.eval_transform.short_edge=40", "data.divisor=16"]
TASKS = {
    "classification": ("imagenet", "shapes", "top1", ["data=shapes", "data.image_size=24", "data.batch_size=4"]),
    "detection": (
        "coco",
        "coco",
        "box_ap",
        [
            *("task=detection", "data=coco", "head=retinanet", "data.num_classes=10", "head.pyramid.channels=16"),
            *EDGES,
        ],
    ),
    "segmentation": (
        "ade20k",
        "ade20k",
        "mIoU",
        [
            *("task=segmentation", "data=ade20k", "head=upernet", "data.num_classes=15", "head.decoder.channels=8"),
            *(
                "data.image_size=48",
                "data.batch_size=2",
                "task.inference.mode=slide",
                "task.inference.crop=32",
                "task.inference.stride=24",
                "task.inference.short_edge=56",
            ),
        ],
    ),
    "panoptic": (
        "coco_panoptic",
        "coco_panoptic",
        "PQ",
        [
            *("experiment=shapes/mask2former", "head.channels=32", "head.num_queries=6", "head.decoder_layers=1"),
            *("head.num_points=64", "data.train_transform.crop_size=[48,48]", "data.eval_transform.short_edge=40"),
            *("task.score=0.0", "task.overlap=0.0", "head.no_object_weight=0.0", "data.batch_size=2"),
            *("data.divisor=16", "trainer.check_val_every_n_epoch=1"),
        ],
    ),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Task -> (folder of its drawn data, folder of a run of one step on them)."""
    made = {}

    def of(task):
        if task not in made:
            layout, _, _, words = TASKS[task]
            folder = tmp_path_factory.mktemp(task)
            make_shapes(layout, folder / "data", num_train=10, num_val=10, image_size=48)
            given = [*ONE_STEP, *words, f"data.root={folder}/data", f"hydra.run.dir={folder}/run"]
            if task == "panoptic":
                pytest.importorskip("transformers")
            assert main(["train", *given]) == 0
            made[task] = folder
        return made[task] / "data", made[task] / "run"

    return of


def evaluated(run: Path, folder: Path, *words: str) -> dict:
    common = ["trainer.accelerator=cpu", "num_workers=0", f"hydra.run.dir={folder}"]
    assert main(["evaluate", f"ckpt={run}", *common, *words]) == 0
    return json.loads((folder / "result.json").read_text())


def best(run: Path) -> dict[str, float]:
    """The figures of the run's best validation, as it wrote them."""
    import csv

    epoch = read_checkpoint(run / "checkpoints" / "best.ckpt")["epoch"]
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["epoch"] == str(epoch)]
    return {name[4:]: float(value) for row in rows for name, value in row.items() if name.startswith("val/") and value}


@pytest.mark.parametrize("task", TASKS)
def test_a_run_scores_the_same_on_its_data_by_whatever_name(task, runs, tmp_path, capsys):
    """The whole protocol goes with the model: short edge, divisor, size, crop, windows."""
    data, run = runs(task)
    _, name, metric, _ = TASKS[task]
    own, expected = evaluated(run, tmp_path / "own"), best(run)
    for figure, value in expected.items():
        assert own["metrics"][figure] == pytest.approx(value, rel=1e-5), figure
    assert (own["split"], own["not_as_in_training"], own["notes"]) == ("val", {}, [])
    assert "named as in the training" in own["class_names"]
    named = evaluated(run, tmp_path / "named", f"data={name}", f"data.root={data}")
    assert named["metrics"] == pytest.approx(own["metrics"], rel=1e-6)
    assert named["protocol"] == own["protocol"]
    assert metric in named["metrics"]


def test_a_run_scores_the_same_on_data_that_moved(runs, tmp_path):
    data, run = runs("classification")
    own = evaluated(run, tmp_path / "own")
    moved = data.rename(data.with_name("moved"))
    try:
        again = evaluated(run, tmp_path / "moved", f"data.root={moved}")
    finally:
        moved.rename(data)
    assert again["metrics"] == own["metrics"]


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_classes_in_another_order_are_matched_by_name(task, runs, tmp_path, capsys):
    """The checkpoint's classes are turned around, in its head and in its names: the same model."""
    _, run = runs(task)
    contents = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    count = len(contents["class_facts"]["names"])
    order = list(reversed(range(count)))
    contents["class_facts"]["names"] = [contents["class_facts"]["names"][i] for i in order]
    for name, tensor in contents["state_dict"].items():
        if name.startswith("head.") and tensor.ndim and tensor.shape[0] == count:
            contents["state_dict"][name] = tensor[order]
    torch.save(contents, tmp_path / "turned.ckpt")
    expected = evaluated(run, tmp_path / "as_trained")
    turned = evaluated(tmp_path / "turned.ckpt", tmp_path / "turned")
    assert turned["metrics"] == pytest.approx(expected["metrics"], rel=1e-4)
    assert "matched by name" in turned["class_names"]
    by_index = evaluated(tmp_path / "turned.ckpt", tmp_path / "index", "match_classes=index")
    assert "by index" in by_index["class_names"]


def test_objects_and_segments_in_another_order():
    """The model's class 2 is the first of the data, its class 0 the second, its class 1 the third."""
    order = [2, 0, 1]
    boxes = torch.zeros(3, 4)
    (detected,) = DetectionTask.in_order(None, [{"boxes": boxes, "labels": torch.tensor([2, 0, 1])}], order)
    assert detected["labels"].tolist() == [0, 1, 2]
    queries = Predictions(torch.tensor([[[0.0, 1.0, 2.0, 9.0]]]), torch.zeros(1, 1, 4, 4), [])
    assert PanopticTask.in_order(None, queries, order).classes.tolist() == [[[2.0, 0.0, 1.0, 9.0]]]


def test_other_classes_are_refused_with_the_difference(runs, tmp_path, capsys):
    _, run = runs("classification")
    contents = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    contents["class_facts"]["names"][0] = "anchor"
    torch.save(contents, tmp_path / "other.ckpt")
    assert main(["evaluate", f"ckpt={tmp_path}/other.ckpt", f"hydra.run.dir={tmp_path}/x"]) == 1
    error = capsys.readouterr().err
    assert "only the model has anchor, only the data have arrow; if they mean the same, match_classes=index" in error
    assert not (tmp_path / "x" / "result.json").exists()


def test_names_are_compared_as_far_as_there_are_any():
    assert match_classes(["cat", "dog"], ["cat", "dog"]).order is None
    assert match_classes(["cat", "dog"], ["dog", "cat"]).order == [1, 0]
    for model, data, owner in ([], ["cat", "dog"], "the model"), (["cat", "dog"], ["0", "1"], "the data set"):
        match = match_classes(model, data)
        assert match.order is None
        assert f"{owner} has no class names" in match.told
    assert ClassInfo.from_dict({}).names == []


def test_keys_of_the_runs_own_data(runs, tmp_path, capsys):
    _, run = runs("classification")
    changed = evaluated(run, tmp_path / "a", "data.image_size=48", "data.eval_transform.crop_pct=0.8", "split=train")
    assert changed["protocol"]["size"] == [48, 48]
    assert changed["not_as_in_training"] == {
        "image_size": {"training": 24, "evaluation": 48},
        "eval_transform.crop_pct": {"training": 1.0, "evaluation": 0.8},
    }
    assert (changed["split"], changed["num_samples"]) == ("train", 10)
    assert "image_size: 48 instead of 24" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert main(["evaluate", f"ckpt={run}", "data.image_sise=48"]) == 2
    assert "unknown key data.image_sise; did you mean image_size?" in capsys.readouterr().err


def test_typed_keys_go_before_the_runs_protocol(runs, tmp_path):
    data, run = runs("detection")
    words = ["data=coco", f"data.root={data}", "data.eval_transform.short_edge=32"]
    result = evaluated(run, tmp_path / "a", *words)
    assert result["protocol"]["short_edge"] == 32
    assert result["not_as_in_training"] == {"eval_transform.short_edge": {"training": 40, "evaluation": 32}}


def test_a_model_is_not_scored_on_data_of_another_kind(runs, tmp_path, capsys):
    _, run = runs("classification")
    for data in ("coco", "ade20k", "coco_panoptic"):
        assert main(["evaluate", f"ckpt={run}", f"data={data}", f"data.root={tmp_path}"]) == 2
        error = capsys.readouterr().err
        assert "holds a ClassificationTask, trained on ClassificationData" in error
        assert error.count("\n") == 1


def test_a_result_holds_numbers_or_none():
    figures, notes = finite({"a": 1.0, "b": float("nan"), "c": float("inf")})
    assert figures == {"a": 1.0, "b": None, "c": None}
    assert notes == ["b is not a number", "c is infinite"]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_measures_of_a_classifier(runs, tmp_path, capsys):
    """Sizes, shifts and corruptions; at its own size a model has its own score."""
    _, run = runs("classification")
    first = evaluated(run, tmp_path / "a", "measures=[sizes,shifts,corruptions]")
    shown = capsys.readouterr().out
    sizes, shifts, corruptions = (first["measures"][name] for name in ("sizes", "shifts", "corruptions"))
    assert [(row["factor"], row["size"]) for row in sizes["sizes"]] == [
        *((0.75, [18, 18]), (1.0, [24, 24]), (1.25, [30, 30]), (1.5, [36, 36]), (2.0, [48, 48])),
    ]
    own = sizes["sizes"][1]["metrics"]
    assert own == pytest.approx({name: first["metrics"][name] for name in own}, rel=1e-6)
    assert sizes["sizes"][0]["metrics"]["loss"] != sizes["sizes"][4]["metrics"]["loss"]
    assert 0 <= shifts["consistency"] <= 100
    assert (shifts["images"], shifts["largest_shift"]) == (10, [3, 3])
    assert corruptions["clean"] == pytest.approx(first["metrics"]["top1"], rel=1e-6)
    assert list(corruptions["kinds"]) == ["noise", "blur", "brightness", "contrast", "pixelate", "jpeg"]
    assert all(len(values) == 5 for values in corruptions["kinds"].values())
    assert "not comparable" in " ".join(shown.split())
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert all(title in page for title in ("Other image sizes", "Shifts", "Corruptions"))


@pytest.mark.parametrize(
    ("task", "sizes"),
    [("segmentation", [[42, 192], [112, 512]]), ("detection", [[30, 50], [80, 134]])],
)
def test_other_sizes_of_dense_tasks(task, sizes, runs, tmp_path):
    _, run = runs(task)
    found = evaluated(run, tmp_path, "measures=[sizes]")
    rows = found["measures"]["sizes"]["sizes"]
    assert [rows[0]["size"], rows[-1]["size"]] == sizes
    metric = found["measures"]["sizes"]["metric"]
    assert rows[1]["metrics"][metric] == pytest.approx(found["metrics"][metric], rel=1e-6)


def test_measures_that_a_task_does_not_define_are_refused_before_data_are_read(runs, tmp_path, capsys):
    _, run = runs("segmentation")
    for words, sentence in (
        (["measures=[shifts]"], "measures=[shifts] is defined for classification, and the checkpoint holds a Segment"),
        (["measures=[speed]"], "measures is a list of sizes, shifts, corruptions"),
        (["measures=[sizes]", "task.inference.short_edge=null"], "which are None and"),
    ):
        assert main(["evaluate", f"ckpt={run}", "data.root=/nowhere", f"hydra.run.dir={tmp_path}/x", *words]) != 0
        assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("full", "missing", "there"),
    [
        ("tasks.detection.observer.DetectionObserver.draw", ["pictures in {}/plots"], ["result.json", "report.html"]),
        ("reports.report.write_whole", ["{}/report.html"], ["result.json", "detections.json"]),
        ("commands.evaluate.write_whole", ["{}/result.json"], ["report.html", "detections.json"]),
        ("tasks.detection.observer.write_submission", ["the tables in {}"], ["result.json", "report.html"]),
    ],
)
def test_figures_are_kept_where_a_file_cannot_be_written(full, missing, there, runs, tmp_path, capsys, monkeypatch):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    _, run = runs("detection")
    monkeypatch.setattr(f"visionattn.{full}", fails)
    folder = tmp_path / "scored"
    common = ["trainer.accelerator=cpu", "num_workers=0", f"hydra.run.dir={folder}"]
    assert main(["evaluate", f"ckpt={run}", *common]) == 1
    told = capsys.readouterr()
    names = ", ".join(missing).format(folder)
    assert f"visionattn: cannot write {names}: No space left on device; the figures " in told.err
    assert "box_ap" in told.out
    assert all((folder / name).is_file() for name in there)
    kept = "result.json" in there
    assert kept == (folder / "result.json").exists() == (f"figures above are in {folder}/result.json" in told.err)
