"""The page of an inspection in a browser."""

import pytest
import torch

import visionattn
from visionattn.analysis.choosing import choose
from visionattn.analysis.files import write_files
from visionattn.analysis.inspection import Wanted, inspect_image
from visionattn.analysis.page import write_page
from visionattn.tasks.predict import as_rgb

MEASURES = ("attention", "rollout", "statistics", "bias")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page of one image."""
    folder = tmp_path_factory.mktemp("inspection")
    torch.manual_seed(0)
    model = visionattn.create_backbone("swin_pico", num_classes=4)
    pixels = torch.randint(0, 255, (3, 64, 48), dtype=torch.uint8)
    wanted = Wanted(((0.5, 0.5),), choose(model), MEASURES)
    found = inspect_image(model, pixels[None] / 128 - 1, as_rgb(pixels), "a", wanted)
    write_files(found, folder / "a")
    return write_page(folder, [found], "swin_pico", "visionattn inspect")


def test_a_token_tells_what_it_attends_to_and_heads_sort(opened, file):
    page = opened(file)
    assert "Jain and Wallace 2019" in page.locator("main").inner_text()
    plate, told = page.locator(".tokens .plate"), page.locator(".told")
    size = plate.bounding_box()
    plate.hover(position={"x": 5, "y": 5})
    assert "row 1, column 1" in told.inner_text()
    plate.hover(position={"x": size["width"] - 5, "y": size["height"] - 5})
    assert "row 1, column 1 of" not in told.inner_text()
    chosen = page.locator(".tokens select")
    assert "rollout of the last map" in chosen.inner_text()
    chosen.select_option(label="rollout of the last map")
    heading = page.locator("th", has_text="distance").first
    heading.get_by_role("button").click()
    assert "head" in page.locator("tbody td:first-child").first.inner_text()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_it_fits(opened, photographed, file, look):
    page = opened(file, look)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    photographed(page, f"inspection_{look}")
