"""Boxes in parquet files: the reader with a stand-in for the table, and real files where pyarrow is installed."""

import importlib.util
import json
import pickle

import pytest

from tests.data.detection.formats.trees import SIZES, module, objects, picture_bytes, write
from visionattn.data.detection import HuggingFaceDetection
from visionattn.data.detection.formats.parquet import ParquetTable, checked, class_names
from visionattn.errors import ConfigError, DataError

INSTALLED = importlib.util.find_spec("pyarrow") is not None
LABELS = {"names": ["car", "dog"], "_type": "ClassLabel"}
FEATURES = {"objects": {"feature": {"bbox": {"feature": {"dtype": "float32"}}, "category": LABELS}, "_type": "List"}}


class StandIn:
    """A table in memory."""

    def __init__(self, rows, features=FEATURES):
        self.names, self.features, self._rows = list(rows[0]), features, rows

    def __len__(self):
        return len(self._rows)

    def rows(self, columns):
        return ({name: row[name] for name in columns} for row in self._rows)

    def cell(self, column, index):
        return self._rows[index][column]

    def row_names(self, column):
        return [str(index) for index in range(len(self))]


def rows(found=([[15, 10, 30, 20]], [1]), **more):
    lists = {"bbox": found[0], "category": found[1]}
    return [
        {"image": {"bytes": picture_bytes(size), "path": "x.jpg"}, "objects": lists, **more}
        if number == 0
        else {"image": {"bytes": picture_bytes(size), "path": None}, "objects": {"bbox": [], "category": []}, **more}
        for number, size in enumerate(SIZES)
    ]


def source(tmp_path, tables, **options):
    for split in {"val", *tables}:
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", "x")
    made = HuggingFaceDetection(str(tmp_path), **options)
    made._tables.update(tables)
    return made


def test_images_come_from_the_table(tmp_path):
    data = module(source(tmp_path, {"train": StandIn(rows()), "val": StandIn(rows())}), 2)
    data.setup("fit")
    records = data.records("val")
    assert records.ids[:] == ["val/00000000", "val/00000001", "val/00000002"]
    assert records.annotations.sizes.tolist() == [list(size) for size in SIZES]
    assert objects(records, 0) == [("dog", [15.0, 10.0, 45.0, 30.0])]
    batches = list(data.val_dataloader())
    assert [i for batch in batches for i in batch["id"]] == list(records.ids)


def test_a_list_of_objects_and_names_of_classes(tmp_path):
    found = [{"box": [1, 2, 3, 4], "label": "bee"}, {"box": [1, 2, 5, 5], "label": "ant"}]
    listed = [row | {"objects": found} for row in rows()]
    made = source(tmp_path, {"train": StandIn(listed, {})}, box_key="box", class_key="label")
    assert made.classes() == ["ant", "bee"]
    assert objects(made.open("train"), 1) == [("bee", [1.0, 2.0, 4.0, 6.0]), ("ant", [1.0, 2.0, 6.0, 7.0])]


def test_boxes_of_the_other_format_are_refused(tmp_path):
    corners = rows(([[15, 10, 59, 39], [20, 20, 50, 38]], [1, 0]))
    with pytest.raises(DataError, match=r"2 of 2 boxes leave .* but fit as xyxy; set data\.source\.box_format=xyxy"):
        source(tmp_path, {"train": StandIn(corners)}).open("train")
    records = source(tmp_path, {"train": StandIn(corners)}, box_format="xyxy").open("train")
    assert objects(records, 0)[0] == ("dog", [15.0, 10.0, 59.0, 39.0])
    with pytest.raises(ConfigError, match="box_format must be xywh or xyxy, got cxcywh"):
        HuggingFaceDetection(str(tmp_path), box_format="cxcywh")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (StandIn(rows(([[1, 2, 3, 4]], [2]))), {}, "row 0: the class 2 is not among car, dog"),
        (StandIn(rows(), {}), {}, r"names its classes nowhere, they are \['1'\]; .* data\.source\.class_names"),
        (StandIn(rows()), {"box_key": "box"}, "the column objects has no box and category, but bbox, category"),
    ],
)
def test_mistakes_have_their_sentence(tmp_path, table, options, message):
    with pytest.raises(DataError, match=message):
        source(tmp_path, {"train": table}, **options).open("train")


