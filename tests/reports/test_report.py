"""One page from plain data: whole, escaped, small, and loading nothing."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionattn.reports import (
    Bars,
    Cell,
    Column,
    Curves,
    Differences,
    Facts,
    Layer,
    Matrix,
    Panels,
    Picture,
    Report,
    Sample,
    Samples,
    Series,
    Table,
    Text,
    TokenMap,
    thumbnail,
)

EVIL = "</script><script>alert('x')</script> & \"<b>\""
VOID = {"meta", "link", "img", "input", "br", "path", "rect", "circle"}


class Page(HTMLParser):
    """Checks that tags close, and collects addresses, texts and the data of charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.data: list[str] = []
        self.scripts = 0
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.addresses += [given[name] for name in ("src", "href") if given.get(name)]
        self.scripts += tag == "script" and "type" not in given
        if tag not in VOID:
            self.open.append(given.get("type", tag) if tag == "script" else tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        opened = self.open.pop()
        assert tag == ("script" if opened == "application/json" else opened)

    def handle_data(self, data):
        if self.open and self.open[-1] == "application/json":
            self.data.append(data)
        elif self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 255, (height, width, 3), np.uint8)


def sample(name: str = "a.jpg", size: int = 40) -> Sample:
    regions = np.zeros((size, size), int)
    regions[5:20, 5:20] = 1
    colors = np.array([[230, 159, 0]], np.uint8)
    target = Layer("target", colors, [EVIL], boxes=np.array([[5, 5, 20, 20]]))
    return Sample(
        noise(size, size), name, ["AP 30", ""], [target, Layer("prediction", colors, ["cat"], regions=regions)]
    )


def everything() -> Report:
    names = ["cat", EVIL]
    report = Report(EVIL, EVIL, command=f"visionattn train name={EVIL}", headline={EVIL: 93.25, "parameters": 27519354})
    report.links, report.status, report.refresh = {EVIL: "config.yaml"}, f"epoch 1 {EVIL}", 30
    curves = {EVIL: ([1, 2, 3], [0.5, math.nan, 0.25]), "band": Series([1, 2], [1, 2], [0, 1], [2, 3])}
    report.add(Panels("Curves", [Curves(EVIL, curves, EVIL, EVIL), Bars(EVIL, {EVIL: 3, "none": math.nan})]))
    report.add(Table(EVIL, [EVIL, Column("AP", bar=True)], [[EVIL, 3.0], [Cell(EVIL, 1.0), None]], note=EVIL))
    report.add(Matrix(EVIL, np.array([[3, 1], [0, 2]]), names, names))
    report.add(Matrix("large", np.eye(30, dtype=int), [EVIL] * 30, [EVIL] * 30))
    report.add(Samples(EVIL, [sample(EVIL)]), Picture(EVIL, noise(20, 30), EVIL), Text(EVIL, EVIL))
    report.add(Facts(EVIL, {EVIL: EVIL}), Differences(EVIL, {EVIL: (EVIL, None)}, {EVIL: EVIL}))
    return report.add(TokenMap(EVIL, noise(28, 28), {EVIL: np.ones((2, 3, 4, 5))}, EVIL))


def test_everything_is_escaped_and_nothing_is_loaded():
    html = everything().html()
    page = Page(html)
    assert "<b>" not in html
    assert page.scripts == 1
    assert "".join(page.words).count(EVIL) > 20
    assert all(json.loads(text) is not None for text in page.data)
    assert all(re.match(r"data:|#|config\.yaml$", address) for address in page.addresses)
    outside = [address for address in re.findall(r"https?://[^\s\"']+", html) if "www.w3.org" not in address]
    assert outside == []
    assert "default-src 'none'" in html


def test_a_report_stays_under_its_size_by_smaller_and_fewer_images_and_says_so():
    report = Report("many").add(Samples("worst", [sample(f"{i}.jpg", size=300) for i in range(4)]))
    whole = report.html()
    assert "To keep this file small" not in whole
    smaller = report.html(len(whole) * 2 // 3)
    assert len(smaller.encode()) <= len(whole) * 2 // 3
    assert re.search(r"images are \d+ pixels wide in place of 320", smaller)
    fewest = report.html(75_000)
    assert len(fewest.encode()) <= 75_000
    assert "of them are left out" in fewest
    with pytest.raises(ValueError, match="text of report 'many' takes"):
        report.html(10_000)


def test_tables_sort_by_numbers_and_say_where_rows_are_left_out():
    rows = [["a", 2.5], ["b", None], ["c", 10]]
    html = Report("t").add(Table("Classes", ["class", "AP"], rows, sort="AP")).html()
    assert html.index(">c</td>") < html.index(">a</td>") < html.index(">b</td>")
    long = Report("t").add(Table("Classes", ["class"], [[f"class {i}"] for i in range(2500)])).html()
    assert "The first 2,000 of 2,500 rows are shown." in long
    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        Report("t").add(Table("Classes", ["class", "AP"], [["a"]])).html()


def test_long_curves_keep_their_extremes():
    y = np.sin(np.arange(10_000) / 50)
    y[7777] = 9
    (data,) = (json.loads(text) for text in Page(Report("c").add(Curves("c", {"y": (range(10_000), y)})).html()).data)
    (curve,) = data["curves"]
    assert len(curve["x"]) == len(curve["y"]) == len(curve["low"]) == 400
    assert max(curve["high"]) == 9
    assert np.mean(curve["y"]) == pytest.approx(y.mean(), abs=1e-6)
    few = json.loads(Page(Report("c").add(Curves("c", {"y": ([1, 2], [math.inf, 3])})).html()).data[0])
    assert few["curves"][0] == {"name": "y", "x": [1, 2], "y": [None, 3]}


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_attention_comes_back_from_the_page():
    attention = np.random.default_rng(0).random((4, 4, 40, 3))
    attention /= attention.sum((2, 3), keepdims=True)
    html = Report("t").add(TokenMap("t", noise(9, 9), {"s1": attention})).html()
    (one,) = json.loads(Page(html).data[0])["maps"]
    assert (one["queries"], one["keys"]) == ([4, 4], [32, 3])
    back = pixels_of(one["image"]).astype(float) / 255 * np.array(one["largest"])[:, None]
    np.testing.assert_allclose(back.sum(1), 1, atol=0.01)
    with pytest.raises(ValueError, match="has 4 axes"):
        Report("t").add(TokenMap("t", noise(9, 9), {"s1": attention[0]})).html()


def test_regions_have_their_colors_and_nothing_is_clear():
    html = Report("r").add(Samples("s", [sample()])).html()
    (uri,) = re.findall(r'class="regions" src="([^"]+)"', html)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))
    assert shown[10, 10].tolist() == [230, 159, 0, 255]
    assert shown[30, 30, 3] == 0
    wrong = Layer("target", np.zeros((1, 3)), regions=np.full((4, 4), 2))
    with pytest.raises(ValueError, match="regions up to 2, but 1 color"):
        Report("r").add(Samples("s", [Sample(noise(4, 4), layers=[wrong])])).html()


def test_a_thumbnail_lets_go_of_its_image():
    small = thumbnail(noise(640, 1000))
    assert small.size == (320, 205)
    assert thumbnail(noise(10, 20)).size == (20, 10)


def test_the_example_of_the_documentation_writes_its_page(tmp_path, monkeypatch):
    page = Path(__file__).resolve().parents[2] / "docs" / "reports.md"
    (example,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert "<h1>Two attentions</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
