"""Boxes in another format than COCO's are recognized; objects that a transform removes are counted."""

import json

import numpy as np
import pytest

from tests.data.detection.test_module import module, note, tree
from tests.data.detection.test_odd_files import change, every, polygon, standard
from visionattn.data.checks import Report
from visionattn.data.detection import Coco
from visionattn.data.detection.box_format import box_fault
from visionattn.data.detection.splits import LostObjects
from visionattn.errors import DataError

SIZES = {100: (20, 24), 101: (24, 20), 102: (30, 30)}


def scale(entry, factors):
    return [value * factor for value, factor in zip(entry["bbox"], factors, strict=True)]


FORMATS = {
    "two corners": lambda a: [*a["bbox"][:2], a["bbox"][0] + a["bbox"][2], a["bbox"][1] + a["bbox"][3]],
    "fractions": lambda a: [v / SIZES[a["image_id"]][1 - i % 2] for i, v in enumerate(a["bbox"])],
    "[center x, center y": lambda a: [
        a["bbox"][0] + a["bbox"][2] / 2,
        a["bbox"][1] + a["bbox"][3] / 2,
        *a["bbox"][2:],
    ],
}


@pytest.mark.parametrize("name", FORMATS)
def test_boxes_in_another_format_stop_training_and_are_an_error_of_the_doctor(tmp_path, name):
    root = change(standard(tmp_path / "t"), every("annotations", bbox=FORMATS[name]))
    with pytest.raises(DataError, match=r"boxes look like .*COCO's are \[x, y, width, height\] in pixels") as raised:
        module(root).setup("fit")
    assert name in str(raised.value)
    report = Report(tmp_path)
    module(root).validate("train", report)
    assert name in report.findings["train", "boxes in another format"].examples[0]


def test_corners_are_recognized_without_masks(tmp_path):
    random = np.random.RandomState(0)
    low = random.uniform(1, 14, (30, 2))
    corners = np.concatenate([low, low + random.uniform(2, 6, (30, 2))], 1)
    notes = [note(100 + i % 3, 7, box.tolist(), None) for i, box in enumerate(corners)]
    assert "two corners" in box_fault(Coco(str(tree(tmp_path / "t", notes))).open("train").annotations)
    as_coco = [note(100 + i % 3, 7, [*box[:2], *(box[2:] - box[:2])], None) for i, box in enumerate(corners)]
    assert not box_fault(Coco(str(tree(tmp_path / "u", as_coco))).open("train").annotations)


def test_boxes_of_images_of_another_size_are_an_error_of_the_doctor(tmp_path):
    boxes = [([12, 10, 20, 15], 100), ([8, 8, 18, 20], 101), ([2, 2, 5, 5], 102)]
    root = tree(tmp_path / "t", [note(number, 7, box, None) for box, number in boxes])
    report = Report(tmp_path)
    module(root).validate("train", report)
    assert report.findings["train", "boxes that leave their images, as of images of another size"].count == 2


def test_a_box_that_differs_from_its_mask_is_a_warning(tmp_path):
    notes = [
        note(100, 7, [2, 2, 10, 7]),
        note(101, 7, [2, 2, 10, 7]),
        note(102, 7, [1, 1, 3, 3], polygon([9, 9, 12, 12])),
    ]
    report = Report(tmp_path)
    module(tree(tmp_path / "t", notes)).validate("train", report)
    finding = report.findings["train", "boxes that differ from their masks"]
    assert (finding.count, finding.severity) == (1, "warning")
    assert "2.jpg: bbox [1.0, 1.0, 3.0, 3.0]" in finding.examples[0]
    assert report.errors == 0


def test_what_transforms_remove_is_counted_and_told_once(tmp_path, capsys):
    lost = LostObjects()
    assert not lost.add([(30, 3)])
    assert "removed 54 of the first 60 objects" in lost.add([(30, 3)])
    assert not lost.add([(30, 3)])
    assert not LostObjects().add([(100, 50)])
    data = module(standard(tmp_path / "t"))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch["objects"]) in ([(0, 0), (1, 1)], [(0, 0), (2, 2)], [(1, 1), (2, 2)])
    data.to_model_input(batch)
    assert data._lost.before == data._lost.after > 0


def test_json_of_the_doctor_can_be_written(tmp_path):
    report = Report(tmp_path)
    module(change(standard(tmp_path / "t"), every("annotations", iscrowd=None))).validate("train", report)
    assert json.loads(json.dumps(report.as_dict()))["findings"][0]["severity"] == "warning"
    assert report.errors == 0
