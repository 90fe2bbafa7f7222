"""A run on shards that was cut off inside an epoch goes on to the same weights, to the bit."""

import pytest

from tests.data.classification.test_web_dataset import write_shards
from tests.runs.interruption import differing, seen
from tests.runs.test_resume import BATCHES, _one_thread, train  # noqa: F401 - a fixture

pytest.importorskip("webdataset")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.heavy)])
def test_cut_off_twice_in_the_second_epoch(tmp_path, monkeypatch, workers):
    root = write_shards(tmp_path / "shards", [14, 15, 14, 15])
    options = [
        *("data=web_dataset", f"data.root={root}", "data.source.split_names={train: all, val: all}"),
        *("data.num_classes=3", "data.image_size=32", f"data.num_workers={workers}"),
        *("data.train_transform.auto_augment=null", "trainer.limit_train_batches=1.0", "+data.source.shuffle_size=8"),
    ]
    assert train(tmp_path / "whole", monkeypatch, "", *options) == 0
    whole = seen(tmp_path / "whole")
    per_epoch = sum(epoch == 0 for epoch, _ in whole)
    assert per_epoch > BATCHES
    run = tmp_path / "run"
    assert train(run, monkeypatch, f"train {per_epoch + 3} raise", *options) is None
    assert train(run, monkeypatch, f"accumulated {per_epoch + 4} raise", *options) is None
    assert train(run, monkeypatch, "", *options) == 0
    assert differing(run / "checkpoints/last.ckpt", tmp_path / "whole" / "checkpoints/last.ckpt") == []
    assert seen(run) == whole
