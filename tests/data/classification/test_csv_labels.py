"""Labels in tables: how splits, columns and folders are found, and what is refused."""

import pytest

from tests.data.helpers import jpeg
from visionattn.data.classification import CsvLabels
from visionattn.errors import DataError

ROWS = [(f"{number}.jpg", ("2", "10", "1")[number % 3]) for number in range(12)]


def tree(root, text=None, name="labels.csv", folder="."):
    (root / folder).mkdir(parents=True, exist_ok=True)
    for file, _ in ROWS:
        (root / folder / file).write_bytes(jpeg(1))
    rows = "".join(f"{file},{label}\n" for file, label in ROWS)
    (root / name).write_text(text if text is not None else f"file,label\n{rows}", encoding="utf-8")
    return root


def test_one_table_is_split_by_the_names_of_its_images(tmp_path):
    source = CsvLabels(str(tree(tmp_path)))
    train, val = source.open("train"), source.open("val")
    assert sorted([*train.ids, *val.ids]) == sorted(file for file, _ in ROWS)
    with pytest.raises(DataError, match=r"labels\.csv lists no image for test, only for train, val"):
        source.open("test")
    assert 0 < len(val.ids) < len(train.ids)
    assert train.class_names == ["1", "2", "10"]
    of = dict(ROWS)
    assert [train.class_names[label] for label in train.labels] == [of[file] for file in train.ids]
    assert train.load(0).size == (40, 32)


def test_a_table_per_split(tmp_path):
    root = tree(tmp_path, name="train.csv")
    (root / "val.csv").write_text("file,label\n0.jpg,10\n")
    source = CsvLabels(str(root), {"train": "train.csv", "val": "val.csv"})
    assert len(source.open("train").ids) == 12
    assert source.open("val").labels.tolist() == [2]
    (root / "val.csv").write_text("file,label\n0.jpg,7\n")
    with pytest.raises(DataError, match=r"val\.csv: val has labels that are no class: 7; the classes are 1, 2, 10"):
        CsvLabels(str(root), {"train": "train.csv", "val": "val.csv"}).open("val")


def test_a_column_of_splits(tmp_path):
    names = ("train", "VALID", "test")
    rows = "".join(f"{file},{label},{names[i // 3 % 3]}\n" for i, (file, label) in enumerate(ROWS))
    source = CsvLabels(str(tree(tmp_path, f"file,label,fold\n{rows}")), split_column="fold")
    assert [len(source.open(split).ids) for split in source.splits] == [6, 3, 3]
    (tmp_path / "labels.csv").write_text("file,label,fold\n0.jpg,1,often\n")
    with pytest.raises(DataError, match="line 2: the split often is none of train, val and test"):
        CsvLabels(str(tmp_path), split_column="fold").open("train")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("image;class\n{}", {}),
        ("id\tx\tlabel\n{}", {}),
        ("{}", {}),
        ("\ufeffFileName, Label\n\n{}", {}),
        ('pfad,"klasse"\n{}', {"file_column": "pfad", "label_column": "klasse"}),
    ],
)
def test_tables_as_people_write_them(tmp_path, text, options):
    mark = next((one for one in ";\t" if one in text), ",")
    middle = f"{mark}0{mark}" if mark == "\t" else mark
    rows = "".join(f'"{file}"{middle}{label}\r\n' for file, label in ROWS)
    source = CsvLabels(str(tree(tmp_path, text.format(rows))), **options)
    assert sum(len(source.open(split).ids) for split in ("train", "val")) == 12
    assert source.open("train").class_names == ["1", "2", "10"]


def test_images_in_several_folders_and_names_without_suffix(tmp_path):
    rows = "".join(f"{file[:-4]},{label}\n" for file, label in ROWS)
    tree(tmp_path, f"image_id,label\n{rows}", folder="a/x")
    (tmp_path / "b").mkdir()
    (tmp_path / "a/x/3.jpg").rename(tmp_path / "b/3.jpg")
    source = CsvLabels(str(tmp_path), images=["a/x", "b"], suffix=".jpg")
    found = {*source.open("train").ids, *source.open("val").ids}
    assert {"b/3.jpg", "a/x/0.jpg"} < found
    assert len(found) == 12


