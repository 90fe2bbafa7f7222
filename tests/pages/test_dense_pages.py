"""The commands of the pages on detection, segmentation and panoptic segmentation, data and recipes run."""

import pytest

from tests.pages import place
from tests.pages.lines import commands
from tests.pages.running import SLOW, matches, run_page

pytestmark = [pytest.mark.docs, pytest.mark.filterwarnings("default")]
TASKS = {
    "data": "detection",
    "detection": "detection",
    "panoptic": "panoptic",
    "predict": "detection",
    "recipes": "detection",
    "segmentation": "segmentation",
}
"""The pages, and whose run stands for the runs that their commands name."""
WITH_SLOW = [page for page in TASKS if any(matches(line, SLOW) for line in commands(page))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    place.prepare(folder, ["detection", "segmentation", "panoptic"])
    return folder


@pytest.mark.parametrize("page", TASKS)
def test_every_command_runs(page, prepared, tmp_path, capsys):
    run_page(page, TASKS[page], prepared, tmp_path, capsys, slow=False)


@pytest.mark.heavy
@pytest.mark.parametrize("page", WITH_SLOW)
def test_slow_commands_run(page, prepared, tmp_path, capsys):
    if page == "segmentation":
        place.published(prepared)
    run_page(page, TASKS[page], prepared, tmp_path, capsys, slow=True)
