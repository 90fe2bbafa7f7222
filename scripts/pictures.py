"""Pictures of the README that need trained models or a browser; visionattn.analysis.gallery draws those of attention.

python scripts/pictures.py predictions docs/images/predictions.jpg IMAGE,IMAGE RUN RUN
python scripts/pictures.py page docs/images/comparison.png outputs/compare/.../report.html
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from visionattn import load
from visionattn.drawing.canvas import sheet_of

EDGE = 320
"""Pixels of an image among the predictions."""
VIEW = {"width": 1100, "height": 700}
"""The part of a page that its picture shows, from the top."""
LARGEST = 150_000
"""Bytes of a picture in the repository."""


def predictions(output: Path, images: list[Path], runs: list[Path]) -> None:
    """A row for each image: itself, and what each run finds in it."""
    models = [load(run) for run in runs]
    columns = {"image": [Image.open(path).convert("RGB") for path in images]}
    columns |= {
        type(model.task).__module__.split(".")[2]: [found.draw() for found in model.predict(images)] for model in models
    }
    last = len(images) - 1
    tiles = [(drawn[row], name if row == last else "") for row in range(last + 1) for name, drawn in columns.items()]
    sheet_of(tiles, columns=len(columns), edge=EDGE).save(output, quality=85, optimize=True)


def page(output: Path, html: Path) -> None:
    """The upper part of a page, as Chromium (Debian's package) shows it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport=VIEW, color_scheme="light", device_scale_factor=1.25)
        opened.goto(html.resolve().as_uri())
        opened.screenshot(path=str(output))
        browser.close()
    Image.open(output).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(output, optimize=True)


def main() -> None:
    match sys.argv[1:]:
        case ["predictions", output, images, *runs] if runs:
            predictions(Path(output), [Path(name) for name in images.split(",")], [Path(run) for run in runs])
        case ["page", output, html]:
            page(Path(output), Path(html))
        case _:
            raise SystemExit(__doc__)
    size = Path(output).stat().st_size
    print(f"{output}: {size:,} bytes")
    if size > LARGEST:
        raise SystemExit(f"more than {LARGEST:,} bytes: too large for the repository")


if __name__ == "__main__":
    main()
