"""The parts of a page in a real browser: they sort, switch, show values and open, by pointer and by keys."""

import numpy as np
import pytest

from visionattn.drawing.palette import palette
from visionattn.reports import (
    Bars,
    Column,
    Curves,
    Differences,
    Facts,
    Layer,
    Matrix,
    Panels,
    Report,
    Sample,
    Samples,
    Series,
    Table,
    TokenMap,
)


def picture(size: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.stack([rows, columns, np.full_like(rows, size)], -1).astype(np.uint8) * 2


def sample(name: str) -> Sample:
    regions = np.zeros((96, 96), int)
    regions[20:50, 20:60] = 1
    boxes = np.array([[20, 20, 60, 50]])
    target = Layer("target", palette(1), ["cat"], boxes=boxes)
    return Sample(picture(), name, ["F1 50 %"], [target, Layer("prediction", palette(1), ["cat 80%"], regions=regions)])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page with one of every part."""
    report = Report("All parts", "of a page", "visionattn train", {"top1": "93.25"}, status="epoch 1 of 3", refresh=30)
    steps = np.arange(50)
    curves = {"training": (steps, 2 - steps / 50), "validation": Series([10, 40], [1.5, 1.0], [1.4, 0.9], [1.6, 1.1])}
    rates = Curves("Rate", {"lr": ([1, 10, 100], [1e-3, 1e-2, 1e-4])}, "step", log="xy")
    report.add(Panels("Curves", [Curves("Loss", curves, "step", "loss"), rates]))
    rows = [[f"class {i}", None if i == 3 else float(i * 7 % 20), i] for i in range(20)]
    report.add(Table("Classes", ["class", Column("AP", bar=True, top=20), "images"], rows))
    names = [f"c{i}" for i in range(30)]
    report.add(Matrix("Few", np.array([[5, 1], [0, 4]]), ["cat", "dog"], ["cat", "dog"]))
    report.add(Matrix("Many", 3 * np.eye(30, dtype=int) + np.eye(30, k=1, dtype=int), names, names))
    report.add(Samples("Worst samples", [sample("a.jpg"), sample("b.jpg")]), Bars("Images", {"cat": 3, "dog": 5}))
    attention = np.zeros((4, 4, 4, 4))
    for row in range(4):
        for column in range(4):
            attention[row, column, 3 - row, 3 - column] = 1  # every token attends to the one across
    report.add(TokenMap("Tokens", picture(), {"across": attention, "all": np.ones((4, 4, 4, 4)) / 16}, "a.jpg"))
    report.add(Facts("Facts", {"memory": "1 GiB"}), Differences("Configuration", {"optim.lr": (1e-3, 5e-4)}, {"a": 1}))
    return report.write(tmp_path_factory.mktemp("parts") / "report.html")


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def test_tables_sort_and_filter(opened, file):
    page = opened(file)
    first = "#classes tbody tr:visible td:first-child"
    assert texts(page, first)[:2] == ["class 0", "class 1"]
    page.get_by_role("button", name="AP").click()
    assert texts(page, first)[0] == "class 17"
    assert texts(page, first)[-1] == "class 3"  # without a value, the last one in both directions
    page.get_by_role("button", name="AP").press("Enter")
    assert page.locator("#classes th[aria-sort=ascending]").inner_text().strip() == "AP"
    assert (texts(page, first)[0], texts(page, first)[-1]) == ("class 0", "class 3")
    page.get_by_label("Show the rows that hold a text").fill("class 1")
    assert len(texts(page, first)) == 11
    assert page.locator(".found").inner_text() == "11 of 20"


def test_curves_tell_values_and_switch(opened, file):
    page = opened(file)
    chart = page.locator("#curves .chart").first
    chart.locator("svg").hover(position={"x": 200, "y": 100})
    tip = page.locator(".tip")
    assert "training" in tip.inner_text()
    assert tip.inner_text().startswith("step ")
    assert chart.locator(".cross").count() == 1
    page.locator("h1").hover()
    assert tip.is_hidden()
    page.get_by_role("button", name="training").click()
    assert chart.locator(".line").count() == 1
    chart.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    assert "1 (0.9 to 1.1)" in tip.inner_text()
    page.keyboard.press("ArrowLeft")
    assert "1.5 (1.4 to 1.6)" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_samples_switch_their_layers_and_open(opened, file):
    page = opened(file)
    boxes, regions = page.locator(".samples .layer-0"), page.locator(".samples .layer-1")
    assert boxes.first.is_visible()
    page.get_by_role("checkbox", name="target").uncheck()
    assert boxes.first.is_hidden()
    assert regions.first.is_visible()
    page.locator(".sample .plate").first.click()
    dialog = page.locator("dialog.zoom")
    assert dialog.is_visible()
    assert "a.jpg" in dialog.inner_text()
    assert dialog.locator(".layer-0").is_hidden()
    dialog.get_by_role("checkbox", name="target").check()
    assert boxes.first.is_visible()
    page.keyboard.press("ArrowRight")
    assert "b.jpg" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    page.wait_for_function("document.activeElement.ariaLabel === 'Enlarge b.jpg'")  # where it was opened last


def test_regions_tell_their_names(opened, file):
    page = opened(file)
    plate = page.locator(".sample .plate").first
    plate.scroll_into_view_if_needed()
    side = plate.bounding_box()["width"] / 96
    plate.hover(position={"x": 40 * side, "y": 45 * side})
    page.wait_for_function("document.querySelector('.tip').textContent.includes('predictioncat 80%')")
    plate.hover(position={"x": 80 * side, "y": 80 * side})
    page.wait_for_function("document.querySelector('.tip').hidden")
    plate.click()
    page.locator("dialog .plate").hover(position={"x": 200, "y": 200})
    page.wait_for_function("document.querySelector('dialog .tip')?.textContent.includes('predictioncat 80%')")


def test_a_token_tells_what_it_attends_to(opened, file):
    page = opened(file)
    plate, told = page.locator(".tokens .plate"), page.locator(".told")
    plate.scroll_into_view_if_needed()
    width = plate.bounding_box()["width"]
    plate.hover(position={"x": width / 8, "y": width / 8})
    assert "row 1, column 1 of 4 x 4 attends most to row 4, column 4" in told.inner_text()
    shades = "[...document.querySelector('.tokens canvas').getContext('2d').getImageData(0, 0, 4, 4).data]"
    opacity = page.evaluate(shades)[3::4]
    assert opacity[15] > 150
    assert opacity[:15] == [0] * 15
    plate.focus()
    page.keyboard.press("ArrowRight")
    assert "row 1, column 2 of 4 x 4 attends most to row 4, column 3" in told.inner_text()
    page.get_by_label("Which attention").select_option("all")
    page.wait_for_function("document.querySelector('.told').textContent.includes('0.0625')")


def test_matrices_tell_their_counts(opened, file):
    page = opened(file)
    page.locator("#few td", has_text="5").hover()
    assert page.locator(".tip").inner_text() == "target cat, predicted cat: 5 (83.3 %)"
    shades = page.locator("#many .shades")
    shades.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.tip').textContent.includes('c0 → c1')")
    assert "about 1 of 4 (25 %)" in page.locator(".tip").inner_text()


def test_light_and_dark(opened, file):
    page = opened(file, "dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.get_by_role("button", name="Switch between light and dark").click()
    light = page.evaluate(paper)
    assert sum(map(int, light[4:-1].split(", "))) > 700 > 150 > sum(map(int, dark[4:-1].split(", ")))
    page.reload()
    assert page.evaluate(paper) == light


def test_a_page_that_is_being_written_says_so_and_can_be_held(opened, file):
    page = opened(file)
    assert "the page loads itself again every 30 s" in page.get_by_role("status").first.inner_text()
    page.get_by_role("button", name="Pause").click()
    assert page.get_by_role("button", name="Go on").get_attribute("aria-pressed") == "true"


def test_without_scripts_and_on_paper_the_numbers_are_there(opened, file):
    page = opened(file, java_script_enabled=False)
    assert page.locator("#classes tbody tr").count() == 20
    assert page.locator("#curves noscript table").count() == 2
    assert page.locator(".samples .layer-0").first.is_visible()
    page.get_by_role("checkbox", name="target").uncheck()
    assert page.locator(".samples .layer-0").first.is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".contents").is_hidden()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_part_fits(opened, photographed, file, look):
    page = opened(file, look)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    photographed(page, f"parts_{look}")
