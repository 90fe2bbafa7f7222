"""The commands of the pages on detection, segmentation and panoptic segmentation, data and recipes run."""

import pytest

from tests.pages import place
from tests.pages.running import run_page, with_slow

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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    place.prepare(folder, ["detection", "segmentation", "panoptic"])
    return folder


@pytest.mark.parametrize("page", TASKS)
def test_every_command_runs(page, prepared, tmp_path, capsys):
    run_page(page, TASKS[page], prepared, tmp_path, capsys, slow=False)


@pytest.mark.heavy
@pytest.mark.parametrize("page", with_slow(TASKS))
def test_slow_commands_run(page, prepared, tmp_path, capsys):
    if page in place.PUBLISHED:
        place.published(prepared, page)
    run_page(page, TASKS[page], prepared, tmp_path, capsys, slow=True)
