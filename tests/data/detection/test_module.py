"""COCO's layout: what is read, what is left out and counted, what batches look like."""

import json
import pickle
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from visionattn.data.checks import Report
from visionattn.data.detection import Coco, DetectionData, DetectionEvalTransform, DetectionTrainTransform
from visionattn.data.detection.copy_paste import copy_paste
from visionattn.data.detection.dataset import GroupedBatches
from visionattn.data.detection.masks import draw, encode, problem, to_runs
from visionattn.data.shapes import make_shapes
from visionattn.errors import ConfigError, DataError

POLYGON = [[2.0, 2.0, 12.0, 2.0, 12.0, 9.0, 2.0, 9.0]]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    make_shapes("coco", folder, num_train=14, num_val=6, image_size=64)
    return folder


def tree(folder, annotations, sizes=((20, 24), (24, 20), (30, 30))):
    """A data set with the given annotations; category ids 3, 7 and 90."""
    images = []
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"{split}2017").mkdir()
        images = []
        for number, (height, width) in enumerate(sizes):
            pixels = np.full((height, width, 3), 40 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{split}2017" / f"{number}.jpg")
            images.append({"id": 100 + number, "file_name": f"{number}.jpg", "height": height, "width": width})
        content = {
            "images": images,
            "categories": [{"id": i, "name": n} for i, n in ((90, "cup"), (3, "car"), (7, "dog"))],
            "annotations": [{"id": i + 1, "iscrowd": 0, "area": 70.0, **a} for i, a in enumerate(annotations)],
        }
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return folder


def note(image_id=100, category_id=7, bbox=(2, 2, 10, 7), segmentation=POLYGON, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "segmentation": segmentation, **more}


def module(root, num_classes=3, **options):
    edges = {"short_edges": [32], "long_edge": 64}
    return DetectionData(
        Coco(str(root), **options.pop("source", {})),
        num_classes,
        image_size=64,
        batch_size=2,
        train_transform=lambda **kw: DetectionTrainTransform(**kw, **edges),
        eval_transform=lambda **kw: DetectionEvalTransform(**kw, short_edge=32, long_edge=64),
        **options,
    )


def test_sparse_ids_become_labels_in_rising_order(tmp_path):
    records = Coco(str(tree(tmp_path / "t", [note(category_id=90), note(category_id=3)]))).open("train")
    assert records.category_ids == [3, 7, 90]
    assert records.class_names == ["car", "dog", "cup"]
    target = records.objects(0)
    assert target["labels"].tolist() == [2, 0]
    assert target["boxes"].tolist() == [[2.0, 2.0, 12.0, 9.0]] * 2
    assert target["masks"].shape == (2, 20, 24)
    assert int(target["masks"][0].sum()) == 70


BAD = {
    "boxes without width or height": note(bbox=(2, 2, 0, 7)),
    "boxes that are not finite": note(bbox=(2, float("nan"), 5, 7)),
    "boxes outside their image": note(bbox=(25, 2, 5, 7)),
    "boxes that are not four numbers": note(bbox=(2, 2, 5)),
    "unknown categories": note(category_id=4),
    "annotations whose image_id is unknown": note(image_id=5),
    "invalid masks": note(segmentation=[[1.0, 1.0, 1e8, 1e8, 5.0, 2.0]]),
}


def test_what_is_bad_is_left_out_and_counted(tmp_path):
    other_size = note(segmentation={"size": [9, 9], "counts": [81]})
    root = tree(tmp_path / "t", [note(), *BAD.values(), other_size, note(iscrowd=1)])
    notes = Coco(str(root)).open("train").annotations
    assert len(notes.labels) == 3  # a mask that cannot be drawn leaves its box in place
    assert notes.has_mask.tolist() == [True, False, False]
    assert notes.crowds == 1
    assert notes.dropped.counts == {reason: 1 for reason in BAD if reason != "invalid masks"}
    assert notes.unmasked.counts == {"invalid masks": 2}
    assert "annotation 2: bbox [2, 2, 0, 7]" in notes.dropped.examples["boxes without width or height"]
    assert Coco(str(root), empty_images=False).open("train").ids[:] == ["0.jpg"]


def test_the_evaluations_truth_keeps_crowds_and_what_is_merely_odd(tmp_path):
    root = tree(tmp_path / "t", [note(), *BAD.values(), note(iscrowd=1), note(image_id=101)])
    truth = Coco(str(root)).open("val").ground_truth([100], masks=True)
    assert [i["id"] for i in truth["images"]] == [100]
    assert sum(a["iscrowd"] for a in truth["annotations"]) == 1
    assert [0, 7] in [a["bbox"][2:] for a in truth["annotations"]]
    assert all(a["image_id"] == 100 for a in truth["annotations"])


def test_the_evaluations_truth_is_read_once_for_the_same_images(tmp_path, monkeypatch):
    root = tree(tmp_path / "t", [note(), note(image_id=101)])
    records = Coco(str(root)).open("val")
    calls, content = [], records.content
    monkeypatch.setattr(records, "content", lambda: calls.append(1) or content())
    first = records.ground_truth([100], masks=True)
    first["annotations"].clear()  # whoever scores may change what it gets
    assert len(records.ground_truth([100], masks=True)["annotations"]) == 1
    assert len(calls) == 1
    assert [a["image_id"] for a in records.ground_truth([101], masks=True)["annotations"]] == [101]
    assert "segmentation" not in records.ground_truth([101], masks=False)["annotations"][0]
    assert len(calls) == 3
    assert not pickle.loads(pickle.dumps(Coco(str(root)).open("val")))._truths


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1e8, 1e8, 2e8, 1e8, 2e8, 2e8]],
        [[0.0, 0.0, 3e8, 0.0, 1.0, 1.0]],
        [[0.0, float("nan"), 5.0, 0.0, 1.0, 1.0]],
        [[0.0, 0.0, 1.0, 1.0]],
        [],
        None,
        "x",
        {"size": [20, 24], "counts": [5, -1, 476]},
        {"size": [20, 24], "counts": [500]},
        {"size": [20, 25], "counts": [500]},
        {"size": [20, 24], "counts": 5},
        {"size": [20, 24], "counts": "zzzz~~~~"},
    ],
)
def test_a_bad_segmentation_is_refused_at_once(segmentation):
    start = time.perf_counter()
    assert problem(segmentation, 20, 24)
    assert time.perf_counter() - start < 1


