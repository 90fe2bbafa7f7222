"""Which folders are splits and classes, which files are images, and what is told about the rest."""

import tarfile

import pytest

from tests.data.helpers import jpeg, make_tree
from visionattn.data.classification import ClassificationData
from visionattn.data.classification.sources import ImageFolder
from visionattn.data.folders import LeftOut, images_below, read_list
from visionattn.errors import DataError


def opened(root, split="train"):
    return ImageFolder(str(root)).open(split)


def told(root, split="train"):
    return " | ".join(opened(root, split).told)


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "VALID", "dev"])
def test_names_of_splits(tmp_path, name):
    make_tree(tmp_path, {"train": 2, name: 1})
    assert list(opened(tmp_path, "val").ids) == [f"{name}/{kind}/0.jpg" for kind in ("ant", "bee", "cat")]
    assert f"val is the folder {name}" in told(tmp_path, "val")


def test_without_val_the_test_split_is_validated_on(tmp_path):
    make_tree(tmp_path, {"train": 2, "test": 1})
    assert opened(tmp_path, "val").ids[0] == opened(tmp_path, "test").ids[0] == "test/ant/0.jpg"
    assert "validation is on" in told(tmp_path, "val")


def test_a_folder_of_classes_has_a_fixed_split(tmp_path):
    make_tree(tmp_path, {"x": 30})
    root = tmp_path / "x"
    train, val = opened(root), opened(root, "val")
    assert train.class_names == val.class_names == ["ant", "bee", "cat"]
    assert not set(train.ids) & set(val.ids)
    assert len(train.ids) + len(val.ids) == 90
    assert set(val.labels) == {0, 1, 2}
    assert "a fixed share of its images is val" in told(root)
    (root / "ant" / "new.jpg").write_bytes(jpeg(5))
    assert set(val.ids) <= set(opened(root, "val").ids)  # new files move no old one
    assert len(ImageFolder(str(root), val_fraction=0.5).open("val").ids) > len(val.ids)


def test_facts(tmp_path):
    facts = ImageFolder.inspect(make_tree(tmp_path, {"train": 3, "valid": 2}), {"val_labels": None, "_partial_": True})
    assert (facts.num_classes, facts.class_names, facts.image_size) == (3, ("ant", "bee", "cat"), (32, 40))
    assert facts.images == {"train": 9, "val": 6}
    assert facts.notes == ("val is the folder valid",)
    flat = ImageFolder.inspect(tmp_path / "train", {})
    assert sum(flat.images.values()) == 9


def test_what_is_no_image_is_left_out_and_told(tmp_path):
    make_tree(tmp_path, {"train": 2, "val": 1})
    train = tmp_path / "train"
    for junk in (".cache/0.jpg", "@eaDir/0.jpg", "ant/.ipynb_checkpoints/0.jpg", "ant/__MACOSX/0.jpg", "ant/._0.jpg"):
        (train / junk).parent.mkdir(exist_ok=True)
        (train / junk).write_bytes(b"no image")
    for name, source in (("1.HEIC", "0.jpg"), ("2.JFIF", "1.jpg")):
        (train / "bee" / source).rename(train / "bee" / name)
    (train / "cat" / "again").symlink_to(train, target_is_directory=True)
    (train / "loop").symlink_to(tmp_path, target_is_directory=True)
    (train / "stray.png").write_bytes(jpeg(1))
    records = opened(tmp_path)
    assert records.class_names == ["ant", "bee", "cat"]
    assert "train/bee/2.JFIF" in records.ids
    assert len(records.ids) == 5
    sentences = told(tmp_path)
    assert "left out: 1 images beside the class folders" in sentences
    assert "5 hidden or system entries (._0.jpg, .cache, .ipynb_checkpoints, @eaDir" in sentences
    assert "1 files of other kinds (1 .heic)" in sentences
    assert "2 links that lead back to a folder above them (loop, train/cat/again)" in sentences


def test_only_files_of_other_kinds_say_so(tmp_path):
    make_tree(tmp_path, {"train": 1})
    for path in list(tmp_path.glob("train/*/*.jpg")):
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(DataError, match=r"no images in ant, bee, cat .*3 files of other kinds \(3 \.heic\)|no 'train'"):
        opened(tmp_path)


def test_a_folder_goes_before_its_tar(tmp_path):
    make_tree(tmp_path, {"train": 2, "val": 1})
    for path in (tmp_path / "train.tar", tmp_path / "train" / "ant.tar"):
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "train" / "ant", "ant")
    assert len(opened(tmp_path).ids) == 6
    assert "train.tar is left out" in told(tmp_path)
    assert "1 tar files beside the class folders" in told(tmp_path)


def test_classes_are_matched_by_name(tmp_path):
    make_tree(tmp_path, {"train": 2, "val": 1})
    for path in (tmp_path / "val" / "ant").iterdir():
        path.unlink()
    (tmp_path / "val" / "ant").rmdir()
    records = opened(tmp_path, "val")
    assert records.class_names == ["ant", "bee", "cat"]
    assert records.labels.tolist() == [1, 2]
    assert "val lacks 1 of the 3 classes: ant" in told(tmp_path, "val")
    (tmp_path / "val" / "dog").mkdir()
    with pytest.raises(DataError, match="differ; only in train: ant; only in val: dog"):
        opened(tmp_path, "val")


def test_one_class_is_refused(tmp_path):
    make_tree(tmp_path, {"train": 2, "val": 1}, classes=("ant",))
    with pytest.raises(DataError, match=r"one class alone \(ant\)"):
        ClassificationData(ImageFolder, 1, 16, root=str(tmp_path)).setup("fit")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_lists_in_other_encodings(tmp_path, encoding):
    path = tmp_path / "list.txt"
    path.write_bytes("größe\r\n\nb\n".encode(encoding))
    if encoding in ("latin-1", "utf-16-le"):  # without a mark nothing tells UTF-16
        with pytest.raises(DataError, match=r"list\.txt is no text in UTF-8 or UTF-16 \(byte"):
            read_list(path)
    else:
        assert read_list(path) == ["größe", "b"]


def test_links_that_meet_are_followed_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a", target_is_directory=True)
    left_out = LeftOut()
    assert images_below(tmp_path / "a", left_out) == ["0.jpg", "to_b/0.jpg"]
    assert left_out.loops == ["to_b/to_a"]
