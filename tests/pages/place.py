"""What the commands of the pages find in their folder: small data sets in every layout, photos, weights, short runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import safetensors.torch
import timm
from PIL import Image

from tests.corpus import trees
from tests.data.detection.formats.test_lvis import lvis
from tests.data.detection.formats.test_open_images import open_images
from visionattn.cli import main
from visionattn.data.classification.imagenet import wordnet_ids

RUNS = {
    "classification": ["data=image_folder"],
    "detection": ["data=coco", "head=mask_rcnn"],
    "segmentation": ["data=image_mask", "head=upernet", "head.decoder.channels=32"],
    "panoptic": ["data=coco_panoptic", "head=mask2former"],
    "imagenet": ["data=imagenet", "data.image_size=32", "data.batch_size=16"],
    "again": ["data=image_folder", "mixer=neighborhood"],
    "digits": ["data=digits", "backbone=dinat_pico"],
}
"""Short runs by their task; one of ImageNet's classes; another attention; what `visionattn train` alone trains."""
PUBLISHED = {
    "detection": ("coco", "experiment=coco/mask_rcnn_swin_tiny_1x"),
    "segmentation": ("ade20k", "experiment=ade20k/upernet_swin_tiny_160k"),
}
"""Data and recipe of the published models that pages load, by task."""
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.devices=1"]
SHORT += ["trainer.accelerator=cpu", "data.num_workers=0"]
"""What a training is cut to."""
FEW = ["data.batch_size=2", "data.eval_batch_size=2"]
COCO_CLASSES = 80


def run(*words: str) -> None:
    assert main(list(words)) == 0, words


def classification(sets: Path) -> None:
    """Ten drawn shapes in ImageNet's layout, with a test split; the same as another set; ImageNet's classes."""
    root = sets / "image_folder"
    run("data", "make=shapes", "layout=imagenet", f"dir={root}", "num_train=32", "num_val=16", "image_size=64")
    (root / "test").symlink_to("val")
    (sets / "other").symlink_to("image_folder")
    imagenet(sets)
    trees.csv(sets / "csv_of_splits")
    one_table(sets / "csv", "split")
    one_table(sets / "csv_of_folds", "fold", ending="")


def dense(sets: Path) -> None:
    """Sets of a few images in every other layout that the pages have a command for."""
    trees.panoptic(sets / "coco")
    (sets / "coco_panoptic").symlink_to("coco")
    for split in trees.SPLITS:  # as many categories as COCO
        file = sets / f"coco/annotations/instances_{split}2017.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        known = {one["id"] for one in content["categories"]}
        more = [number for number in range(100, 180) if number not in known][: COCO_CLASSES - len(known)]
        content["categories"] += [{"id": number, "name": f"thing {number}"} for number in more]
        trees.write_json(file, content)
    trees.yolo(sets / "yolo")
    trees.voc(sets / "pascal_voc_detection")
    trees.labelme(sets / "labelme")
    trees.instance_masks(sets / "instance_masks")
    trees.image_mask(sets / "image_mask")
    trees.ade20k(sets / "ade20k")
    lvis(sets / "lvis")
    open_images(sets / "open_images")
    hugging_face(sets / "hugging_face_detection")


def one_table(root: Path, column: str, ending: str = ".jpg") -> None:
    """A table whose ``column`` says which split an image is in."""
    rows = [f"file,label,{column}"]
    for index in range(8):
        name = ("ant", "bee")[index % 2]
        trees.save(Image.new("RGB", (40, 32), (25 * index, 90, 40)), root / f"{name}_{index}.jpg")
        rows.append(f"{name}_{index}{ending},{name},{'train' if index < 6 else 'val'}")
    trees.write_text(root / "labels.csv", "\n".join(rows) + "\n")


def hugging_face(root: Path) -> None:
    """Parquet files of images with objects."""
    import pyarrow
    import pyarrow.parquet

    for split, name in (("train", "train"), ("val", "validation")):
        rows = []
        for index in range(trees.SPLITS[split]):
            encoded = BytesIO()
            trees.draw(index).save(encoded, "PNG")
            boxes = [list(map(float, box)) for _, box in trees.scene(index)]
            rows.append({"image": {"bytes": encoded.getvalue(), "path": f"{index}.png"}})
            rows[-1]["objects"] = {"bbox": boxes, "category": ["cat", "dog"]}
        file = root / "data" / f"{name}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def imagenet(root: Path) -> None:
    """An image for each of ImageNet's classes, and the same as ImageNet-V2."""
    for label, name in enumerate(wordnet_ids()):
        image = Image.new("RGB", (40, 32), (label % 256, 255 - label % 256, 90))
        for split in ("train", "val"):
            trees.save(image, root / "imagenet" / split / name / f"{split}_{label}.png")
        trees.save(image, root / "imagenetv2" / str(label) / "0.png")


def weights(file: Path, name: str = "swin_tiny_patch4_window7_224") -> None:
    """A file as timm publishes one; its numbers are random."""
    model = timm.create_model(name)
    safetensors.torch.save_file(model.state_dict(), str(file), {"format": "pt"})


def prepare(place: Path, runs: list[str]) -> None:
    """Everything that the commands of some pages need: data, a file of weights, and the named runs."""
    classification(place / "sets")
    dense(place / "sets")
    weights(place / "swin_tiny.safetensors")
    for name in runs:
        short_run(place, name)


def photos(folder: Path) -> None:
    """Images under the names that the pages use."""
    for name in ("photo.jpg", "image.png", "cat.jpg", "photos/a.jpg", "photos/more/b.jpg", "images/a.jpg"):
        trees.save(trees.draw(len(name) % 3).resize((160, 120)), folder / name)
    (folder / "photos.txt").write_text("photo.jpg\nphotos/a.jpg\n", encoding="utf-8")


def short_run(place: Path, name: str) -> None:
    """One of the runs, a step long."""
    data, *more = RUNS[name]
    data = data.removeprefix("data=")
    kind = "image_folder" if data == "imagenet" else data
    few = [] if kind in ("image_folder", "digits") else FEW
    root = [] if kind == "digits" else [f"data.root={place / 'sets' / data}"]
    folder = f"hydra.run.dir={place / 'runs' / name}"
    run("train", f"data={kind}", *root, "backbone=swin_pico", *more, *SHORT, *few, folder)
    assert (place / "runs" / name / "checkpoints/best.ckpt").is_file(), name  # pages name it


def published(place: Path, task: str) -> None:
    """A checkpoint with backbone and head of a published recipe."""
    data, recipe = PUBLISHED[task]
    where = [f"data.root={place / 'sets' / data}", f"hydra.run.dir={place / 'runs' / f'published_{task}'}"]
    short = [word for word in SHORT if "max_epochs" not in word]
    run("train", recipe, *where, "weights=null", *short, *FEW, "trainer.max_epochs=0")


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The files of a folder on a port of this machine."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
