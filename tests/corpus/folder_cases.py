"""Damaged folders of images for classification."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.corpus.cases import Case, adding

CASES: list[Case] = []
tree = adding(CASES, "image_folder")


@tree()
def healthy(root: Path) -> None:
    """Nothing is changed."""


@tree(says="valid")
def val_is_called_valid(root: Path) -> None:
    (root / "val").rename(root / "valid")


@tree(says="validation")
def val_is_called_validation(root: Path) -> None:
    (root / "val").rename(root / "validation")


@tree(says="test")
def val_is_called_test(root: Path) -> None:
    (root / "val").rename(root / "test")


@tree(says="split")
def flat_folder_of_classes(root: Path) -> None:
    for name, color in (("ant", (200, 40, 40)), ("bee", (40, 40, 200))):
        (root / name).mkdir()
        for index in range(30):
            Image.new("RGB", (40, 32), tuple(value + index for value in color)).save(root / name / f"{index}.jpg")
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")


@tree()
def hidden_folders(root: Path) -> None:
    for name in (".cache", "@eaDir", "__MACOSX", ".ipynb_checkpoints"):
        for folder in (root / "train", root / "train/ant", root / "val/bee"):
            (folder / name).mkdir()
            (folder / name / "0.jpg").write_bytes(b"no image")


@tree()
def other_endings(root: Path) -> None:
    (root / "train/ant/0.jpg").rename(root / "train/ant/0.JFIF")
    (root / "train/bee/0.jpg").rename(root / "train/bee/0.JPEG")
    (root / "val/bee/0.jpg").rename(root / "val/bee/0.JPG")


@tree()
def stray_files(root: Path) -> None:
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "readme.txt"):
        (root / "train/ant" / name).write_text("x")
        (root / "train" / name).write_text("x")


@tree(1, "(?i)(cow|empty|no image)")
def class_without_images(root: Path) -> None:
    (root / "train/cow").mkdir()
    (root / "val/cow").mkdir()


@tree(1, "cow")
def class_of_val_alone(root: Path) -> None:
    shutil.copytree(root / "val/ant", root / "val/cow")


@tree(says="cow")
def class_of_train_alone(root: Path) -> None:
    shutil.copytree(root / "train/ant", root / "train/cow")


@tree(1, "(?i)class")
def classes_of_val_have_other_names(root: Path) -> None:
    (root / "val/ant").rename(root / "val/Ameise")


@tree(1, "(?i)class")
def one_class(root: Path) -> None:
    shutil.rmtree(root / "train/bee")
    shutil.rmtree(root / "val/bee")


@tree(1, "0.jpg")
def image_cut_off(root: Path) -> None:
    path = root / "train/ant/0.jpg"
    path.write_bytes(path.read_bytes()[:150])


@tree(1, "0.jpg", begun=True)
def image_of_no_bytes(root: Path) -> None:
    (root / "val/ant/0.jpg").write_bytes(b"")


@tree(1, "0.jpg")
def image_is_text(root: Path) -> None:
    (root / "train/ant/0.jpg").write_text("<html>404</html>")


@tree(1, "(?i)(lfs|0.jpg)")
def image_is_a_pointer_of_git_lfs(root: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9000\n"
    (root / "train/ant/0.jpg").write_text(text)


@tree()
def loop_of_links(root: Path) -> None:
    (root / "train/ant/again").symlink_to(root / "train", target_is_directory=True)


@tree(1, "(?i)(0.jpg|link)")
def dangling_link(root: Path) -> None:
    (root / "train/ant/0.jpg").unlink()
    (root / "train/ant/0.jpg").symlink_to(root / "nowhere.jpg")


@tree()
def linked_classes(root: Path) -> None:
    (root / "train/ant").rename(root / "elsewhere")
    (root / "train/ant").symlink_to(root / "elsewhere", target_is_directory=True)


@tree()
def other_names(root: Path) -> None:
    for path in root.glob("*/*/*.jpg"):
        path.rename(path.with_name(f"Größe {path.stem} ñ.jpg"))


@tree()
def images_in_folders_of_folders(root: Path) -> None:
    (root / "train/ant/2019/may").mkdir(parents=True)
    (root / "train/ant/0.jpg").rename(root / "train/ant/2019/may/0.jpg")


@tree()
def images_of_one_pixel(root: Path) -> None:
    Image.new("RGB", (1, 1), (200, 40, 40)).save(root / "train/ant/0.jpg")


@tree()
def images_of_odd_kinds(root: Path) -> None:
    red = Image.new("RGB", (40, 32), (200, 40, 40))
    red.convert("RGBA").save(root / "val/ant/rgba.png")
    red.convert("P").save(root / "val/ant/palette.png")
    red.convert("CMYK").save(root / "val/ant/cmyk.jpg")
    red.save(root / "val/ant/animated.gif", save_all=True, append_images=[red])
    red.save(root / "val/ant/plain.webp", lossless=True)


@tree(1, "(?i)(16|range)")
def images_of_16_bits_without_a_range(root: Path) -> None:
    values = (np.arange(40 * 32).reshape(32, 40) * 3).astype(np.uint16)
    for path in sorted(root.glob("*/*/*.jpg")):
        Image.fromarray(values).save(path.with_suffix(".png"))
        path.unlink()


@tree()
def tar_beside_its_folder(root: Path) -> None:
    """The unpacked folder is taken, and it is told."""
    with tarfile.open(root / "train.tar", "w") as tar:
        tar.add(root / "train", "train")


@tree(1, "train.tar")
def tar_cut_off(root: Path) -> None:
    with tarfile.open(root / "train.tar", "w") as tar:
        tar.add(root / "train", "train")
    shutil.rmtree(root / "train")
    data = (root / "train.tar").read_bytes()
    (root / "train.tar").write_bytes(data[: len(data) // 3])


@tree(1, "train")
def train_is_missing(root: Path) -> None:
    shutil.rmtree(root / "train")


@tree(1, "(?i)(class|folder)")
def images_without_classes(root: Path) -> None:
    for split in ("train", "val"):
        for path in root.glob(f"{split}/*/*.jpg"):
            path.rename(root / split / f"{path.parent.name}{path.name}")
        for name in ("ant", "bee"):
            (root / split / name).rmdir()


@tree(1, "(not found|no folder|is no|not a folder|missing|does not exist)")
def root_does_not_exist(root: Path) -> None:
    shutil.rmtree(root)


@tree(1, "(?i)(folder|file)")
def root_is_a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("x")


@tree(1, "(?i)(empty|no image|train|class)")
def root_is_empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


@tree(2, "num_classes", words=("data.num_classes=5",))
def wrong_number_of_classes(root: Path) -> None:
    """Nothing is changed: the command is wrong."""
