"""The data module: same pictures whatever the workers and processes, bad files handled, numbers checked."""

import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.helpers import jpeg, make_tree
from visionattn.data import ClassificationData
from visionattn.data.classification.sources import Digits, ImageFolder
from visionattn.data.classification.transforms import EvalTransform, TrainTransform
from visionattn.data.decode import decode_rgb
from visionattn.data.normalize import Normalize
from visionattn.data.seeding import SampleRandomState
from visionattn.errors import ConfigError, DataError, UnreadableImagesError

AUGMENT = partial(
    TrainTransform, scale=(0.3, 1.0), auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.5, re_mode="pixel",
    interpolation="random",
)  # fmt: skip


def folder(root: Path, **options) -> ClassificationData:
    options = {"batch_size": 4, "train_transform": AUGMENT, "seed": 5, **options}
    return ClassificationData(ImageFolder(str(root)), options.pop("num_classes", 3), (24, 32), **options)


def epoch_of(module: ClassificationData, epoch: int = 0) -> dict[str, torch.Tensor]:
    loader = module.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return {name: image for batch in loader for name, image in zip(batch["id"], batch["image"], strict=True)}


def test_batches_are_as_promised(tmp_path):
    module = folder(make_tree(tmp_path, {"train": 4, "val": 3}))
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (4, 3, 24, 32)
    assert batch["image"].dtype == torch.uint8
    assert batch["target"].dtype == torch.int64
    assert [name.split("/")[1] for name in batch["id"]] == [module.class_names[t] for t in batch["target"]]
    assert batch["unreadable"] == []
    assert module.sizes == {"train": 12, "val": 9}
    assert module.class_names == ["ant", "bee", "cat"]
    assert module.in_chans == 3


def test_the_same_pictures_for_no_and_two_workers(tmp_path):
    make_tree(tmp_path, {"train": 5})
    alone, helped = folder(tmp_path), folder(tmp_path, num_workers=2)
    loader = helped.train_dataloader()  # persistent workers: three epochs through one loader
    epochs = []
    for epoch in range(3):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        epochs.append({n: i for batch in loader for n, i in zip(batch["id"], batch["image"], strict=True)})
        expected = epoch_of(alone, epoch)
        assert list(epochs[-1]) == list(expected)
        assert all(torch.equal(epochs[-1][name], expected[name]) for name in expected)
    common = next(name for name in epochs[0] if name in epochs[1])
    assert not torch.equal(epochs[0][common], epochs[1][common])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    again = epoch_of(alone)
    assert all(torch.equal(again[name], epochs[0][name]) for name in again)


def test_the_same_pictures_on_two_processes(tmp_path, monkeypatch):
    make_tree(tmp_path, {"train": 5})
    alone = epoch_of(folder(tmp_path))
    monkeypatch.setattr(ClassificationData, "_world_size", 2)
    together = {}
    for rank in (0, 1):
        monkeypatch.setattr(ClassificationData, "_rank", rank)
        together |= epoch_of(folder(tmp_path, batch_size=2))
    assert set(together) == set(alone)
    assert all(torch.equal(together[name], alone[name]) for name in alone)


def test_loading_leaves_the_main_process_random_state_alone(tmp_path):
    module = folder(make_tree(tmp_path, {"train": 3}))
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    epoch_of(module)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_leaves_bad_files_out_and_lists_them(tmp_path, num_workers):
    make_tree(tmp_path, {"val": 3})
    (tmp_path / "val" / "ant" / "1.jpg").write_bytes(b"")
    (tmp_path / "val" / "cat" / "0.jpg").write_bytes(jpeg(3)[:300])
    module = folder(tmp_path, num_workers=num_workers, unreadable_budget=0.3)
    batches = list(module.val_dataloader())
    assert sum(len(batch["id"]) for batch in batches) == 7
    for batch in batches:
        module.budget("val").add(batch["unreadable"])
    assert list(module.budget("val").records) == ["val/ant/1.jpg", "val/cat/0.jpg"]
    strict = folder(tmp_path)
    records = [record for batch in strict.val_dataloader() for record in batch["unreadable"]]
    with pytest.raises(UnreadableImagesError, match=r"2 of the 9 val images.*budget is 0"):
        strict.budget("val").add(records)


def test_training_refills_the_slot_the_same_way_everywhere(tmp_path):
    make_tree(tmp_path, {"train": 4})
    for name in ("ant/0.jpg", "bee/2.jpg", "cat/1.jpg"):
        (tmp_path / "train" / name).write_bytes(b"not an image")
    found = []
    for num_workers in (0, 2):
        loader = folder(tmp_path, num_workers=num_workers).train_dataloader()
        batches = list(loader)
        assert [len(batch["id"]) for batch in batches] == [4, 4, 4]
        reported = {name for batch in batches for name, _ in batch["unreadable"]}
        assert reported == {"train/ant/0.jpg", "train/bee/2.jpg", "train/cat/1.jpg"}
        found.append(([batch["id"] for batch in batches], torch.cat([batch["image"] for batch in batches])))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_where_nothing_can_be_read_batches_are_empty(tmp_path):
    make_tree(tmp_path, {"train": 2, "val": 2})
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"")
    module = folder(tmp_path)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        batch = next(iter(loader))
        assert batch["image"].shape == (0, 3, 24, 32)
        assert batch["target"].shape == (0,)
        assert batch["target"].dtype == torch.int64
        assert batch["id"] == []
        assert len(batch["unreadable"]) >= 4