def test_runs_and_polygons_give_the_same_mask_and_come_back():
    masks = draw([POLYGON, to_runs(POLYGON, 20, 24)], 20, 24)
    assert np.array_equal(masks[0], masks[1])
    assert masks[0].sum() == 70
    assert np.array_equal(draw(encode(masks), 20, 24), masks)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file"), ("cut", "runcated"), ("size", "state 20x24")]
)
def test_bad_pictures_are_named_and_replaced_in_training(tmp_path, name, reason):
    root = tree(tmp_path / "t", [note(), note(image_id=101), note(image_id=102)])
    for split in ("train", "val"):
        path = root / f"{split}2017" / "0.jpg"
        if name == "missing":
            path.unlink()
        elif name == "cut":
            path.write_bytes(path.read_bytes()[:-60])
        else:
            Image.new("RGB", (9, 9)).save(path)
    data = module(root)
    data.setup("fit")
    batches = list(data.val_dataloader())
    records = [r for batch in batches for r in batch["unreadable"]]
    assert [who for who, _ in records] == ["0.jpg"]
    assert reason in records[0][1]
    assert [i for batch in batches for i in batch["id"]] == ["1.jpg", "2.jpg"]
    (batch,) = list(data.train_dataloader())
    assert len(batch["image"]) == 2
    assert "0.jpg" not in batch["id"]


def test_batches_on_the_device(shapes):
    data = module(shapes, 10)
    data.setup("fit")
    batch = data.to_model_input(next(iter(data.train_dataloader())))
    images, sizes = batch["image"], batch["size"]
    assert images.shape[0] == 2
    assert images.shape[2] % 32 == images.shape[3] % 32 == 0
    for image, (height, width), target in zip(images, sizes, batch["target"], strict=True):
        assert (height, width) != (0, 0)
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()
        assert target["masks"].shape[1:] == images.shape[2:]
        assert target["boxes"].shape == (len(target["labels"]), 4)
        assert type(target["boxes"]) is Tensor
    val = data.to_model_input(next(iter(data.val_dataloader())))
    assert val["target"] == [{}, {}]
    assert min(val["size"][0]) == 32


def test_the_same_seed_gives_the_same_batches_and_another_epoch_others(shapes):
    def first(epoch):
        data = module(shapes, 10)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(epoch)
        return next(iter(loader))

    one, again, later = first(1), first(1), first(2)
    assert one["id"] == again["id"]
    assert all(torch.equal(a, b) for a, b in zip(one["image"], again["image"], strict=True))
    assert one["id"] != later["id"]


