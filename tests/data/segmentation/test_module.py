"""Pictures with label maps: what is read, what is refused and how it is named, and that crops keep both together."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.pictures import deep_png, encode, narrow_png, tiff
from visionattn.data.checks import Report
from visionattn.data.dataset import Sample
from visionattn.data.segmentation import SegmentationData
from visionattn.data.segmentation.classes import packaged, read_object_info
from visionattn.data.segmentation.dataset import MaskCollate
from visionattn.data.segmentation.labels import (
    IGNORE,
    LabelError,
    LabelTable,
    shift_of,
    shift_of_counts,
)
from visionattn.data.segmentation.mask_files import decode_mask
from visionattn.data.segmentation.sources import (
    ADE20K,
    Cityscapes,
    COCOStuff,
    ImageMask,
    PascalContext,
    PascalVOC,
)
from visionattn.data.segmentation.transforms import SegmentationTrainTransform
from visionattn.data.shapes import make_shapes
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("ade20k")
    make_shapes("ade20k", root, num_train=30, num_val=7, image_size=48)
    return root


@pytest.fixture
def tree(shapes, tmp_path):
    """A copy that may be broken."""
    shutil.copytree(shapes, tmp_path / "tree")
    return tmp_path / "tree"


def masks(root: Path, split="training"):
    return sorted((root / "ADEChallengeData2016" / "annotations" / split).glob("*.png"))


def data(root, **options):
    settings = {"image_size": 32, "batch_size": 4, "train_transform": crop(32)} | options
    return SegmentationData(ADE20K, 15, root=str(root), **settings)


def crop(size, **options):
    settings = {"short_edge": None, "long_edge": None} | options

    def build(image_size, mean, std):
        return SegmentationTrainTransform(size, mean, std, **settings)

    return build


def png(array, mode=None, palette=False):
    image = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    if palette:
        image.putpalette([0, 0, 0, 128, 0, 0, 7, 7, 7] + [9] * 759)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def save(path: Path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(np.asarray(array), **options))


# -- masks ------------------------------------------------------------------------------------------------------------


def test_masks_are_read_as_numbers_whatever_their_format():
    values = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    assert (decode_mask(png(values)) == values).all()
    assert (decode_mask(png(values, palette=True)) == values).all()  # the index, not the color
    assert (decode_mask(png(np.stack([values] * 3, -1))) == values).all()
    deep = np.array([[0, 300], [65535, 1]], np.uint16)
    assert (decode_mask(png(deep)) == deep).all()
    assert (decode_mask(png((values > 0) * np.uint8(255), mode="1")) == (values > 0)).all()


LABELS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 3, 2]], np.uint8)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_labels_of_few_bits_are_not_multiplied(bits):
    assert (decode_mask(narrow_png(LABELS, bits)) == LABELS).all()
    assert (decode_mask(narrow_png(LABELS > 1, 1)) == (LABELS > 1)).all()


def test_labels_of_other_files_are_not_multiplied():
    for maximum in (3, 255, 4095):
        head = f"P5 4 3 {maximum} ".encode()
        data = head + LABELS.astype(">u2" if maximum > 255 else "u1").tobytes()
        assert (decode_mask(data) == LABELS).all(), maximum
    assert (decode_mask(b"P1 4 3 " + b" ".join(b"%d" % value for value in (LABELS > 1).ravel())) == (LABELS > 1)).all()
    color = np.stack([LABELS] * 3, -1)
    assert (decode_mask(deep_png(color.astype(np.uint16))) == LABELS).all()
    assert (decode_mask(deep_png(300 * color.astype(np.uint16))) == 300 * LABELS.astype(int)).all()
    assert (decode_mask(tiff(color.astype(np.uint16))) == LABELS).all()
    assert (decode_mask(tiff(LABELS[..., None], tags={262: 0})) == LABELS).all()  # white is 0
    opaque = Image.fromarray(color).convert("RGBA")
    assert (decode_mask(encode(opaque)) == LABELS).all()
    assert (decode_mask(encode(Image.fromarray(LABELS), "BMP")) == LABELS).all()
    assert (decode_mask(encode(Image.fromarray(LABELS), "GIF")) == LABELS).all()


def test_colors_and_damage_are_refused():
    with pytest.raises(LabelError, match=r"color \(RGB\)"):
        decode_mask(png(np.random.RandomState(0).randint(0, 255, (4, 4, 3), np.uint8)))
    half = Image.fromarray(np.stack([np.zeros((4, 4)), np.full((4, 4), 128)], -1).astype(np.uint8), "LA")
    with pytest.raises(LabelError, match="gray with transparency"):
        decode_mask(encode(half))
    with pytest.raises(LabelError, match="JPEG"):
        decode_mask(encode(Image.new("L", (4, 4)), "JPEG"))
    whole = png(np.random.RandomState(0).randint(0, 9, (40, 40), np.uint8))
    for broken in (b"", whole[:200], b"no picture"):
        with pytest.raises(UnreadableImage):
            decode_mask(broken)


def test_label_tables_map_and_name_what_they_do_not_know():
    table = LabelTable([1, 2, 3], [0])
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    assert table(stored, "x.png").tolist() == [[IGNORE, 0], [1, 2]]
    with pytest.raises(LabelError, match=r"x\.png: .*4 \(1 pixel\), 255 \(1 pixel\); expected 0\.\.3"):
        table(np.array([[4, 255]], np.uint8), "x.png")
    with pytest.raises(LabelError, match="from 0 to 70000"):
        table(np.array([[70000]], np.int32), "x.png")
    with pytest.raises(ConfigError, match="up to 255"):
        LabelTable(range(256), [999])


def test_the_packaged_lists_are_complete():
    counts = {"ade20k": 150, "cityscapes": 19, "pascal_voc": 21, "pascal_context": 59, "coco_stuff": 171}
    for name, count in counts.items():
        classes = packaged(name)
        assert len(classes.names) == len(set(classes.numbers)) == len(classes.palette) == count
        assert len({tuple(color) for color in classes.palette.tolist()}) >= count - 1  # Cityscapes has one pair
    assert packaged("ade20k").numbers == list(range(1, 151))
    stuff = dict(zip(packaged("coco_stuff").names, packaged("coco_stuff").numbers, strict=True))
    assert (stuff["person"], stuff["toothbrush"], stuff["banner"], stuff["wood"]) == (0, 89, 91, 181)


# -- layouts ----------------------------------------------------------------------------------------------------------


def test_ade20k_ignores_other_and_counts_classes_from_one(shapes):
    records = ADE20K(str(shapes)).open("val")
    assert len(records.ids) == 7
    assert records.ids[0] == "images/validation/ADE_val_00000001"
    assert records.class_names[0] == "arrow"
    stored = decode_mask(masks(shapes, "validation")[0].read_bytes())
    picture, classes = records.load(0)
    assert (picture.height, picture.width) == classes.shape
    assert (classes[stored > 0] == stored[stored > 0] - 1).all()
    assert (classes[stored == 0] == IGNORE).all()


LAYOUTS = {
    "cityscapes": (
        Cityscapes,
        {},
        "leftImg8bit/{split}/ulm/ulm_0_leftImg8bit.png",
        "gtFine/{split}/ulm/ulm_0_gtFine_labelIds.png",
        [[7, 33], [0, 29]],
        [[0, 18], [255, 255]],
    ),
    "voc": (PascalVOC, {}, "JPEGImages/a.jpg", "SegmentationClass/a.png", [[0, 20], [255, 1]], [[0, 20], [255, 1]]),
    "trainaug": (
        PascalVOC,
        {"train_list": "trainaug"},
        "JPEGImages/a.jpg",
        "SegmentationClassAug/a.png",
        [[0, 20], [255, 1]],
        [[0, 20], [255, 1]],
    ),
    "context": (
        PascalContext,
        {},
        "VOCdevkit/VOC2010/JPEGImages/a.jpg",
        "VOCdevkit/VOC2010/SegmentationClassContext/a.png",
        [[0, 59], [1, 1]],
        [[255, 58], [0, 0]],
    ),
    "coco_stuff": (
        COCOStuff,
        {},
        "{split}2017/a.jpg",
        "stuffthingmaps/{split}2017/a.png",
        [[0, 181], [255, 12]],
        [[0, 170], [255, 11]],
    ),
    "image_mask": (
        ImageMask,
        {"class_names": ["x", "y"], "first": 1, "ignore": [0], "mask_suffix": "_m.png", "masks": "m/{split}"},
        "{split}/images/deep/a.jpg",
        "m/{split}/deep/a_m.png",
        [[0, 1], [2, 2]],
        [[255, 0], [1, 1]],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    source, options, image, mask, stored, expected = LAYOUTS[name]
    save(tmp_path / image.format(split="train"), np.zeros((2, 2, 3), np.uint8))
    save(tmp_path / mask.format(split="train"), np.array(stored, np.uint8))
    for file in ("Segmentation/train", "Segmentation/trainaug", "SegmentationContext/train"):
        for base in (tmp_path, tmp_path / "VOCdevkit" / "VOC2010"):
            if (base / "JPEGImages").is_dir():
                (base / "ImageSets" / f"{file}.txt").parent.mkdir(parents=True, exist_ok=True)
                (base / "ImageSets" / f"{file}.txt").write_text("a\n")
    records = source(str(tmp_path), **options).open("train")
    assert len(records.ids) == 1
    assert records.load(0)[1].tolist() == expected
    if name == "image_mask":  # a share of the images is held out, of which there is one
        assert not source(str(tmp_path), **options).open("val").ids
        return
    with pytest.raises(DataError, match=r"no folder (of val images|/)|no list of samples"):
        source(str(tmp_path), **options).open("val")


def test_pictures_without_a_mask_are_named(tree):
    masks(tree)[3].unlink()
    with pytest.raises(DataError, match=r"1 of 30 samples have no mask in .*ADE_train_00000004"):
        ADE20K(str(tree)).open("train")
    shutil.rmtree(masks(tree)[0].parent)
    with pytest.raises(DataError, match="have no masks: there is no folder"):
        ADE20K(str(tree)).open("train")


def test_classes_and_ignored_numbers_must_not_meet(tmp_path):
    with pytest.raises(ConfigError, match=r"\[0\] are classes"):
        ImageMask(str(tmp_path), ["a", "b"], ignore=[0])


# -- shifted labels ---------------------------------------------------------------------------------------------------


def rewrite(paths, change):
    for path in paths:
        Image.fromarray(change(decode_mask(path.read_bytes())).astype(np.uint8)).save(path)


def test_labels_moved_up_name_the_file_and_the_value(tree):
    rewrite(masks(tree), lambda m: m + 1)
    with pytest.raises(LabelError, match=r"ADE_train_\d+\.png: unknown labels: 16 "):
        data(tree).setup("fit")


def test_labels_with_the_zero_removed_on_disk_are_refused(tree):
    rewrite(masks(tree), lambda m: np.where(m == 0, 255, m - 1.0))
    with pytest.raises(LabelError, match=r"255 \(\d+ pixels\); expected 0\.\.15"):
        data(tree).setup("fit")


def test_labels_moved_down_are_found_by_their_frequency(tree):
    rewrite(masks(tree), lambda m: np.maximum(m, 1.0) - 1)
    with pytest.raises(LabelError, match="shifted by -1"):
        data(tree).setup("fit")


def test_what_counts_as_a_shift():
    random = np.random.RandomState(0)
    shares = random.dirichlet(np.ones(20))
    counts = random.randint(1, 500, 20)
    for shift in (-2, -1, 1, 2):
        moved = np.roll(shares, shift)
        assert shift_of(moved, shares, 200) == shift
        assert shift_of_counts(np.roll(counts, shift), counts) == shift
    assert shift_of(shares, shares, 200) == 0
    assert shift_of(random.dirichlet(200 * shares), shares, 200) == 0
    for _ in range(50):  # a handful of pictures proves nothing
        for count in (7, 30):
            few = sum(random.multinomial(1, shares) for _ in range(count)) / count
            assert shift_of(few, shares, count) == 0
    assert shift_of_counts(counts, counts) == 0
    assert shift_of_counts(random.randint(1, 500, 20), counts) == 0


def test_another_number_of_classes_is_an_error(shapes):
    with pytest.raises(DataError, match="have 15 classes, but num_classes is 150"):
        SegmentationData(ADE20K, 150, root=str(shapes)).setup("validate")
    info = shapes / "ADEChallengeData2016" / "objectInfo150.txt"
    assert read_object_info(info).images["train"].sum() > 0


# -- transforms -------------------------------------------------------------------------------------------------------


def coded(height, width, seed=0):
    """A picture whose red says the class of every pixel, in blocks of eight."""
    blocks = np.random.RandomState(seed).randint(0, 10, (-(-height // 8), -(-width // 8)), np.uint8)
    labels = np.kron(blocks, np.ones((8, 8), np.uint8))[:height, :width].copy()
    return Image.fromarray(np.stack([labels * 20] * 3, -1)), labels


@pytest.mark.parametrize("scale", [(1.0, 1.0), (2.0, 2.0), (0.5, 2.0)])
def test_a_crop_keeps_picture_and_classes_together(scale):
    transform = crop(48, scale=scale, distortion=0.0)(None, (0.5,) * 3, (0.25,) * 3)
    for seed in range(6):
        torch.manual_seed(seed)
        image, classes = transform(*coded(80, 96, seed))
        assert image.shape == (3, 48, 48)
        assert classes.shape == (48, 48)
        near = ((image[0].float() - 20.0 * classes.float()).abs() < 10)[classes != IGNORE]
        wanted = 1.0 if scale == (1.0, 1.0) else 0.6  # bilinear edges of small blocks
        assert near.float().mean() >= wanted


def test_crops_without_an_up_and_a_down_are_turned_in_all_eight_ways():
    options = {"scale": (1.0, 1.0), "distortion": 0.0, "category_ratio": 1.0, "vertical_flip": 0.5, "transpose": 0.5}
    transform, seen = crop(16, **options)(None, (0.5,) * 3, (0.25,) * 3), set()
    picture, labels = coded(16, 16)  # four blocks, all different
    torch.manual_seed(0)
    for _ in range(100):
        image, classes = transform(picture, labels)
        assert torch.equal(image[0], 20 * classes)
        seen.add(tuple(classes[::8, ::8].flatten().tolist()))
    assert len(seen) == 8
    with pytest.raises(ConfigError, match="a crop of 16 x 24 cannot be exchanged"):
        crop((16, 24), transpose=0.5)(None, (0.5,) * 3, (0.25,) * 3)


def test_what_is_smaller_than_the_crop_is_filled_with_the_mean_and_ignored():
    transform = crop(48, scale=(1.0, 1.0), distortion=0.0)(None, (0.2, 0.4, 0.6), (0.25,) * 3)
    image, classes = transform(*coded(40, 30))
    assert (classes[40:] == IGNORE).all()
    assert (classes[:, 30:] == IGNORE).all()
    assert (classes[:40, :30] != IGNORE).all()
    assert image[:, 47, 47].tolist() == [51, 102, 153]


def test_a_crop_avoids_what_one_class_fills():
    labels = np.zeros((64, 256), np.uint8)
    labels[::2, 192:] = 1  # only on the right there is a mixture
    picture = Image.fromarray(np.zeros((64, 256, 3), np.uint8))
    transform = crop(32, scale=(1.0, 1.0))(None, (0.5,) * 3, (0.25,) * 3)
    free = crop(32, scale=(1.0, 1.0), category_ratio=1.0)(None, (0.5,) * 3, (0.25,) * 3)
    mixed = {}
    for name, one in (("limited", transform), ("free", free)):
        torch.manual_seed(0)
        mixed[name] = sum(float((one(picture, labels)[1] == 1).float().mean()) > 0.2 for _ in range(40))
    assert mixed["limited"] >= 32
    assert mixed["free"] <= 20


def test_augmentation_follows_from_the_seed(shapes):
    batches = []
    for seed in (0, 0, 1):
        module = data(shapes, seed=seed)
        module.setup("fit")
        batches.append(next(iter(module.train_dataloader())))
    assert batches[0]["id"] == batches[1]["id"]
    assert torch.equal(batches[0]["image"], batches[1]["image"])
    assert torch.equal(batches[0]["target"], batches[1]["target"])
    assert not torch.equal(batches[0]["image"], batches[2]["image"])


# -- batches ----------------------------------------------------------------------------------------------------------


def test_training_batches_are_stacked_and_the_others_keep_their_sizes(shapes):
    module = data(shapes, eval_batch_size=3)
    module.setup("fit")
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["image"].dtype == torch.float32
    assert batch["target"].dtype == torch.int64
    batches = [module.on_after_batch_transfer(one, 0) for one in module.val_dataloader()]
    assert sorted(name for one in batches for name in one["id"]) == list(module.records("val").ids)
    for one in batches:
        for image, target in zip(one["image"], one["target"], strict=True):
            assert image.shape[-2:] == target.shape


def test_every_sample_comes_once_on_one_two_and_three_processes(shapes, monkeypatch):
    for world in (1, 2, 3):
        seen, lengths = [], set()
        for rank in range(world):
            module = data(shapes, eval_batch_size=2)
            monkeypatch.setattr(SegmentationData, "_rank", rank)
            monkeypatch.setattr(SegmentationData, "_world_size", world)
            module.setup("validate")
            batches = list(module.val_dataloader())
            lengths.add(len(batches))
            seen += [name for batch in batches for name in batch["id"]]
        assert len(lengths) == 1
        assert sorted(seen) == list(module.records("val").ids)


def test_a_bad_mask_stops_the_run_and_a_damaged_one_is_counted(tree, monkeypatch):
    paths = masks(tree, "validation")
    monkeypatch.setattr("visionattn.data.segmentation.module.spot_check", lambda records: None)
    monkeypatch.setattr("visionattn.data.segmentation.module.check_class_use", lambda *args: [])
    rewrite(paths[:1], lambda m: m * 0 + 77)
    paths[1].write_bytes(paths[1].read_bytes()[:80])
    save(paths[2], np.ones((5, 5), np.uint8))
    module = data(tree, eval_batch_size=7)
    module.setup("validate")
    batch = next(iter(module.val_dataloader()))
    assert len(batch["id"]) == 4
    assert "ADE_val_00000001.png: unknown labels: 77" in batch["faults"][0]
    assert [name[-1] for name, _ in batch["unreadable"]] == ["2", "3"]
    assert "its mask cannot be read" in batch["unreadable"][0][1]
    assert "its mask has 5x5 pixels" in batch["unreadable"][1][1]


def test_a_bad_mask_keeps_its_place_in_a_training_batch():
    """The other processes of the run wait for this step."""
    whole = Sample(torch.ones(3, 4, 6, dtype=torch.uint8), torch.ones(4, 6, dtype=torch.uint8), "a")
    broken = Sample(None, None, "b", fault="b.png: unknown labels")
    batch = MaskCollate((4, 6), stacked=True)([whole, broken])
    assert batch["id"] == ["a", "b"]
    assert batch["faults"] == ["b.png: unknown labels"]
    assert (batch["target"][0] == 1).all()
    assert (batch["target"][1] == IGNORE).all()


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_in_a_whole_set_and_draws_it(shapes, tmp_path):
    report = Report(tmp_path)
    for split in ("train", "val"):
        data(shapes).validate(split, report)
    assert not report.findings
    assert report.facts["train: samples"] == "30"
    assert sum(row["pixels"] for row in report.tables["classes of val"]) > 0
    assert {file.name for file in report.figures.values()} == {
        f"{split}_{what}.png" for split in ("train", "val") for what in ("classes", "samples")
    }


def test_the_doctor_names_every_sort_of_damage(tree, tmp_path):
    paths, images = masks(tree), sorted((tree / "ADEChallengeData2016" / "images" / "training").glob("*.jpg"))
    rewrite(paths[:2], lambda m: m * 0 + 99)
    paths[2].write_bytes(b"")
    save(paths[3], np.ones((5, 5), np.uint8))
    save(paths[4], np.random.RandomState(0).randint(0, 255, (9, 9, 3), np.uint8))
    rewrite(paths[5:6], lambda m: m * 0)
    images[6].write_bytes(images[6].read_bytes()[:300])
    report = Report(tmp_path)
    data(tree).validate("train", report)
    found = {kind: finding for (_, kind), finding in report.findings.items()}
    assert found["unknown labels"].count == 2
    assert "ADE_train_00000001.png" in found["unknown labels"].examples[0]
    assert "99" in found["unknown labels"].examples[0]
    assert "ADE_train_00000003" in found["masks that cannot be read"].examples[0]
    assert "5x5" in found["masks of another size than their image"].examples[0]
    assert "color (RGB)" in found["files that are not masks"].examples[0]
    assert found["masks without any labeled pixel"].severity == "warning"
    assert "ADE_train_00000007" in found["images that cannot be read"].examples[0]


def test_the_doctor_tells_a_shift_by_exact_counts(tree, tmp_path):
    rewrite(masks(tree), lambda m: np.maximum(m, 1.0) - 1)
    report = Report(tmp_path)
    data(tree).validate("train", report)
    assert "by -1" in report.findings["train", "labels look shifted"].examples[0]


def test_the_doctor_goes_on_without_masks(tree, tmp_path):
    masks(tree)[0].unlink()
    report = Report(tmp_path)
    data(tree).validate("train", report)
    assert "ADE_train_00000001" in report.findings["train", "the split cannot be opened"].examples[0]
