"""ImageNet's layout in all its forms, and the messages where a folder is none of them."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from timm.data.readers import create_reader

from tests.data.helpers import jpeg, make_tree
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.decode import decode_rgb
from visionattn.data.records import PackedStrings, fingerprint
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError


def test_class_folders_in_natural_order_as_timm_reads_them(tmp_path):
    make_tree(tmp_path, {"train": 12}, classes=("class10", "class2", "n3"))
    records = ImageFolder(str(tmp_path)).open("train")
    assert records.class_names == ["class2", "class10", "n3"]
    assert records.ids[:3] == ["train/class2/0.jpg", "train/class2/1.jpg", "train/class2/2.jpg"]
    assert records.ids[11] == "train/class2/11.jpg"
    timm = create_reader("", root=str(tmp_path / "train"))
    assert [os.path.relpath(path, tmp_path) for path, _ in timm.samples] == list(records.ids)
    assert [label for _, label in timm.samples] == records.labels.tolist()
    expected = decode_rgb((tmp_path / records.ids[5]).read_bytes())
    assert np.array_equal(np.asarray(records.load(5)), np.asarray(expected))


def test_test_equals_val_unless_there_is_one(tmp_path):
    source = ImageFolder(str(make_tree(tmp_path, {"train": 2, "validation": 2})))
    assert list(source.open("test").ids) == list(source.open("val").ids)
    make_tree(tmp_path / "more", {"test": 1})
    (tmp_path / "more" / "test").rename(tmp_path / "test")
    assert source.open("test").ids[0] == "test/ant/0.jpg"


def test_imagenets_unlabelled_test_folder_is_not_used(tmp_path):
    source = ImageFolder(str(make_tree(tmp_path, {"train": 2, "val": 2})))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "t1.JPEG").write_bytes(jpeg(0))
    assert list(source.open("test").ids) == list(source.open("val").ids)


def test_deeper_folders_belong_to_their_class(tmp_path):
    make_tree(tmp_path, {"train": 1})
    (tmp_path / "train" / "bee" / "left").mkdir()
    (tmp_path / "train" / "bee" / "left" / "x.png").write_bytes(jpeg(1))
    records = ImageFolder(str(tmp_path)).open("train")
    assert dict(zip(records.ids, records.labels.tolist(), strict=True))["train/bee/left/x.png"] == 1


def test_differing_classes_are_named(tmp_path):
    make_tree(tmp_path, {"train": 1, "val": 1})
    (tmp_path / "val" / "cat").rename(tmp_path / "val" / "dog")
    with pytest.raises(DataError, match=r"differ; only in train: cat; only in val: dog"):
        ImageFolder(str(tmp_path)).open("val")


@pytest.mark.parametrize(
    ("prepare", "split", "message"),
    [
        (lambda root: None, "train", "no 'train' split.*train/<class>/<image>.*found in .*nothing"),
        (lambda root: (root / "pics").mkdir(), "train", r"found in .*pics/"),
        (lambda root: (root / "train").mkdir(), "train", "has no class folders"),
        (lambda root: (root / "train" / "ant").mkdir(parents=True), "train", "no images in ant"),
        (lambda root: (root / "train").mkdir() or (root / "train" / "a.jpg").touch(), "train", "no class folders"),
        (lambda root: make_tree(root, {"train": 1}), "val", "no 'val' split.*found in .*train/"),
        (lambda root: make_tree(root, {"train": 1}), "dev", "no split 'dev'"),
    ],
)
def test_other_trees_are_refused_with_the_expected_one(tmp_path, prepare, split, message):
    prepare(tmp_path)
    with pytest.raises(DataError) as caught:
        ImageFolder(str(tmp_path)).open(split)
    import re

    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_a_missing_root_shows_the_tree():
    with pytest.raises(DataError, match=r"no such folder: /nowhere/at/all"):
        ImageFolder("/nowhere/at/all").open("train")


def test_building_reads_nothing():
    ImageFolder("/nowhere/at/all", val_labels="x.csv")


def test_a_file_that_vanished_is_unreadable(tmp_path):
    records = ImageFolder(str(make_tree(tmp_path, {"train": 1}))).open("train")
    (tmp_path / "train" / "ant" / "0.jpg").unlink()
    with pytest.raises(UnreadableImage, match=r"No such file"):
        records.load(0)


def flat(root: Path, names: tuple[str, ...] = ("v1.JPEG", "v2.JPEG", "v10.JPEG")) -> ImageFolder:
    make_tree(root, {"train": 1})
    (root / "val").mkdir()
    for number, name in enumerate(names):
        (root / "val" / name).write_bytes(jpeg(number))
    return ImageFolder(str(root))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val_labels.txt", "v10.JPEG ant\nv2.JPEG cat\nv1.JPEG bee\n"),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\nv10,ant 1 2 3 4 \nv1,bee 9 9 9 9 bee 1 1 1 1 \nv2,cat 1 1 1 1\n",
        ),
    ],
)
def test_flat_val_with_its_label_file(tmp_path, name, text):
    source = flat(tmp_path)
    (tmp_path / name).write_text(text)
    records = source.open("val")
    assert list(records.ids) == ["val/v1.JPEG", "val/v2.JPEG", "val/v10.JPEG"]
    assert records.labels.tolist() == [1, 2, 0]
    assert records.class_names == ["ant", "bee", "cat"]


def test_the_devkits_integers_need_the_devkits_order(tmp_path):
    flat(tmp_path)
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n3\n1\n")
    with pytest.raises(DataError, match=r"integers without a class list.*synsets="):
        ImageFolder(str(tmp_path)).open("val")
    (tmp_path / "order.txt").write_text("cat the cat\nant an ant\nbee\n")
    records = ImageFolder(str(tmp_path), synsets="order.txt").open("val")
    assert [records.class_names[label] for label in records.labels] == ["ant", "bee", "cat"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs a label file"),
        ("", "is empty"),
        ("v1.JPEG ant\nv2.JPEG cat\n", "1 of 3 images .* no label .* v10.JPEG"),
        ("v1.JPEG ant extra\n", "line 1: expected 'filename class'"),
        ("v1.JPEG ant\nv2.JPEG cat\nv10.JPEG dog\n", "classes without a folder .*dog"),
    ],
)
def test_wrong_label_files_are_refused(tmp_path, text, message):
    source = flat(tmp_path)
    if text is not None:
        (tmp_path / "val_labels.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        source.open("val")


def test_integers_out_of_range_or_of_another_count(tmp_path):
    flat(tmp_path)
    (tmp_path / "order.txt").write_text("cat\nant\nbee\n")
    labels = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    source = ImageFolder(str(tmp_path), synsets="order.txt")
    labels.write_text("2\n3\n")
    with pytest.raises(DataError, match=r"2 labels for 3 images"):
        source.open("val")
    labels.write_text("2\n3\n4\n")
    with pytest.raises(DataError, match=r"labels 2\.\.4.*lists 3 classes"):
        source.open("val")


def pack(tar: Path, folder: Path, below: str = "") -> None:
    with tarfile.open(tar, "w") as file:
        for path in sorted(folder.rglob("*.jpg")):
            file.add(path, arcname=f"{below}{path.relative_to(folder).as_posix()}")


def test_tar_files_equal_the_folder(tmp_path):
    tree = make_tree(tmp_path / "tree", {"train": 3, "val": 2})
    packed = tmp_path / "packed"
    (packed / "val").mkdir(parents=True)
    pack(packed / "train.tar", tree / "train")
    for name in ("ant", "bee", "cat"):
        pack(packed / "val" / f"{name}.tar", tree / "val" / name)
    for split, count in (("train", 9), ("val", 6)):
        from_tar, from_folder = ImageFolder(str(packed)).open(split), ImageFolder(str(tree)).open(split)
        assert from_tar.class_names == from_folder.class_names
        assert len(set(from_tar.ids)) == count
        pictures = [
            {
                (np.asarray(records.load(index)).tobytes(), int(records.labels[index]))
                for index in range(len(records.ids))
            }
            for records in (from_tar, from_folder)
        ]
        assert pictures[0] == pictures[1]


def test_tars_inside_a_tar(tmp_path):
    tree = make_tree(tmp_path / "tree", {"train": 2})
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("ant", "bee", "cat"):
        pack(inner / f"{name}.tar", tree / "train" / name)
    with tarfile.open(tmp_path / "train.tar", "w") as outer:
        for path in sorted(inner.iterdir()):
            outer.add(path, arcname=path.name)
    records = ImageFolder(str(tmp_path)).open("train")
    found = {(np.asarray(records.load(i)).tobytes(), records.class_names[records.labels[i]]) for i in range(6)}
    expected = {(np.asarray(decode_rgb(path.read_bytes())).tobytes(), path.parent.name) for path in tree.rglob("*.jpg")}
    assert found == expected
    assert len(set(records.ids)) == 6


def test_a_tar_cut_short_after_listing_is_unreadable(tmp_path):
    pack(tmp_path / "train.tar", make_tree(tmp_path / "tree", {"train": 2}) / "train")
    records = ImageFolder(str(tmp_path)).open("train")
    with open(tmp_path / "train.tar", "r+b") as file:
        file.truncate(700)
    with pytest.raises(UnreadableImage):
        records.load(5)


def test_a_broken_or_empty_tar_is_named(tmp_path):
    (tmp_path / "train.tar").write_bytes(b"no tar at all")
    with pytest.raises(DataError, match=r"train\.tar cannot be read as tar"):
        ImageFolder(str(tmp_path)).open("train")
    with tarfile.open(tmp_path / "train.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"no images in .*train\.tar"):
        ImageFolder(str(tmp_path)).open("train")


def test_packed_strings_are_a_sequence():
    strings = PackedStrings(["a", "", "grüße", "d/e"])
    assert list(strings) == ["a", "", "grüße", "d/e"]
    assert strings[-1] == "d/e"
    assert strings[1:3] == ["", "grüße"]
    with pytest.raises(IndexError):
        strings[4]


def test_fingerprint_follows_ids_and_labels(tmp_path):
    source = ImageFolder(str(make_tree(tmp_path, {"train": 2})))
    first = fingerprint(source.open("train"))
    assert first == fingerprint(source.open("train"))
    assert len(first) == 64
    changed = source.open("train")
    changed.labels[0] = 2
    assert fingerprint(changed) != first
    (tmp_path / "train" / "ant" / "0.jpg").rename(tmp_path / "train" / "ant" / "7.jpg")
    assert fingerprint(source.open("train")) != first
