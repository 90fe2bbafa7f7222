"""What a report tells of a classification: samples that do not grow in number, classes, calibration."""

import pickle
from types import SimpleNamespace

import pytest
import torch

from visionattn.tasks.classification.observer import ClassificationObserver
from visionattn.tasks.classification.report import class_sections
from visionattn.training.step import StepOutput


class Few:
    """Data of three classes."""

    evaluation_split, mean, std, num_classes, sizes = "val", (0.5,) * 3, (0.25,) * 3, 3, {}
    class_names = ("cat", "dog", "<b>")
    class_info = SimpleNamespace(names=class_names)


def validated(images):
    observer, trainer = ClassificationObserver(), SimpleNamespace(datamodule=Few())
    observer.on_validation_epoch_start(trainer, None)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(50, 3, 40, 40, generator=generator)
    for start in range(0, images, 50):
        target = torch.arange(start, start + 50) % 3
        logits = torch.randn(50, 3, generator=generator) + 2 * torch.nn.functional.one_hot(target, 3)
        batch = {"id": [f"{i:06}" for i in range(start, start + 50)], "target": target}
        batch["image"] = pixels
        observer.on_validation_batch_end(trainer, None, StepOutput(None, logits), batch, 0)
    observer.on_validation_epoch_end(trainer, None)
    return observer


def test_what_is_kept_of_images_does_not_grow_with_their_number():
    few, many = (len(pickle.dumps(validated(images).ranked)) for images in (100, 800))
    assert many < 1.05 * few
    assert many < 18 * (3 * 40 * 40 + 2000)


def test_the_worst_are_sure_and_wrong_and_the_table_says_what_they_are_taken_for():
    observer = validated(150)
    worst, best, table, matrix, calibration = observer.sections(Few())
    assert [one.title for one in (worst, best, table, matrix)] == [
        "Worst samples",
        "Best samples",
        "Classes",
        "Confusion matrix",
    ]
    latest = observer.latest
    wrong = [c for t, p, c in zip(latest.target, latest.prediction, latest.confidence, strict=True) if t != p]
    assert {sample.mark for sample in worst.samples} == {"bad"}
    assert f"({100 * max(wrong):.0f}\u00a0%)" in worst.samples[0].details[1]
    assert {sample.mark for sample in best.samples} == {"good"}
    assert matrix.counts.sum() == 150
    for label, row in enumerate(table.rows):
        assert row[1] == pytest.approx(100 * matrix.counts[label, label] / matrix.counts[label].sum())
        assert row[2] == pytest.approx(100 * matrix.counts[label, label] / matrix.counts[:, label].sum())
    assert "expected calibration error" in calibration.note


def test_many_classes_have_a_list_in_place_of_a_matrix(tmp_path):
    observer, data = validated(50), Few()
    data.class_names = tuple(f"class {label}" for label in range(21_841))  # a matrix of them would take 4 GB
    _, listed, _ = class_sections(observer.latest, data)
    wrong = sum(t != p for t, p in zip(observer.latest.target, observer.latest.prediction, strict=True))
    assert listed.title == "Most frequent confusions"
    assert sum(count for *_, count in listed.rows) == wrong > 0
    assert listed.rows[0][2] == max(count for *_, count in listed.rows)
    assert "confusion matrix" in observer.draw(tmp_path, Few())
    (tmp_path / "confusion.png").unlink()
    assert "confusion matrix" not in observer.draw(tmp_path, data)
    assert not (tmp_path / "confusion.png").exists()
