"""metrics.csv: columns that come later, and a run that is resumed."""

import csv

from visionattn.training import MetricsFile


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def log(logger, step, **metrics):
    logger.log_metrics({name.replace("_", "/"): value for name, value in metrics.items()} | {"epoch": 0}, step=step)
    logger.save()


def test_a_new_metric_adds_a_column(tmp_path):
    logger = MetricsFile(str(tmp_path))
    log(logger, 0, train_loss=1.5)
    log(logger, 1, val_top1=40.0)
    log(logger, 2, train_loss=1.25)
    assert rows(tmp_path) == [
        {"epoch": "0", "step": "0", "train/loss": "1.5"},
        {"epoch": "0", "step": "1", "val/top1": "40.0"},
        {"epoch": "0", "step": "2", "train/loss": "1.25"},
    ]


def test_a_run_that_begins_writes_the_file_anew(tmp_path):
    log(MetricsFile(str(tmp_path)), 0, train_loss=1.0)
    log(MetricsFile(str(tmp_path)), 0, train_loss=2.0)
    assert [row["train/loss"] for row in rows(tmp_path)] == ["2.0"]


def test_a_resumed_run_keeps_the_steps_before(tmp_path):
    logger = MetricsFile(str(tmp_path))
    for step in range(4):
        log(logger, step, train_loss=float(step))
    log(logger, 2, val_top1=40.0)
    resumed = MetricsFile(str(tmp_path), goes_on_at=3)
    log(resumed, 2, val_top1=50.0)  # the validation that the kill had left unsaved comes again
    log(resumed, 3, train_loss=30.0)
    logged = [(row["step"], row.get("train/loss"), row.get("val/top1")) for row in rows(tmp_path)]
    assert logged == [
        ("0", "0.0", None),
        ("1", "1.0", None),
        ("2", "2.0", None),
        ("2", None, "50.0"),
        ("3", "30.0", None),
    ]
