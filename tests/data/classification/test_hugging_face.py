"""Hugging Face data sets: the reader's interface with a stand-in, and the real package where it is installed."""

import importlib.util
import io
import json

import pytest

from tests.data.helpers import jpeg, make_tree
from visionattn.data.classification.sources import HuggingFace
from visionattn.data.classification.sources.hugging_face import ReaderRecords
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

SPLITS = {"train": "train", "val": "validation"}
INSTALLED = importlib.util.find_spec("datasets") is not None


class StandIn:
    """What is used of timm's ReaderHfds."""

    def __init__(self):
        self.class_to_idx = {"ant": 0, "bee": 1}

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return io.BytesIO(b"" if index == 1 else jpeg(index)), index % 2

    def iter_targets(self):
        return iter([0, 1, 0])


def test_records_of_a_reader():
    records = ReaderRecords(StandIn(), "hub/name/train")
    assert list(records.ids) == [f"hub/name/train/0000000{index}" for index in range(3)]
    assert records.labels.tolist() == [0, 1, 0]
    assert records.class_names == ["ant", "bee"]
    assert records.load(2).size == (40, 32)
    with pytest.raises(UnreadableImage, match="0 bytes"):
        records.load(1)


def test_an_unnamed_split_is_refused():
    with pytest.raises(DataError, match="has no 'test', only train, val"):
        HuggingFace("a/b", {"train": "train", "val": "validation"}).open("test")


@pytest.mark.skipif(INSTALLED, reason="the package datasets is installed")
def test_a_missing_package_is_named():
    with pytest.raises(DataError, match="pip install datasets"):
        HuggingFace("a/b", {"train": "train"}).open("train")


@pytest.mark.skipif(not INSTALLED, reason="the package datasets is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_local_image_folder(tmp_path):
    make_tree(tmp_path / "tree", {"train": 2})
    source = HuggingFace(str(tmp_path / "tree"), {"train": "train"}, root=str(tmp_path / "cache"))
    records = source.open("train")
    assert records.ids[0] == "tree/train/00000000"
    assert records.class_names == ["ant", "bee", "cat"]
    assert sorted(records.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert records.load(5).size == (40, 32)


def write_parquet(folder, split, labels, names=None):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [{"bytes": jpeg(index), "path": None} for index in range(len(labels))]
    table = pyarrow.table({"image": images, "label": labels})
    if names:
        features = {"label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [([0, 1, 0], ["ant", "bee", "cat"], 3), (["bee", "ant", "bee"], None, 2), ([0, 3, 1], None, 4)],
)
def test_parquet_files_of_a_folder_count_and_name_their_classes(tmp_path, labels, names, classes):
    write_parquet(tmp_path, "train", labels, names)
    write_parquet(tmp_path, "test", labels[:2], names)
    facts = HuggingFace.inspect(tmp_path, {"name": str(tmp_path), "split_names": SPLITS, "_target_": "x"})
    assert (facts.num_classes, facts.image_size, facts.images) == (classes, (32, 40), {"train": 3, "val": 2})
    records = HuggingFace(str(tmp_path), SPLITS).open("val")
    assert records.load(1).size == (40, 32)


def test_labels_that_training_lacks_and_columns_that_are_not_there_are_told(tmp_path):
    write_parquet(tmp_path, "train", ["ant", "bee"])
    write_parquet(tmp_path, "validation", ["wasp"])
    with pytest.raises(DataError, match="has the class wasp, which training lacks: ant, bee"):
        HuggingFace(str(tmp_path), SPLITS).open("val")
    with pytest.raises(DataError, match=r"no column fine_label, but image, label"):
        HuggingFace(str(tmp_path), SPLITS, label_key="fine_label").open("train")


@pytest.mark.parametrize("labels", [[*range(2)] * 10, ["ant", "bee"] * 10])
def test_parquet_for_training_alone_holds_a_fixed_fifth_out(tmp_path, labels):
    write_parquet(tmp_path, "photos", [*labels, labels[-1] if isinstance(labels[-1], str) else 5])
    facts = HuggingFace.inspect(tmp_path, {"name": str(tmp_path), "split_names": SPLITS, "_target_": "x"})
    source = HuggingFace(str(tmp_path), SPLITS)
    train, val = source.open("train"), source.open("val")
    assert facts.images == {"train": len(train.ids), "val": len(val.ids)}
    assert (facts.num_classes, "is for validation: a fixed 20% of the rows" in facts.notes[0]) == (
        2 if isinstance(labels[0], str) else 6,
        True,
    )
    rows = [[int(name[-8:]) for name in records.ids] for records in (train, val)]
    assert sorted(rows[0] + rows[1]) == list(range(21))
    assert val.labels[:3].tolist() == [row % 2 for row in rows[1][:3]]
    assert (train.class_names, train.told) == (val.class_names, val.told)


def test_parquet_without_training_files_is_told(tmp_path):
    write_parquet(tmp_path, "test", [0, 1])
    with pytest.raises(DataError, match="has no parquet file for train; test has some"):
        HuggingFace(str(tmp_path), SPLITS).open("train")
