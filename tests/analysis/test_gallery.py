"""The page of mixers: what a token sees is what the mixer's rule says, and the page on disk is current."""

import re
from pathlib import Path

import numpy as np
import pytest

from visionattn.analysis import gallery
from visionattn.config.catalog import choices

DOCS = Path(__file__).resolve().parents[2] / "docs"


def boxes(field):
    rows, columns = np.nonzero(field)
    return (rows.min(), columns.min(), rows.max(), columns.max()), len(rows)


def test_windows_shift_and_neighborhoods_stay_about_the_token():
    window = gallery.entry("window")
    assert window.macs[1] == 4 * window.macs[0]
    first, second = window.fields
    assert boxes(first) == ((7, 7, 13, 13), 49)
    assert boxes(second) == ((10, 3, 16, 9), 49)
    (around,) = gallery.entry("neighborhood").fields
    assert boxes(around) == ((8, 6, 14, 12), 49)


def test_batch_norms_do_not_let_tokens_see_each_other():
    (pair,) = gallery.entry("convolutions").fields  # two 3 x 3, between batch norms
    assert boxes(pair) == ((9, 7, 13, 11), 25)


def test_the_page_names_every_mixer_and_its_pictures_exist():
    text = (DOCS / "attention.md").read_text(encoding="utf-8")
    names = [name for name in choices("mixer") if "/" not in name]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == names
    for target in re.findall(r"\]\((images/[^)]*)\)", text):
        assert (DOCS / target).is_file(), target


@pytest.mark.heavy
def test_the_page_is_current():
    entries = [gallery.entry(name) for name in choices("mixer") if "/" not in name]
    assert (DOCS / "attention.md").read_text(encoding="utf-8") == gallery.page(entries)
