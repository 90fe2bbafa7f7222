"""A headless Chromium for the pages of tests/browser, and a watch on what they load and complain about.

They need Debian's package ``chromium`` (or Chrome) and the Python package ``playwright`` of the extra ``dev``, which
drives it; no browser is downloaded. Without them a test fails and says so.
"""

import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
}
"""What a page is opened with."""
SCREENSHOTS = Path(os.environ.get("VISIONATTN_SCREENSHOTS", "outputs/browser"))
"""Where the screenshots go, to be looked at."""


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def chromium():
    """The browser."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("the browser tests need Chromium: install Debian's package chromium (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("the browser tests need the Python package playwright: install the extra dev (pip install .[dev])")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


class Watched:
    """A page that fails a test by :meth:`check` where it complained, or asked for anything but its own file."""

    def __init__(self, browser, file, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asked(request.url, file.as_uri()))
        self.page.goto(file.as_uri())

    def _asked(self, url, own):
        if url.partition("#")[0] != own and not url.startswith("data:"):
            self.faults.append(f"asked for {url}")

    def check(self):
        assert self.faults == []


@pytest.fixture
def opened(chromium):
    """``opened(file, look)`` gives a page; whatever it complained about fails the test at its end."""
    pages = []

    def open_page(file, look="light", **options):
        pages.append(Watched(chromium, file, **LOOKS[look], **options))
        return pages[-1].page

    yield open_page
    for one in pages:
        one.context.close()
    for one in pages:
        one.check()


@pytest.fixture
def photographed():
    """``photographed(page, name)`` writes a screenshot of the whole page, or of what is seen of it."""

    def photograph(page, name, whole=True):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole, animations="disabled")

    return photograph
