"""COCO's figures: pycocotools' own, to the last digit, on any number of processes."""

import copy
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import distributed as dist

from tests.tasks.coco_sets import generated, perfect
from tests.tasks.processes import on_processes
from visionattn.data.detection.masks import encode
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks.detection.average_precision import coco_figures
from visionattn.tasks.detection.metric import NAMES, CocoMetric, detection_results


def pycocotools_figures(truth, results, kind):
    """Twelve figures and the precision of each class, masks scored without their boxes."""
    stated = COCO()
    stated.dataset = copy.deepcopy(truth)
    stated.createIndex()
    dropped = "segmentation" if kind == "bbox" else "bbox"
    found = stated.loadRes([{k: copy.deepcopy(v) for k, v in r.items() if k != dropped} for r in results])
    evaluation = COCOeval(stated, found, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    classes = [p[p > -1].mean() if (p > -1).any() else -1.0 for p in precision.transpose(2, 0, 1)]
    return np.asarray(evaluation.stats), np.asarray(classes)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_the_twelve_figures_of_pycocotools(seed, kind):
    truth, results = generated(seed)
    assert any(a["iscrowd"] for a in truth["annotations"])
    assert len({r["score"] for r in results}) < len(results) / 3
    expected, classes = pycocotools_figures(truth, results, kind)
    figures, per_class = coco_figures(truth, results, kind)
    assert figures.tolist() == expected.tolist()
    np.testing.assert_allclose(per_class, classes, rtol=1e-12)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_a_perfect_prediction_scores_one(kind):
    truth, _ = generated(0)
    figures, per_class = coco_figures(truth, perfect(truth), kind)
    assert figures[:3].tolist() == [1.0, 1.0, 1.0]
    assert per_class[[0, 1, 3]].tolist() == [1.0, 1.0, 1.0]
    assert per_class[2] == -1.0  # a class that has no object


def test_labels_that_are_shifted_score_nothing():
    truth, _ = generated(0)
    following = {1: 5, 5: 8, 8: 90, 90: 1}
    results = [r | {"category_id": following[r["category_id"]]} for r in perfect(truth)]
    assert coco_figures(truth, results, "bbox")[0][0] < 0.02


def test_no_detection_at_all_scores_zero():
    truth, _ = generated(0)
    assert coco_figures(truth, [], "segm")[0][0] == 0.0


class Truth:
    def __init__(self, truth):
        self.truth = truth

    def ground_truth(self, image_ids, masks):
        wanted = set(image_ids)
        images = [image for image in self.truth["images"] if image["id"] in wanted]
        return self.truth | {
            "images": images,
            "annotations": [a for a in self.truth["annotations"] if a["image_id"] in wanted],
        }


def _work(rank, path):
    """Three processes, then two of them, then one."""
    for world in (3, 2, 1):
        if rank < world:
            dist.init_process_group("gloo", init_method=f"file://{path}/meet{world}", rank=rank, world_size=world)
            _score(rank, world, path)
            dist.destroy_process_group()


def _score(rank, world, path):
    truth, results = generated(3)
    metric = CocoMetric(masks=True)
    for image in truth["images"][rank::world]:
        metric.update([r for r in results if r["image_id"] == image["id"]], [image["id"]], [image["file_name"]])
    figures = metric.compute(Truth(truth))
    computed = bool(metric.latest.results)
    with open(f"{path}/{world}_{rank}.json", "w") as file:
        json.dump({"figures": figures, "ids": metric.latest.ids, "computed": computed}, file)


def test_one_two_and_three_processes_give_the_same_and_compute_once(tmp_path):
    on_processes(_work, 3, str(tmp_path))
    reports = {(w, r): json.loads((tmp_path / f"{w}_{r}.json").read_text()) for w in (1, 2, 3) for r in range(w)}
    alone = reports[1, 0]
    truth, results = generated(3)
    assert alone["figures"]["mask_ap"] == 100 * coco_figures(truth, results, "segm")[0][0]
    assert alone["figures"].keys() == {f"{kind}_{name}" for kind in ("box", "mask") for name in NAMES}
    for (_, rank), report in reports.items():
        assert report["figures"] == alone["figures"]
        assert report["ids"] == alone["ids"]
        assert report["computed"] == (rank == 0)


def test_masks_pasted_a_few_at_a_time_are_those_pasted_at_once():
    torch.manual_seed(0)
    corners = torch.rand(37, 2) * 40
    boxes = torch.cat([corners, corners + 5 + torch.rand(37, 2) * 20], 1)
    masks = torch.rand(37, 1, 28, 28)
    one = {"boxes": boxes, "scores": torch.rand(37), "labels": torch.zeros(37, dtype=torch.int64), "masks": masks}
    results = detection_results([one], [1], [(48, 64)], [3])
    assert [result["segmentation"] for result in results] == encode(paste_masks(masks, boxes, (48, 64)).numpy())