def test_other_columns_and_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"has no column objekte, but image, objects; .* data\.source\.objects_key"):
        checked(StandIn(rows()), tmp_path, image_key="image", objects_key="objekte")
    with pytest.raises(DataError, match=r"has no parquet file for train; .* holds nothing"):
        HuggingFaceDetection(str(tmp_path)).open("train")


def test_wrong_boxes_are_counted_and_missing_bytes_are_unreadable(tmp_path):
    table = StandIn(rows(([[1, 2, 3], *[[1, 2, 3, 4]] * 9], [1] * 10)))
    table._rows[1]["image"]["bytes"] = None
    data = module(source(tmp_path, {"train": table, "val": table}), 2)
    data.setup("fit")
    assert data.records("train").annotations.dropped.counts == {"boxes that are not four numbers": 1}
    batches = list(data.val_dataloader())
    assert [who for batch in batches for who, _ in batch["unreadable"]] == ["val/00000001"]


def test_what_the_data_tell(tmp_path):
    made = source(tmp_path, {"train": StandIn(rows()), "val": StandIn(rows())})
    assert made.own_splits() == ["train", "val"]
    assert made.classes() == class_names(FEATURES) == ["car", "dog"]


@pytest.mark.skipif(INSTALLED, reason="the package pyarrow is installed")
def test_a_missing_package_is_named(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", "x")
    with pytest.raises(DataError, match=r"need the package pyarrow: pip install 'visionattn\[huggingface\]'"):
        HuggingFaceDetection(str(tmp_path)).open("train")


@pytest.mark.skipif(not INSTALLED, reason="the package pyarrow is not installed")
@pytest.mark.filterwarnings("ignore")
def test_real_files(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows())
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        parquet.write_table(table, tmp_path / "data" / f"{name}.parquet", row_group_size=2)
    facts = HuggingFaceDetection.inspect(tmp_path, {})
    assert (facts.class_names, facts.images) == (("car", "dog"), {"train": 6, "val": 3})
    assert facts.image_size == (50, 50)
    records = HuggingFaceDetection(str(tmp_path)).open("train")
    again = pickle.loads(pickle.dumps(records))
    for index in (5, 0, 3, 2):
        assert again.image(index).shape == (3, *SIZES[index % 3])
    assert objects(again, 3) == [("dog", [15.0, 10.0, 45.0, 30.0])]
    with pytest.raises(DataError, match="cannot be read as a parquet file"):
        ParquetTable([write(tmp_path / "x.parquet", "no parquet")])


@pytest.mark.skipif(not INSTALLED, reason="the package pyarrow is not installed")
def test_files_for_training_alone_hold_a_fixed_fifth_out(tmp_path):
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "data").mkdir()

    def store(count, path):
        cells = [{"bytes": picture_bytes((40, 30)), "path": path.format(n)} for n in range(count)]
        lists = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [n % 2]} for n in range(count)]
        table = pyarrow.table({"image": cells, "objects": lists})
        described = json.dumps({"info": {"features": FEATURES}})
        parquet.write_table(
            table.replace_schema_metadata({"huggingface": described}), tmp_path / "data" / "all.parquet"
        )
        return table

    def parts():
        read = HuggingFaceDetection(str(tmp_path))
        return {split: set(read.open(split).ids) for split in ("train", "val")}, read

    store(40, "{}.jpg")
    found, made = parts()
    rows_of = {split: {int(name[-8:]) for name in ids} for split, ids in found.items()}
    assert rows_of["train"] | rows_of["val"] == set(range(40))
    assert not rows_of["train"] & rows_of["val"]
    assert 2 <= len(rows_of["val"]) <= 16
    facts = HuggingFaceDetection.inspect(tmp_path, {})
    assert facts.images == {split: len(ids) for split, ids in found.items()}
    assert f"a fixed 20% of the rows is val ({len(found['val'])} of 40)" in facts.notes[1]
    records = made.open("val")
    assert objects(records, 0)[0][0] == ("car", "dog")[int(records.ids[0][-8:]) % 2]
    store(60, "{}.jpg")
    assert found["val"] <= parts()[0]["val"]  # new rows move no old one
    by_path = parts()[0]["val"]
    store(60, "same.jpg")
    assert parts()[0]["val"] != by_path  # paths that are not the rows' own name nothing