def test_numbers_of_classes_must_agree(tmp_path):
    module = folder(make_tree(tmp_path, {"train": 2}), num_classes=1000)
    with pytest.raises(DataError, match="have 3 classes, but num_classes is 1000"):
        module.train_dataloader()


def test_root_completes_a_source_factory(tmp_path):
    make_tree(tmp_path, {"train": 2})
    module = ClassificationData(ImageFolder, 3, 24, batch_size=2, root=str(tmp_path))
    assert len(list(module.train_dataloader())) == 3
    with pytest.raises(ConfigError, match=r"a factory .* got Digits"):
        ClassificationData(Digits(), 10, root="/data")
    with pytest.raises(ConfigError, match="a finished source, got partial"):
        ClassificationData(partial(ImageFolder), 3)


def test_building_reads_nothing_and_setup_does():
    module = folder(Path("/nowhere"))
    with pytest.raises(DataError, match="only after setup"):
        module.class_names  # noqa: B018
    with pytest.raises(DataError, match="no such folder"):
        module.setup("validate")


def test_digits_split_is_fixed():
    module = ClassificationData(Digits(), 10, 32, batch_size=64, seed=99)
    module.setup()
    assert module.sizes == {"train": 1438, "val": 359, "test": 359}
    assert module.fingerprint("val") == module.fingerprint("test")
    train, test = set(module.records("train").ids), set(module.records("test").ids)
    assert not train & test
    assert len(train | test) == 1797
    counts = [np.bincount(module.records(split).labels) for split in ("train", "test")]
    assert np.abs(counts[1] / (counts[0] + counts[1]) - 0.2).max() < 0.003
    from hashlib import sha256

    names = "\n".join(module.records("test").ids)
    assert sha256(names.encode()).hexdigest() == "25f74fbf6cbb76929299b71d55f490116cce02522ca64a7a9bc77994d54a9568"


def test_digits_are_scans_enlarged():
    records = Digits(interpolation="nearest").open("train")
    image = np.asarray(records.load(0))
    assert image.shape == (32, 32, 3)
    small = image[::4, ::4, 0]
    assert np.array_equal(np.kron(small, np.ones((4, 4))), image[..., 0])
    assert max(int(np.asarray(records.load(index)).max()) for index in range(5)) == 255
    with pytest.raises(ConfigError, match="'cubic' is not one of nearest"):
        Digits(interpolation="cubic")


def test_evaluation_protocol_is_described_and_equals_timm(tmp_path):
    from timm.data import create_transform

    transform = EvalTransform((24, 32), (0.5,) * 3, (0.25,) * 3, 0.9, "squash", "bilinear")
    assert transform.describe() == {
        "size": [24, 32],
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    timm = create_transform(
        (3, 24, 32), mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=0.9, crop_mode="squash", interpolation="bilinear"
    )
    picture = decode_rgb(jpeg(4, (61, 47)))
    normalize = Normalize(transform.mean, transform.std)
    assert torch.equal(normalize(transform(picture)[None])[0], timm(picture))


@pytest.mark.parametrize("policy", ["rand-m10-n4", "rand-m9-n3-mstd0.5-inc1", "original", "v0", "3a", "augmix-m9-w2"])
def test_automatic_augmentation_never_fails(policy):
    """timm's posterize of 0 bits is refused by Pillow 13; 300 draws meet it."""
    transform = TrainTransform(16, auto_augment=policy)
    picture = decode_rgb(jpeg(1))
    for draw in range(300):
        with SampleRandomState(draw):
            assert transform(picture).shape == (3, 16, 16)


def test_posterize_of_no_bits_is_black():
    transform = TrainTransform(16, auto_augment="rand-m10-n1-inc1", mean=(0.0,) * 3, std=(1.0,) * 3)
    ops = [op for step in transform._steps for op in getattr(step, "ops", [])]
    (posterize,) = [op for op in ops if op.name.startswith("Posterize")]
    assert not np.asarray(posterize.aug_fn(decode_rgb(jpeg(1)), 0)).any()
    four = np.asarray(posterize.aug_fn(decode_rgb(jpeg(1)), 4))
    assert four.any()
    assert not (four & 15).any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EvalTransform(32, crop_mode="stretch"), "'stretch' is not one of"),
        (lambda: EvalTransform(32, crop_pct=1.2), "got 1.2"),
        (lambda: EvalTransform(32, interpolation="cubic"), "'cubic' is not one of"),
        (lambda: EvalTransform((1, 2, 3)), r"got \(1, 2, 3\)"),
        (lambda: TrainTransform(32, colour_jitter=0.4), "did you mean color_jitter"),
        (lambda: TrainTransform(32, use_prefetcher=True), "unknown training transform option"),
        (lambda: TrainTransform(32, hflip=7), r"data\.train_transform\.hflip is a share from 0 to 1, not 7"),
        (lambda: TrainTransform(32, re_prob=-0.1), r"re_prob is a share from 0 to 1, not -0\.1"),
    ],
)
def test_wrong_transform_options(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_importing_the_package_is_cheap():
    import subprocess
    import sys

    check = "import sys, visionattn.data; assert 'visionattn.data.classification.module' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)
