"""Measure what the report of a run costs: ranking the samples of a validation, and writing the page.

usage: python benchmarks/reports.py [--images 50000] [--no-rows]

The validations are drawn: 1000 classes with predictions of images of 224 pixels, and 80 classes with 7 objects and 20
detections per image. A validation of every image passes through the task's own observer. The rows tell seconds for all
images together (``ranking``), seconds from there to the file (``writing``), the size of the file, and the size of what
the observer keeps of images (``kept``), which does not grow with their number.
"""

import argparse
import pickle
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from visionattn.benchmarks.record import RESULTS, save, show
from visionattn.data.classes import ClassInfo
from visionattn.data.decoding import Decoding
from visionattn.reports import Report
from visionattn.tasks.classification.observer import ClassificationObserver
from visionattn.tasks.detection.metric import CocoEvaluator, CocoScores
from visionattn.tasks.detection.observer import DetectionObserver
from visionattn.tasks.statistics import statistics
from visionattn.training.step import StepOutput

BATCH, SIDE = 250, 224


class Drawn:
    """Data of a number of images, as far as observers and statistics ask for them."""

    evaluation_split, image_size, mean, std = "val", (SIDE, SIDE), (0.5,) * 3, (0.25,) * 3

    def __init__(self, images: int, classes: int) -> None:
        self.num_classes, self.class_names = classes, [f"class {label}" for label in range(classes)]
        self.class_info = ClassInfo(self.class_names, ids=list(range(1, classes + 1)))
        self.sizes, self._records = {"val": images}, self.drawn(images, classes)

    def drawn(self, images: int, classes: int):
        return SimpleNamespace(labels=np.arange(images) % classes)

    def records(self, split: str):
        return self._records


class Objects:
    """Records of detection with 7 objects per image."""

    masks, decoding = False, Decoding()

    def __init__(self, images: int, classes: int) -> None:
        random = np.random.default_rng(0)
        places = random.uniform(0, 300, (7 * images, 2))
        self.boxes = np.concatenate([places, random.uniform(10, 120, places.shape)], 1)
        labels, sizes = random.integers(0, classes, 7 * images), np.full((images, 2), 480)
        self.annotations = SimpleNamespace(labels=labels, sizes=sizes, image_ids=np.arange(images))
        self.ids = [f"{number:012}.jpg" for number in range(images)]

    def ground_truth(self, image_ids, masks):
        pairs = zip(self.boxes.tolist(), self.annotations.labels.tolist(), strict=True)
        listed = [{"image_id": i // 7, "bbox": box, "category_id": label + 1} for i, (box, label) in enumerate(pairs)]
        return {"annotations": listed}

    def image(self, index):
        return torch.randint(0, 255, (3, 480, 480), dtype=torch.uint8)

    def mask_pixels(self, index):
        return 0

    def objects(self, index, masks):
        rows = slice(7 * index, 7 * index + 7)
        boxes = torch.from_numpy(self.boxes[rows]).clone()
        boxes[:, 2:] += boxes[:, :2]
        return {"boxes": boxes, "labels": torch.from_numpy(self.annotations.labels[rows])}


def classification(images: int):
    """The observer after a validation, its data, and the seconds that it took of it."""
    data, observer = Drawn(images, 1000), ClassificationObserver()
    trainer = SimpleNamespace(datamodule=data)
    observer.on_validation_epoch_start(trainer, None)
    pixels, seconds = torch.rand(BATCH, 3, SIDE, SIDE), 0.0
    for start in range(0, images, BATCH):
        ids = [f"{index:08}.jpg" for index in range(start, start + BATCH)]
        target = torch.arange(start, start + BATCH) % 1000
        logits = torch.randn(BATCH, 1000) + 4 * torch.nn.functional.one_hot(target, 1000)
        output, batch = StepOutput(None, logits), {"id": ids, "image": pixels, "target": target}
        observer.keep(trainer, output, batch)
        since = time.perf_counter()
        observer.rank(trainer, output, batch)
        seconds += time.perf_counter() - since
    observer.ids = observer.latest.ids
    return observer, data, seconds


def detection(images: int):
    """The same of a detection, whose images are ranked when the page is written."""
    data = Drawn.__new__(Drawn)
    data.drawn = Objects
    data.__init__(images, 80)
    random, evaluator = np.random.default_rng(1), CocoEvaluator()
    boxes = np.repeat(data.records("val").boxes, 3, axis=0)[: 20 * images] + random.normal(0, 8, (20 * images, 4))
    scores, labels = random.beta(1, 3, 20 * images), random.integers(1, 81, 20 * images)
    results = [
        {"image_id": i // 20, "bbox": box, "category_id": label, "score": score}
        for i, (box, label, score) in enumerate(zip(boxes.tolist(), labels.tolist(), scores.tolist(), strict=True))
    ]
    numbers = list(range(images))
    curves = {"box": np.sort(random.random((10, 101)))[:, ::-1]}
    evaluator.metric.latest = CocoScores(
        data.records("val").ids, numbers, results, {}, {"box": random.random(80)}, curves
    )
    return DetectionObserver(evaluator), data, 0.0


def measure(name: str, images: int) -> dict:
    """The row of a task."""
    observer, data, ranking = {"classification": classification, "detection": detection}[name](images)
    with tempfile.TemporaryDirectory() as folder:
        since = time.perf_counter()
        report = Report(name).add(*observer.sections(data), *statistics(data, observer.noun))
        size = report.write(Path(folder, "report.html")).stat().st_size
        writing = time.perf_counter() - since
    kept = len(pickle.dumps(observer.ranked))
    return {
        "case": name,
        "images": images,
        "classes": data.num_classes,
        "ranking_s": round(ranking, 2),
        "writing_s": round(writing, 2),
        "file_mb": round(size / 1e6, 2),
        "kept_mb": round(kept / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--no-rows", action="store_true", help="print, and write no rows")
    given = parser.parse_args()
    rows = [measure(name, given.images) for name in ("classification", "detection")]
    show(list(rows[0]), [[str(value) for value in row.values()] for row in rows])
    save(rows, None if given.no_rows else RESULTS, "reports", torch.device("cpu"), {"images": given.images})


if __name__ == "__main__":
    main()
