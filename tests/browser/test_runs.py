"""The page of a training of each task and of an evaluation, as a reader uses it."""

import numpy as np
import pytest
from PIL import Image

from visionattn.cli import main
from visionattn.data.shapes.make import make_shapes

FEW = ["trainer.limit_val_batches=1", "trainer.accelerator=cpu"]
SHORT = [
    *FEW,
    *("trainer.max_epochs=1", "trainer.max_steps=-1", "trainer.check_val_every_n_epoch=1", "trainer.devices=1"),
    *("trainer.limit_train_batches=1", "trainer.log_every_n_steps=1"),
    *("trainer.precision=32-true", "trainer.strategy=auto", "data.image_size=64"),
    *("data.batch_size=3", "data.num_workers=0"),
]
RUNS = {
    "segmentation": ("ade20k", ["experiment=shapes/upernet", "head.decoder.channels=16"]),
    "detection": ("coco", ["experiment=shapes/mask_rcnn"]),
    "panoptic": (
        "coco_panoptic",
        [
            *("experiment=shapes/mask2former", "weights=null", "head.channels=32", "head.num_queries=6"),
            *("head.decoder_layers=1", "head.num_points=64", "task.score=0.0", "task.overlap=0.0"),
            "head.no_object_weight=0.0",
        ],
    ),
}
PARTS = {
    "classification": ["Worst samples", "Classes", "Confusion matrix", "Calibration"],
    "segmentation": ["Worst samples", "Classes", "Confusion matrix"],
    "detection": ["Worst samples", "Precision and recall", "Classes", "Confusion matrix"],
    "panoptic": ["Worst samples", "Classes", "Segments per class"],
    "evaluation": ["Worst samples", "Classes", "Calibration", "Figures", "Unlike the training"],
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """``pages(name)`` gives the page of a short run of a task, or of the evaluation of one; each is made once."""
    made, folder = {}, tmp_path_factory.mktemp("pages")

    def page_of(name):
        if name not in made:
            words = [f"hydra.run.dir={folder / name}"]
            if name == "evaluation":
                command = ["evaluate", f"ckpt={page_of('classification').parent}", *FEW]
            elif name == "classification":
                command = ["train", *FEW, "trainer.limit_train_batches=1", "trainer.max_epochs=2", "data.batch_size=16"]
            else:
                layout, own = RUNS[name]
                make_shapes(layout, folder / layout, num_train=4, num_val=3, image_size=64)
                command = ["train", *own, f"data.root={folder / layout}", *SHORT]
            assert main([*command, *words]) == 0
            made[name] = folder / name / "report.html"
        return made[name]

    return page_of


@pytest.mark.parametrize("name", PARTS)
def test_the_page_is_read_and_used(opened, photographed, pages, name):
    page = opened(pages(name))
    headings = page.locator("h2").all_inner_texts()
    assert [part for part in PARTS[name] if part not in headings] == []
    assert page.locator(".headline dd").count() >= 5
    page.locator("#classes th.number button").first.click()
    assert page.locator("#classes th.number").first.get_attribute("aria-sort") == "descending"
    page.locator(".sample .plate").first.click()
    dialog = page.locator("dialog.zoom")
    assert dialog.is_visible()
    photographed(page, f"{name}_sample", whole=False)
    for layer in dialog.get_by_role("checkbox").all():
        layer.set_checked(not layer.is_checked())
    page.keyboard.press("Escape")
    if name != "evaluation":
        chart = page.locator("#curves svg").first
        chart.scroll_into_view_if_needed()
        width = chart.bounding_box()["width"]
        chart.hover(position={"x": width / 2, "y": 80})
        assert page.locator(".tip").is_visible()
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("name", PARTS)
def test_the_page_fits_a_phone_and_a_screen(opened, photographed, pages, name):
    for look in ("light", "dark", "phone"):
        page = opened(pages(name), look)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        photographed(page, f"{name}_{look}")


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """The page of an inspection of one drawn picture by a backbone with random weights."""
    folder = tmp_path_factory.mktemp("inspected")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(folder / "a.png")
    words = ["backbone=swin_pico", f"source={folder / 'a.png'}", f"dir={folder / 'found'}", "device=cpu"]
    assert main(["inspect", *words, "points=[0.5,0.5]"]) == 0
    return folder / "found" / "report.html"


def test_an_inspection_tells_what_a_token_attends_to(opened, photographed, inspected):
    page = opened(inspected)
    plate = page.locator(".tokens .plate").first
    told = page.locator(".told").first
    plate.scroll_into_view_if_needed()
    box = plate.bounding_box()
    plate.hover(position={"x": box["width"] / 8, "y": box["height"] / 8})
    page.wait_for_function("document.querySelector('.told').textContent.includes('attends most to')")
    first = told.inner_text()
    plate.hover(position={"x": 7 * box["width"] / 8, "y": 7 * box["height"] / 8})
    assert told.inner_text() != first
    photographed(page, "inspection_token", whole=False)
    for look in ("light", "dark", "phone"):
        page = opened(inspected, look)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        photographed(page, f"inspection_{look}")
