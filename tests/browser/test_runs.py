"""The page of a training of each task and of an evaluation, as a reader uses it."""

import pytest

from tests.commands.short_runs import TINY
from visionattn.cli import main
from visionattn.data.shapes.make import make_shapes

SHORT = [
    *("trainer.max_epochs=1", "trainer.max_steps=-1", "trainer.check_val_every_n_epoch=1", "trainer.devices=1"),
    *("trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "trainer.log_every_n_steps=1"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.strategy=auto", "data.image_size=64"),
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
    "classification": ["Worst samples", "Best samples", "Classes", "Confusion matrix", "Calibration"],
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
                run, limits = (
                    page_of("classification").parent,
                    ["trainer.limit_val_batches=2", "trainer.accelerator=cpu"],
                )
                command = ["evaluate", f"ckpt={run}", *limits]
            elif name == "classification":
                command = ["train", *TINY, "trainer.limit_val_batches=2"]
            else:
                layout, own = RUNS[name]
                make_shapes(layout, folder / layout, num_train=8, num_val=6, image_size=64)
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
    page.locator("#classes th button").nth(1).click()
    assert page.locator("#classes th").nth(1).get_attribute("aria-sort") == "descending"
    page.locator(".sample .plate").first.click()
    dialog = page.locator("dialog.zoom")
    assert dialog.is_visible()
    photographed(page, f"{name}_sample")
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
