"""Shards through timm's reader: ids, labels, bad files and epochs."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch

from tests.data.helpers import jpeg
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import WebDataset
from visionattn.errors import CheckpointError, ConfigError, DataError

pytest.importorskip("webdataset")


def write_shards(root: Path, lengths: list[int], info: bool = True, bad: tuple[str, ...] = ()) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    for shard, length in enumerate(lengths):
        with tarfile.open(root / f"d-{shard:02d}.tar", "w") as tar:
            for _ in range(length):
                key = f"s{number:03d}"
                image = b"broken" if key in bad else jpeg(number)
                for suffix, data in (("jpg", image), ("cls", str(number % 3).encode())):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                number += 1
    if info:
        split = {
            "name": "all",
            "filenames": [f"d-{shard:02d}.tar" for shard in range(len(lengths))],
            "shard_lengths": lengths,
            "num_samples": number,
        }
        (root / "_info.json").write_text(json.dumps({"splits": {"all": split}}))
    return root


def data(root: Path, **options) -> ClassificationData:
    source = WebDataset(str(root), {"train": "all", "val": "all"}, shuffle_size=8)
    options = {"batch_size": 3, "unreadable_budget": 0.5, **options}
    return ClassificationData(source, 3, 24, **options)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_reads_every_sample_once(tmp_path, num_workers):
    module = data(write_shards(tmp_path, [4, 3, 5]), num_workers=num_workers)
    batches = list(module.val_dataloader())
    ids = [name for batch in batches for name in batch["id"]]
    assert sorted(ids) == [f"s{number:03d}" for number in range(12)]
    targets = torch.cat([batch["target"] for batch in batches]).tolist()
    assert targets == [int(name[1:]) % 3 for name in ids]
    assert module.sizes == {"val": 12}
    assert len(module.fingerprint("val")) == 64


def test_two_processes_share_the_shards_and_make_equally_many_batches(tmp_path, monkeypatch):
    root = write_shards(tmp_path, [7, 1, 2])
    monkeypatch.setattr(ClassificationData, "_world_size", 2)
    seen, counts = [], []
    for rank in (0, 1):
        monkeypatch.setattr(ClassificationData, "_rank", rank)
        batches = list(data(root).val_dataloader())
        counts.append(len(batches))
        seen += [name for batch in batches for name in batch["id"]]
    assert counts == [3, 3]
    assert sorted(seen) == [f"s{number:03d}" for number in range(10)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_epochs_differ_and_repeat(tmp_path, num_workers):
    root = write_shards(tmp_path, [6, 6])

    def order(epoch: int) -> list[str]:
        module = data(root, num_workers=num_workers)
        module._epoch = lambda: epoch  # type: ignore[method-assign]
        return [name for batch in module.train_dataloader() for name in batch["id"]]

    assert len(order(0)) == 12
    assert set(order(0)) == {f"s{number:03d}" for number in range(12)}
    assert order(0) == order(0)
    assert order(0) != order(1)


def test_bad_images_are_reported_and_left_out(tmp_path):
    module = data(write_shards(tmp_path, [4, 4], bad=("s001", "s007")))
    batches = list(module.val_dataloader())
    assert sum(len(batch["id"]) for batch in batches) == 6
    records = [record for batch in batches for record in batch["unreadable"]]
    assert [name for name, _ in records] == ["s001", "s007"]
    assert "not an image" in records[0][1]


def test_a_damaged_shard_is_an_error(tmp_path):
    root = write_shards(tmp_path, [40])
    shard = root / "d-00.tar"
    shard.write_bytes(shard.read_bytes()[:20000])
    with pytest.raises(DataError, match=r"d-00.tar cannot be read to its end"):
        list(data(root).val_dataloader())


def test_a_shard_cut_between_two_samples_is_an_error(tmp_path):
    root = write_shards(tmp_path, [4])
    with tarfile.open(root / "d-00.tar") as tar:
        third = tar.getmember("s002.jpg").offset
    with open(root / "d-00.tar", "r+b") as file:
        file.truncate(third)
    with pytest.raises(DataError, match=r"2 samples, but _info.json states 4"):
        list(data(root).val_dataloader())


@pytest.mark.filterwarnings("ignore")
def test_refusals(tmp_path, monkeypatch):
    root = write_shards(tmp_path, [2, 2])
    with pytest.raises(DataError, match=r"pipe:"):
        WebDataset("pipe:echo ", {"train": "all"})
    with pytest.raises(DataError, match=r"no 'test'"):
        data(root).setup("test")
    with pytest.raises(DataError, match=r"nothing"):
        WebDataset(str(root), {"train": "nothing"}).open("train")
    with pytest.raises(DataError, match=r"1 of 3 shards are missing"):
        WebDataset(str(root), {"val": "d-{00..02}.tar|6"}).open("val")
    with pytest.raises(DataError, match=r"does not state its number of samples"):
        WebDataset(str(root), {"val": "d-{00..01}.tar"}).open("val")
    with pytest.raises(DataError, match=r"2 training shards cannot feed 1 process with 3 workers"):
        data(root, num_workers=3).train_dataloader()
    with pytest.raises(ConfigError, match=r"data.repeats=3 shows images .* shards are read as a stream"):
        data(root, repeats=3).train_dataloader()
    monkeypatch.setattr(ClassificationData, "_world_size", 2)
    source = WebDataset(str(root), {"val": "d-{00..01}.tar|4"})
    with pytest.raises(DataError, match=r"_info.json"):
        ClassificationData(source, 3, 24).val_dataloader()


def test_labels_out_of_range_are_named(tmp_path):
    module = data(write_shards(tmp_path, [4]))
    module.num_classes = 2
    with pytest.raises(DataError, match=r"s002 has label 2, expected 0\.\.1"):
        list(module.val_dataloader())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_epoch_goes_on_behind_the_last_batch(tmp_path, monkeypatch, num_workers):
    """A loader in its second epoch, and a fresh loader brought into the middle of that epoch, give the same."""
    root = write_shards(tmp_path, [6, 6, 6, 6])
    monkeypatch.setattr(ClassificationData, "_epoch", lambda self: epoch)
    epoch = 0
    first = data(root, num_workers=num_workers).train_dataloader()
    assert list(first)
    epoch = 1
    whole = [batch["id"] for batch in first]
    iterator = iter(first)
    given = [next(iterator)["id"] for _ in range(3)]
    state = first.state_dict()
    del iterator
    second = data(root, num_workers=num_workers).train_dataloader()
    second.load_state_dict(state)
    assert given + [batch["id"] for batch in second] == whole
    with pytest.raises(CheckpointError, match=r"workers \(data.num_workers\)"):
        second.load_state_dict(state | {"workers": num_workers + 1})


def test_the_classes_of_shards_are_counted(tmp_path, monkeypatch):
    root, options = write_shards(tmp_path, [4, 3]), {"split_names": {"train": "all", "val": "all"}}
    facts = WebDataset.inspect(root, options)
    assert (facts.num_classes, facts.image_size, facts.images) == (3, (32, 40), {"train": 7, "val": 7})
    read: list[str] = []
    extract = tarfile.TarFile.extractfile
    monkeypatch.setattr(tarfile.TarFile, "extractfile", lambda tar, one: read.append(one.name) or extract(tar, one))
    monkeypatch.setattr("visionattn.data.classification.sources.web_dataset.SAMPLED_HEADERS", 2)
    assert WebDataset.inspect(root, options).num_classes == 3
    pictures = [name for name in read if not name.endswith(".cls")]
    assert len(read) - len(pictures) >= 7
    assert len(pictures) < 7  # those that are looked at, not those between the labels
    named = WebDataset.inspect(root, {**options, "class_names": ["a", "b", "c", "d"]})
    assert (named.num_classes, named.class_names) == (4, ("a", "b", "c", "d"))
    monkeypatch.setattr("visionattn.data.classification.sources.web_dataset.COUNTED", 5)
    assert WebDataset.inspect(root, options).num_classes is None  # too many to read: the key is asked for