def test_labels_are_names_or_indices_of_given_classes(tmp_path):
    source = CsvLabels(str(tree(tmp_path, "file,label\n0.jpg,0\n1.jpg,dog\n2.jpg,1\n")), class_names=["cat", "dog"])
    both = {**pairs(source.open("train")), **pairs(source.open("val"))}
    assert both == {"0.jpg": 0, "1.jpg": 1, "2.jpg": 1}
    with pytest.raises(DataError, match="labels that are no class: 2; the classes are cat, dog"):
        CsvLabels(str(tree(tmp_path, "file,label\n0.jpg,2\n1.jpg,2\n")), class_names=["cat", "dog"]).open("train")


def pairs(records):
    return dict(zip(records.ids[:], records.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("name,kind\nx,y\n", {}, r"has no column for data\.source\.file_column; set .* to one of name, kind"),
        ("file,label\nx.jpg,\n", {}, "line 2 has no value for label"),
        ("file,label\nx.jpg\n", {}, "line 2 has no value for label: x.jpg"),
        ("file,label\n0.jpg,a\n0.jpg,b\n", {}, r"line 3: 0\.jpg is b, but was a before"),
        ("file,label\nno.jpg,a\nno2.jpg,a\n", {}, r"none of the first .* is missing; set data\.source\.images"),
        ("", {}, "is empty"),
        ("file,label\n0.jpg,a\n", {"tables": "none.csv"}, r"there is no table .*none\.csv; .* has labels\.csv"),
        ("file,label\n0.jpg,a\n", {"split_column": "fold"}, "has no column fold"),
        ("file,label\n", {}, "lists no image for train"),
    ],
)
def test_mistakes_have_their_sentence(tmp_path, text, options, message):
    with pytest.raises(DataError, match=message) as caught:
        CsvLabels(str(tree(tmp_path, text)), **options).open("train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_as_spreadsheets_save_them(tmp_path, encoding):
    tree(tmp_path)
    (tmp_path / "labels.csv").write_bytes("file;label\r\n0.jpg;größe\r\n1.jpg;klein\r\n".encode(encoding))
    assert CsvLabels(str(tmp_path), {"train": "labels.csv"}).open("train").class_names == ["größe", "klein"]


def test_another_encoding_is_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "labels.csv").write_bytes("file,label\n0.jpg,größe\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv is no text in UTF-8 or UTF-16 .*; save it as UTF-8"):
        CsvLabels(str(tmp_path)).open("train")


def test_folders_in_a_table_from_windows(tmp_path):
    tree(tmp_path)
    (tmp_path / "a b").mkdir()
    for number in range(2):
        (tmp_path / f"{number}.jpg").rename(tmp_path / "a b" / f"{number}.jpg")
    (tmp_path / "labels.csv").write_text("file,label\na b\\0.jpg,x\na b\\1.jpg,y\n")
    records = CsvLabels(str(tmp_path), {"train": "labels.csv"}).open("train")
    assert records.load(1) is not None
    assert CsvLabels.inspect(tmp_path, {"tables": {"train": "labels.csv"}}).image_size is not None


def test_what_the_data_tell(tmp_path):
    facts = CsvLabels.inspect(tree(tmp_path), {"_target_": "x", "val_fraction": 0.5})
    assert (facts.num_classes, facts.class_names) == (3, ("1", "2", "10"))
    assert sum(facts.images.values()) == 12
    assert facts.image_size == (32, 40)
    assert facts.notes == ("50% of the images are held out by their names",)


def test_open_images_labels_of_whole_images(tmp_path):
    head, rest = "ImageID,Source,LabelName,Confidence\n", "verification,/m/0bt9lr,0\n"
    rows = "".join(f"{i},verification,/m/{'0k4j' if i % 2 else '01yrx'},1.0\n{i},{rest}" for i in range(12))
    tree(tmp_path, head + rows, "train-annotations-human-imagelabels.csv", "train")
    (tmp_path / "class-descriptions.csv").write_text("/m/0k4j,Car\n/m/01yrx,Cat\n/m/0bt9lr,Dog\n")
    options = {"images": "train", "suffix": ".jpg", "keep": {"Confidence": 1}, "label_names": "class-descriptions.csv"}
    source = CsvLabels(str(tmp_path), "train-annotations-human-imagelabels.csv", **options)
    assert source.open("train").class_names == ["Car", "Cat"]
    assert sum(len(source.open(split).ids) for split in ("train", "val")) == 12
    with pytest.raises(DataError, match=r"has no column Konfidenz; set data\.source\.keep"):
        CsvLabels(str(tmp_path), "train-annotations-human-imagelabels.csv", keep={"Konfidenz": 1}).open("train")
