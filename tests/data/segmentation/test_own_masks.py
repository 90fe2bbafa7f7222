"""Own images and masks: which mask belongs to which image, which classes there are, and what cannot be learned."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import narrow_png
from visionattn.data.segmentation import ImageMask, SegmentationData
from visionattn.data.segmentation.class_files import class_file
from visionattn.data.segmentation.mask_files import LabelError, voc_colors
from visionattn.data.segmentation.stored_numbers import deduce, histogram
from visionattn.errors import DataError

SPLITS = {"train": 6, "val": 3}


def make(root, draw=None, images="{split}/images", masks="{split}/masks", name="{}.png", splits=SPLITS):
    """Images with masks of the numbers 0, 1 and 2, or of those that ``draw`` makes of them."""
    for split, count in splits.items():
        for index in range(count):
            mask = np.zeros((24, 32), np.uint8)
            mask[2:8, index : index + 9], mask[12:20, 3:9] = 1, 2
            folder, other = root / images.format(split=split), root / masks.format(split=split)
            for one in (folder, other):
                one.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((24, 32, 3), 5 * index, np.uint8)).save(folder / f"{split}{index}.jpg")
            stored = mask if draw is None else draw(mask)
            data = stored if isinstance(stored, bytes) else None
            path = other / name.format(f"{split}{index}")
            path.write_bytes(data) if data else Image.fromarray(stored).save(path)
    return root


def opened(root, num_classes=3, **options):
    """A data module whose training split is read; and what it told."""
    data = SegmentationData(ImageMask(str(root), **options.pop("source", {})), num_classes, 16, **options)
    return data.records("train"), data.records("val")


@pytest.mark.parametrize(
    ("images", "masks", "name"),
    [
        ("{split}/images", "{split}/masks", "{}.PNG"),
        ("{split}/images", "{split}/masks", "{}_mask.png"),
        ("{split}/images", "{split}/labels", "{}_gt.png"),
        ("images/{split}", "masks/{split}", "{}.png"),
        ("img_dir/{split}", "ann_dir/{split}", "{}.tif"),
        ("{split}/imgs", "{split}/Labels", "{}.png"),
        ("Image/{split}", "GT/{split}", "{}.png"),
    ],
)
def test_masks_are_found_by_the_stated_rule(tmp_path, images, masks, name, capsys):
    train, val = opened(make(tmp_path, images=images, masks=masks, name=name))
    assert (len(train.ids), len(val.ids)) == (6, 3)
    assert np.unique(train.load(0)[1]).tolist() == [0, 1, 2]
    assert ("named <image>_" in capsys.readouterr().err) == ("_" in name)


def test_valid_and_a_test_split_of_its_own(tmp_path):
    make(tmp_path, splits={"train": 6, "valid": 3, "test": 2})
    source = ImageMask(str(tmp_path))
    assert [len(source.open(split).ids) for split in ("train", "val", "test")] == [6, 3, 2]
    assert source.open("test").ids[0] == "test/images/test0"


def test_one_folder_for_all_is_split_by_names(tmp_path):
    make(tmp_path, images="images", masks="masks", splits={"": 30})
    source = ImageMask(str(tmp_path))
    train, val = source.open("train"), source.open("val")
    assert not set(train.ids) & set(val.ids)
    assert len(train.ids) + len(val.ids) == 30
    assert "20% of them is val" in val.told[0]
    (tmp_path / "images/new.jpg").write_bytes((tmp_path / "images/0.jpg").read_bytes())
    (tmp_path / "masks/new.png").write_bytes((tmp_path / "masks/0.png").read_bytes())
    assert set(val.ids) <= set(source.open("val").ids)  # new files move no old one


@pytest.mark.parametrize("name", ["{}_mask.png", "{}.png"])
@pytest.mark.parametrize("place", ["{split}", "."])
def test_masks_beside_their_images(tmp_path, name, place):
    source = ImageMask(str(make(tmp_path, images=place, masks=place, name=name)))
    found = {split: set(source.open(split).ids) for split in ("train", "val")}
    every = {f"{split}{index}" for split, count in SPLITS.items() for index in range(count)}
    assert {path.rpartition("/")[2] for ids in found.values() for path in ids} == every
    assert not found["train"] & found["val"]
    image, classes = source.open("train").load(0)
    assert (image.size, set(np.unique(classes))) == ((32, 24), {0, 1, 2})
    (tmp_path / place.format(split="train") / "lone.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of \d+ samples have no mask in .*lone"):
        ImageMask(str(tmp_path)).open("train")


def test_without_images_for_validation_a_fifth_is_held_out(tmp_path):
    make(tmp_path, splits={"train": 9})
    facts = ImageMask.inspect(tmp_path, {})
    assert sum(facts.images.values()) == 9
    assert f"a fixed 20% of them is val ({facts.images['val']} of 9)" in " ".join(facts.notes)
    given = ImageMask(str(tmp_path), images="train/images", masks="train/masks")
    assert not set(given.open("train").ids) & set(given.open("val").ids)


def test_hidden_and_other_files_are_left_out_and_told(tmp_path, capsys):
    make(tmp_path)
    for folder in ("train/images", "train/masks"):
        for junk in (".cache/train0.jpg", "@eaDir/train0.png", "__MACOSX/a.jpg", "b.heic", "._train0.png"):
            (tmp_path / folder / junk).parent.mkdir(exist_ok=True)
            (tmp_path / folder / junk).write_bytes(b"no image")
    (tmp_path / "train/images/again").symlink_to(tmp_path / "train", target_is_directory=True)
    train, _ = opened(tmp_path)
    assert len(train.ids) == 6
    told = capsys.readouterr().err
    assert "4 hidden or system entries (._train0.png, .cache, @eaDir, __MACOSX)" in told
    assert "1 files of other kinds (1 .heic)" in told
    assert "1 links that lead back to a folder above them (again)" in told


def test_classes_are_counted_in_the_masks(tmp_path):
    facts = ImageMask.inspect(make(tmp_path), {"class_names": "auto", "_target_": "x"})
    assert (facts.num_classes, facts.images, facts.image_size) == (3, {"train": 6, "val": 3}, (24, 32))
    assert facts.class_names == ("class 0", "class 1", "class 2")
    assert facts.options["numbers"] == [0, 1, 2]
    assert "3 classes found in the 6 masks" in facts.notes[0]
    facts = ImageMask.inspect(make(tmp_path / "b", lambda mask: mask + 1), {})
    assert (facts.num_classes, facts.options["first"]) == (3, 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_masks_of_few_bits_keep_their_labels(tmp_path, bits):
    train, _ = opened(make(tmp_path, lambda mask: narrow_png(mask, bits)))
    assert np.unique(train.load(0)[1]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classes.txt", "sky\ncat\ndog\n"),
        ("classes.txt", "\ufeffsky\r\ncat\r\ndog\r\n"),
        ("labels.txt", "0: sky\n1: cat\n2: dog\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:0,0,0::\ncat:1,1,1::\ndog:2,2,2::\n"),
        ("train/_classes.csv", "Pixel Value, Class\n0, sky\n1, cat\n2, dog\n"),
        ("classes.json", '["sky", "cat", "dog"]'),
        ("id2label.json", '{"0": "sky", "1": "cat", "2": "dog"}'),
    ],
)
def test_a_file_names_the_classes(tmp_path, file, content):
    make(tmp_path)
    (tmp_path / file).write_bytes(content.encode("utf-16" if file == "labels.txt" else "utf-8"))
    assert ImageMask.inspect(tmp_path, {}).class_names == ("sky", "cat", "dog")
    assert class_file(tmp_path).names == {0: "sky", 1: "cat", 2: "dog"}


def test_a_file_that_names_too_few_classes_is_told(tmp_path):
    make(tmp_path)
    (tmp_path / "classes.txt").write_text("nothing\ncar\n")
    source = ImageMask(str(tmp_path))
    assert source.classes().names == ["class 0", "class 1", "class 2"]
    assert "classes.txt names the numbers 0, 1, and" in source.notes()[-1]
    assert "hold 2 too: its names are not used" in source.notes()[-1]


def test_one_class_alone_and_one_image_alone_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'class 0' is the only class in .*nothing to learn; .*absent_classes=allow"):
        opened(make(tmp_path / "a", draw=lambda mask: mask * 0), 1)
    assert len(opened(tmp_path / "a", 1, absent_classes="allow")[0].ids) == 6
    with pytest.raises(DataError, match=r"the val data have no image: .* val \(0 of 1\)"):
        opened(make(tmp_path / "b", images="images", masks="masks", splits={"": 1}))


def test_numbers_far_apart_are_refused_and_can_be_stated(tmp_path):
    make(tmp_path, lambda mask: mask * 100)
    with pytest.raises(DataError, match=r"state the stored number .* as data\.source\.numbers=\[0,100,200\]"):
        opened(tmp_path)
    train, _ = opened(tmp_path, source={"numbers": [0, 100, 200]})
    assert np.unique(train.load(0)[1]).tolist() == [0, 1, 2]


def test_0_and_255_alone_are_background_and_object(tmp_path):
    make(tmp_path, lambda mask: ((mask > 0) * 255).astype(np.uint8))
    train, _ = opened(tmp_path, num_classes=2)
    assert np.unique(train.load(0)[1]).tolist() == [0, 1]
    assert train.class_names == ["background", "object"]
    assert "255 is the object" in " ".join(ImageMask.inspect(tmp_path, {}).notes)
    stated = {"class_names": ["background", "object"]}  # 255 is ignored, unless it is said otherwise
    with pytest.raises(DataError) as caught:
        opened(tmp_path, num_classes=2, source=stated)
    message = str(caught.value)
    assert "1 (object) of 2 classes never occur in the 6 train masks" in message
    assert "stored numbers: 0 (86.7 %), 255 (13.3 %)" in message
    opened(tmp_path, num_classes=2, source=stated, absent_classes="allow")
    opened(tmp_path, num_classes=2, source=stated | {"numbers": [0, 255], "ignore": []})


def test_absent_classes(tmp_path, capsys):
    make(tmp_path)
    four = {"class_names": ["a", "b", "c", "d"]}
    opened(tmp_path, num_classes=4, source=four)
    assert "1 (d) of 4 classes never occur in the 6 train masks" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"1 \(d\) of 4 classes never occur"):
        opened(tmp_path, num_classes=4, source=four, absent_classes="refuse")
    ignoring = make(tmp_path / "b", lambda mask: np.where(mask == 2, 255, mask).astype(np.uint8))
    with pytest.raises(DataError, match=r"1 \(c\) of 3 classes never occur .* 255 is ignored: if it is a class"):
        opened(ignoring, source={"class_names": ["a", "b", "c"]})
    empty = make(tmp_path / "c", lambda mask: np.full_like(mask, 255))
    with pytest.raises(DataError, match="hold no class, only ignored numbers"):
        opened(empty, source={"class_names": ["a", "b", "c"]}, absent_classes="allow")
    with pytest.raises(DataError, match=r"hold no class, only ignored numbers: 255 \(100 %\)"):
        opened(empty)


def test_what_is_deduced():
    assert deduce({0: 9, 1: 1, 255: 3}).numbers == [0, 1]
    assert deduce({1: 9, 2: 1, 0: 3}, ignore=[0]).numbers == [1, 2]
    assert deduce({0: 9, 7: 1}).numbers == list(range(8))
    assert deduce({0: 9, 255: 1}, first=1, ignore=[0], named={255: "x"}).numbers == [255]
    assert histogram({0: 3, 7: 1}) == "0 (75 %), 7 (25 %)"


NO_VOC = None
COLORS = {0: (0, 0, 0), 1: (64, 0, 128), 2: (128, 128, 0)}
NAMED = {
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,0::\ncat:64,0,128::\ndog:128,128,0::\n",
    "class_dict.csv": "name,r,g,b\nsky,0,0,0\ncat,64,0,128\ndog,128,128,0\n",
    "label_colors.txt": "0 0 0\tsky\n64 0 128\tcat\n128 128 0\tdog\n",
}


def colored(mask):
    return np.array(list(COLORS.values()), np.uint8)[mask]


@pytest.mark.parametrize("file", NAMED)
def test_masks_in_color_are_read_by_the_file_that_names_their_colors(tmp_path, file):
    make(tmp_path / "numbers")
    make(tmp_path / "colors", colored)
    (tmp_path / "colors" / file).write_text(NAMED[file])
    (tmp_path / "colors" / "classes.txt").write_text("a\nb\nc\n")  # a file with colors goes first
    facts = ImageMask.inspect(tmp_path / "colors", {})
    assert facts.class_names == ("sky", "cat", "dog")
    plain, _ = opened(tmp_path / "numbers")
    for source in ({}, dict(facts.options)):  # as found, and as the configuration of the run has it
        train, _ = opened(tmp_path / "colors", source=source)
        assert all((train.load(i)[1] == plain.load(i)[1]).all() for i in range(6))


def test_void_counts_nowhere(tmp_path):
    make(tmp_path, colored)
    (tmp_path / "class_dict.csv").write_text(NAMED["class_dict.csv"].replace("dog", "Void"))
    facts = ImageMask.inspect(tmp_path, {})
    assert (facts.class_names, facts.options["ignore"]) == (("sky", "cat"), [255, 2])
    train, _ = opened(tmp_path, num_classes=2)
    assert np.unique(train.load(0)[1]).tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (NO_VOC, r"it is an image in color \(RGB\).*/labelmap\.txt with a line name:r,g,b"),
        (NAMED["class_dict.csv"].replace("dog,128,128,0", "dog,1,2,3"), r"have colors of no class.*\(128, 128, 0\)"),
        (NAMED["class_dict.csv"].replace("128,128,0", "0,0,0"), "gives sky and dog one color, 0,0,0"),
        (NAMED["class_dict.csv"].replace("128,128,0", "300,0,0"), "has a color 300,0,0; red, green and blue run"),
    ],
)
def test_colors_that_name_no_class_are_refused(tmp_path, file, said):
    make(tmp_path, colored if file is not NO_VOC else lambda mask: colored(mask) + 1)
    if file is not NO_VOC:
        (tmp_path / "class_dict.csv").write_text(file)
    with pytest.raises(DataError, match=f"(?s){said}"):
        ImageMask.inspect(tmp_path, {})


def test_masks_in_pascal_vocs_colors_need_no_file(tmp_path):
    assert [voc_colors()[number] for number in (0, 1, 2, 3, 12, 20, 255)] == [
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 128), (0, 64, 128), (224, 224, 192))
    ]
    colors = np.array(list(voc_colors().values()), np.uint8)
    make(tmp_path / "numbers")
    make(tmp_path / "colors", colors.__getitem__)
    facts = ImageMask.inspect(tmp_path / "colors", {})
    assert facts.num_classes == 3
    assert any("are in color, all of Pascal VOC's palette" in note for note in facts.notes)
    assert list(facts.options["colors"]) == [0, 1, 2, 255]
    plain, _ = opened(tmp_path / "numbers")
    for source in ({}, dict(facts.options), {"class_names": ["sky", "cat", "dog"]}):
        train, _ = opened(tmp_path / "colors", source=source)
        assert all((train.load(i)[1] == plain.load(i)[1]).all() for i in range(6))
    Image.new("RGB", (40, 32), (1, 2, 3)).save(train.mask_path(5))
    with pytest.raises(LabelError, match=r"it is an image in color \(RGB\)"):
        ImageMask.inspect(tmp_path / "colors", {})


def test_camvids_folders(tmp_path):
    make(tmp_path, colored, images="{split}", masks="{split}_labels", name="{}_L.png")
    (tmp_path / "class_dict.csv").write_text(NAMED["class_dict.csv"])
    train, val = opened(tmp_path)
    assert (len(train.ids), len(val.ids)) == (6, 3)
