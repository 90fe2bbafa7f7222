"""The page of a comparison in a browser."""

from pathlib import Path

import pytest

from visionattn.comparison.page import page as page_of
from visionattn.comparison.results import Result
from visionattn.comparison.summary import Cost, Facts, summarize

SCORES = {"window": [80.0, 80.4, 80.2], "neighborhood": [80.9, 81.2, 81.1], "cross <b>shaped</b>": [80.1, 80.3, 80.3]}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page of three entries with three seeds."""
    folder = tmp_path_factory.mktemp("comparison")
    results = []
    for entry, values in SCORES.items():
        for seed, value in enumerate(values):
            run = Path(folder, entry.partition(" ")[0], str(seed))
            run.mkdir(parents=True)
            lines = [f"{step},{value - 40 / step}" for step in range(1, 20)]
            (run / "metrics.csv").write_text("\n".join(["step,val/top1", *lines]), encoding="utf-8")
            results.append(Result(entry, seed, run, {"val/top1": value, "seconds": 3.0}))
    facts = {entry: Facts(1000 + 50 * i, 0.5, 400, cost=Cost(10.0, 20.0, 2**20)) for i, entry in enumerate(SCORES)}
    found = summarize(results, "val/top1", "max", facts, ["a note"], {"data": "digits"}, "visionattn compare", folder)
    return page_of(found).write(folder / "report.html")


def test_a_comparison_is_read_and_used(opened, file):
    page = opened(file)
    assert "neighborhood beats" in page.locator("#verdict").inner_text()
    heading = page.locator("#results th", has_text="val/top1").first
    heading.get_by_role("button").click()
    assert page.locator("#results tbody td:first-child").first.inner_text() == "neighborhood"
    chart = page.locator(".chart svg").first
    chart.scroll_into_view_if_needed()
    chart.hover(position={"x": chart.bounding_box()["width"] / 2, "y": 80})
    assert "window" in page.locator(".tip").inner_text()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_it_fits(opened, photographed, file, look):
    page = opened(file, look)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    photographed(page, f"comparison_{look}")
