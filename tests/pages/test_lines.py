"""No page with commands is left out, and no exception from running them has lost its command."""

import pytest

from tests.pages import lines, running, test_classification_pages, test_dense_pages

ELSEWHERE = {
    "guide": "tests/test_guide.py",
    "own_images": "tests/test_own_images_page.py",
    "extend": "tests/test_docs.py",
    "safety": "tests/test_docs.py, which expects the refusal",
}


def test_every_page_with_commands_is_run():
    assert lines.pages() == {*test_classification_pages.TASKS, *test_dense_pages.TASKS, *ELSEWHERE}


@pytest.mark.parametrize("part", [*running.NOT_RUN, *running.DRY, *running.SLOW])
def test_every_exception_has_a_command(part):
    assert any(running.matches(line, {part: ""}) for page in lines.pages() for line in lines.commands(page))
