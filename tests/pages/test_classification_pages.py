"""The commands of the pages on classification, comparison and models run."""

import pytest

from tests.pages import place
from tests.pages.running import run_page, with_slow

pytestmark = [pytest.mark.docs, pytest.mark.filterwarnings("default")]
TASKS = {
    "README": "classification",
    "backbones": "classification",
    "compare": "classification",
    "evaluation": "classification",
    "export": "classification",
    "index": "classification",
    "inspect": "classification",
    "install": "classification",
    "kernels": "classification",
    "probes": "classification",
    "reports": "classification",
    "speed": "classification",
    "training": "digits",
}
"""The pages, and whose run stands for the runs that their commands name."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    place.prepare(folder, ["classification", "again", "digits", "imagenet"])
    return folder


@pytest.mark.parametrize("page", TASKS)
def test_every_command_runs(page, prepared, tmp_path, capsys):
    run_page(page, TASKS[page], prepared, tmp_path, capsys, slow=False)


@pytest.mark.heavy
@pytest.mark.parametrize("page", with_slow(TASKS))
def test_slow_commands_run(page, prepared, tmp_path, capsys):
    run_page(page, TASKS[page], prepared, tmp_path, capsys, slow=True)