def test_groups_are_pure_but_for_the_rest_and_hold_every_picture_once():
    wide = np.arange(53) % 3 > 0
    ranks = [GroupedBatches(wide, 2, rank=rank, world_size=2, shuffle=True) for rank in (0, 1)]
    parts = [[index for _, index in first + second] for first, second in zip(*ranks, strict=True)]
    assert sorted(index for part in parts for index in part) == list(range(53))
    mixed = [part for part in parts if len({bool(wide[index]) for index in part}) > 1]
    assert len(mixed) <= 1
    ranks[0].resume(0, 3)
    assert [[index for _, index in batch] for batch in ranks[0]] == [part[:2] for part in parts[3:-1]] + [parts[-1][:0]]


def test_boxes_and_masks_move_together(shapes):
    records = Coco(str(shapes)).open("train")
    index = int(np.diff(records.annotations.first).argmax())
    for options in ({"short_edges": [48], "long_edge": 96, "flip": 1.0}, {"jitter": [0.5, 2.0], "crop_size": [80, 80]}):
        torch.manual_seed(1)
        image, target = DetectionTrainTransform(**options)(records.image(index), records.objects(index))
        assert image.shape[1:] == target["masks"].shape[1:]
        assert len(target["labels"]) > 0
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            rows, columns = torch.where(mask)
            around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (around - box).abs().max() <= 3
    assert image.shape[1:] == (80, 80)


def test_jitter_keeps_the_size_and_crop_of_detr_the_bounds():
    picture = torch.zeros(3, 500, 700, dtype=torch.uint8)
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[100.0, 100, 300, 300]]), format="XYXY", canvas_size=(500, 700))
    for seed in range(4):
        torch.manual_seed(seed)
        image, target = DetectionTrainTransform(crop=True)(picture, {"boxes": boxes, "labels": torch.tensor([1])})
        assert min(image.shape[1:]) >= 480
        assert max(image.shape[1:]) <= 1333
        if len(target["boxes"]):
            assert target["boxes"].max() <= max(image.shape[1:])


def test_paste_hides_what_lies_below():
    def scene(value, top, labels):
        masks = torch.zeros(1, 20, 20, dtype=torch.uint8)
        masks[0, top : top + 10, 5:15] = 1
        picture = torch.full((3, 20, 20), value, dtype=torch.uint8)
        return picture, {"boxes": torch.zeros(1, 4), "labels": torch.tensor(labels), "masks": masks}

    torch.manual_seed(0)
    pasted = 0
    for _ in range(8):
        image, target = copy_paste(*scene(200, 6, [3]), *scene(10, 0, [1]))
        if len(target["labels"]) == 2:
            pasted += 1
            assert target["labels"].tolist() == [1, 3]
            assert target["boxes"].tolist() == [[5, 0, 15, 6], [5, 6, 15, 16]]
            assert (image[0] == 200).sum() == 100
            assert not (target["masks"][0] & target["masks"][1]).any()
    assert pasted


def test_mistakes_have_their_sentences(tmp_path, shapes):
    with pytest.raises(DataError, match=r"expected the images .* holds nothing"):
        Coco(str(tmp_path / "none")).open("train")
    with pytest.raises(DataError, match="10 categories, but num_classes is 80"):
        module(shapes, 80).setup("fit")
    with pytest.raises(ConfigError, match="short_edges need"):
        DetectionTrainTransform(short_edges=[900], long_edge=800)
    root = tree(tmp_path / "t", [note()])
    (root / "annotations" / "instances_train2017.json").write_text("{")
    with pytest.raises(DataError, match="are not valid JSON"):
        Coco(str(root)).open("train")


def test_the_doctor_finds_every_fault(tmp_path):
    root = tree(tmp_path / "t", [note(), *BAD.values(), note(image_id=102)])
    (root / "train2017" / "1.jpg").unlink()
    Image.new("RGB", (9, 9)).save(root / "train2017" / "2.jpg")
    report = Report(tmp_path / "report")
    report.folder.mkdir()
    start = time.perf_counter()
    module(root).validate("train", report)
    assert time.perf_counter() - start < 10
    found = {kind: finding.count for (_, kind), finding in report.findings.items()}
    assert found.pop("classes without objects") == 1
    assert found == dict.fromkeys(BAD, 1) | {"images that cannot be read": 2}
    assert report.errors == len(BAD) + 2
    assert [row["id"] for row in report.tables["categories of train"]] == [3, 7, 90]
    assert all(path.is_file() for path in report.figures.values())
    assert report.figures


def test_the_doctor_finds_nothing_in_the_shapes(shapes, tmp_path):
    report = Report(tmp_path)
    data = module(shapes, 10)
    for split in ("train", "val"):
        data.validate(split, report)
    assert report.errors == 0
