"""The page of a training: written at validations, at the end, and where it fails; never in the way."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from visionattn.cli import main
from visionattn.runs import page
from visionattn.runs.live_report import LiveReport


def test_a_run_leaves_its_page_and_the_card_links_it(trained):
    html = (trained / "report.html").read_text(encoding="utf-8")
    for part in ("<h1>dinat_pico</h1>", "Worst samples", "Confusion matrix", "Calibration", "Classes", "Configuration"):
        assert part in html
    assert "mixer@backbone.mixers.s3" in html  # typed, and not what the recipe says
    assert 'class="status' not in html  # it is done
    assert len(html.encode()) < 1_000_000
    assert "[report.html](report.html) shows curves" in (trained / "README.md").read_text(encoding="utf-8")
    assert 'href="config.yaml"' in html


def test_an_evaluation_leaves_its_page(trained, tmp_path, capsys):
    words = ["trainer.accelerator=cpu", "trainer.limit_val_batches=2", f"hydra.run.dir={tmp_path / 'e'}"]
    assert main(["evaluate", f"ckpt={trained}", *words]) == 0
    html = (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    top1 = json.loads((tmp_path / "e" / "result.json").read_text())["metrics"]["top1"]
    assert f"<dt>top1</dt><dd>{top1:.2f}</dd>" in html
    assert "Unlike the training" in html
    assert "report: " in capsys.readouterr().out


def live(tmp_path, monkeypatch, seconds=0.5):
    """A report whose page takes some seconds by a clock of its own, that clock, and the times of writing."""
    clock, written = [100.0], []
    monkeypatch.setattr("visionattn.runs.live_report.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("visionattn.runs.live_report.results_of", lambda *_: {})

    class Page:
        def write(self, path):
            written.append(clock[0])
            clock[0] += seconds
            return path

    report = LiveReport(OmegaConf.create({"name": "a"}), SimpleNamespace(), tmp_path, "", {}, {})
    monkeypatch.setattr(report, "_report", lambda *_: Page())
    return report, clock, written


def validated(report, **state):
    trainer = SimpleNamespace(sanity_checking=False, state=SimpleNamespace(fn="fit"), current_epoch=0, max_epochs=3)
    report.on_validation_end(SimpleNamespace(**vars(trainer) | state), None)


def test_pages_take_a_fiftieth_of_the_time_at_most(tmp_path, monkeypatch):
    report, clock, written = live(tmp_path, monkeypatch)
    for _ in range(1000):
        validated(report)
        clock[0] += 1
    assert written[1] - written[0] >= 25
    assert 0.5 * len(written) <= 0.02 * (clock[0] - 100) + 0.5
    assert len(written) >= 35
    assert report.finish({}) == tmp_path / "report.html"  # the last one is not put off
    before = len(written)
    validated(report, sanity_checking=True)
    assert len(written) == before


def test_a_page_that_fails_ends_nothing(tmp_path, monkeypatch, capsys):
    report, _, _ = live(tmp_path, monkeypatch)

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "_report", broken)
    validated(report)
    assert report.finish({}) is None
    told = capsys.readouterr().err
    assert told.count("no report in") == 1
    assert "No space left on device" in told


@pytest.mark.parametrize(
    ("number", "text"), [(950, "950"), (1_003_670, "1.00 M"), (27_519_354, "27.5 M"), (3e8, "300 M")]
)
def test_counts_are_short(number, text):
    assert page.short_count(number) == text


def test_curves_show_each_rate_once_and_losses_by_their_parts():
    rising = [(step, float(step)) for step in range(4)]
    other = [(step, 2.0 * step) for step in range(4)]
    series = {"train/loss": rising, "train/loss_a": rising, "train/loss_b": other, "val/AP": [(3, 30.0), (7, np.nan)]}
    series |= {"lr-AdamW/pg1": rising, "lr-AdamW/pg2": rising, "lr-AdamW/pg3": other, "val/b": other, "val/c": other}
    (panels,) = page.curves(series, ["val/AP", "val/absent"])
    drawn = {one.title: list(one.series) for one in panels.sections}
    assert drawn == {
        "Loss": ["training"],
        "Parts of the training loss": ["a", "b"],
        "Validation": ["AP"],
        "Learning rate": ["AdamW/pg1", "AdamW/pg3"],
    }
    (table,) = page.figures_table(series)
    assert [row[0] for row in table.rows] == ["AP", "b", "c"]
    assert table.rows[0][2:] == [30.0, 30.0]
    assert page.curves({}, []) == page.figures_table({}) == []


def test_every_value_of_a_configuration_stands_by_its_key():
    cfg = OmegaConf.create({"a": {"b": 1, "c": [1, 2]}, "d": None})
    assert page.flat(cfg) == {"a.b": 1, "a.c": [1, 2], "d": None}
    assert page.flat(OmegaConf.create({"names": {0: "sky", 7: "cat"}})) == {"names.0": "sky", "names.7": "cat"}


def test_the_page_of_a_training_that_fails_says_so(tmp_path, monkeypatch):
    report, _, written = live(tmp_path, monkeypatch)
    report.on_exception(None, None, ValueError("before any page"))
    assert written == []
    told = []
    (tmp_path / "report.html").touch()
    monkeypatch.setattr(report, "_report", lambda results, status, refresh: told.append((status, refresh)))
    report.on_exception(None, None, ValueError("a loss\nthat is no number"))
    assert told == [("ended by ValueError: a loss", 0)]
