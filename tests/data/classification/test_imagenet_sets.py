"""ImageNet's test sets in their real layouts: labels, subsets, several right labels, the mean corruption error."""

import json

import numpy as np
import pytest

from tests.data.helpers import jpeg
from visionattn.data.classification.imagenet import ALEXNET_ERRORS, subset_labels, wordnet_ids
from visionattn.data.classification.sources import ImageNetC, ImageNetFolders, ImageNetReal
from visionattn.errors import ConfigError, DataError


def put(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(seed))


def test_the_tables_are_imagenets():
    assert wordnet_ids()[0] == "n01440764"
    assert wordnet_ids()[999] == "n15075141"
    assert list(wordnet_ids()) == sorted(wordnet_ids())
    assert subset_labels("imagenet-a")[:3] == (6, 11, 13)
    assert subset_labels("imagenet-r")[:3] == (1, 2, 4)
    assert len(subset_labels("imagenet-a")) == len(subset_labels("imagenet-r")) == 200
    assert len(ALEXNET_ERRORS) == 15


def test_v2_is_labelled_by_numbers_in_natural_order(tmp_path):
    for label in (2, 10, 999):
        put(tmp_path / str(label) / "a.jpeg", label)
    records = ImageNetFolders(str(tmp_path), num_published=10_000).open("val")
    assert list(records.ids) == ["2/a.jpeg", "10/a.jpeg", "999/a.jpeg"]
    assert records.labels.tolist() == [2, 10, 999]
    assert records.class_subset is None
    assert records.num_published == 10_000
    assert len(records.class_names) == 1000


def test_a_and_r_keep_their_200_classes_where_folders_are_missing(tmp_path):
    for name in ("n01498041", "n01614925"):  # classes 6 and 22
        put(tmp_path / name / "x.jpg", 1)
    (tmp_path / "README.txt").write_text("about")
    records = ImageNetFolders(str(tmp_path), classes="imagenet-a").open("val")
    assert records.labels.tolist() == [6, 22]
    assert records.class_subset == list(subset_labels("imagenet-a"))
    put(tmp_path / wordnet_ids()[0] / "x.jpg", 1)
    with pytest.raises(DataError, match="folders that are not classes of imagenet-a: n01440764"):
        ImageNetFolders(str(tmp_path), classes="imagenet-a").open("val")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: ImageNetFolders(str(root), classes="imagenet-b"), ConfigError, "'imagenet-b' is not one of"),
        (lambda root: ImageNetFolders(str(root)).open("train"), DataError, "no split 'train'"),
        (lambda root: ImageNetFolders(str(root)).open("val"), DataError, "no class folders"),
        (lambda root: ImageNetFolders(str(root / "x")).open("val"), DataError, "no such folder"),
        (lambda root: ImageNetC(str(root), corruptions=["rain"]), ConfigError, "got rain"),
        (lambda root: ImageNetC(str(root), severities=[0]), ConfigError, "got 0"),
        (lambda root: ImageNetC(str(root)).open("val"), DataError, "no folder gaussian_noise"),
    ],
)
def test_wrong_trees_are_one_sentence(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        make(tmp_path)


def test_real_drops_images_without_labels_and_takes_any_right_one(tmp_path):
    names = ["n01440764", "n01443537", "n15075141"]
    for number, name in enumerate(names, 1):
        put(tmp_path / "val" / name / f"ILSVRC2012_val_{number:08d}.JPEG", number)
    (tmp_path / "real.json").write_text(json.dumps([[5, 0], [], [998]]))
    records = ImageNetReal(str(tmp_path), real_labels="real.json").open("val")
    assert records.labels.tolist() == [0, 1, 999]  # ImageNet's own, although only three folders are there
    ids = list(records.ids)
    assert records.scores(dict(zip(ids, [5, 1, 999], strict=True))) == {"real_top1": 50.0, "real_images": 2}
    assert records.scores(dict(zip(ids, [0, 7, 998], strict=True))) == {"real_top1": 100.0, "real_images": 2}
    shipped = ImageNetReal(str(tmp_path)).open("val")
    assert [shipped.answers[name] for name in ids] == [[], [970, 795], [230, 231]]  # as the published file begins
    put(tmp_path / "val" / names[0] / "holiday.JPEG", 9)
    with pytest.raises(DataError, match=r"holiday\.JPEG is not named as"):
        ImageNetReal(str(tmp_path)).open("val")


@pytest.mark.parametrize("archives", [False, True])
def test_mean_corruption_error(tmp_path, archives):
    for corruption in ALEXNET_ERRORS:
        for severity in range(1, 6):
            for label in (3, 4):
                folder = tmp_path / "some_archive" if archives else tmp_path
                put(folder / corruption / str(severity) / wordnet_ids()[label] / "a.JPEG", label)
    records = ImageNetC(str(tmp_path)).open("val")
    assert len(records.ids) == 150
    assert records.num_published == 75 * 50_000
    said = {}
    for name, label in zip(records.ids, records.labels.tolist(), strict=True):
        fog = "/fog/" in f"/{name}"
        said[name] = 0 if (fog and "/5/" in name) or (not fog and label == 4) else label
    scores = records.scores(said)
    assert scores["error/fog"] == pytest.approx(20.0)  # both wrong at one of five severities
    assert scores["error/snow"] == pytest.approx(50.0)
    assert scores["ce/fog"] == pytest.approx(100 * 20.0 / 81.9324)
    expected = [100 * (20.0 if name == "fog" else 50.0) / error for name, error in ALEXNET_ERRORS.items()]
    assert scores["mce"] == pytest.approx(np.mean(expected))
    part = ImageNetC(str(tmp_path), corruptions=["fog"], severities=[1, 5]).open("val")
    assert len(part.ids) == 4
    assert "mce" not in part.scores(said)
