"""The table of models in the documentation is the one the cards give."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

import visionattn
from visionattn.backbones.table import family_table, main, model_table, with_families

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "models.md", ROOT / "README.md"
COMMAND = "run: python -m visionattn.backbones.table docs/models.md README.md"


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == model_table(), COMMAND
    readme = README.read_text(encoding="utf-8")
    assert readme == with_families(readme), COMMAND


def test_every_published_backbone_is_in_a_family_and_its_figures_are_the_cards():
    rows = {row.split(" | ")[0].strip("| `"): row.split(" | ") for row in family_table().splitlines()[2:]}
    for name in visionattn.list_backbones():
        assert name.endswith("_pico") or any(fnmatch(name, pattern) for pattern in rows), name
    assert rows["swin_*"][3:] == ["28.3-197", "4.5-104", "81.2-87.3 |"]
    assert "[window](docs/attention.md#window), [grid](docs/attention.md#grid)" in rows["maxvit_*"]
    assert "#content)" in rows["boat_*"][2]  # named in its blocks


def test_every_backbone_has_one_row_and_its_exact_parameters():
    table = model_table()
    for name in visionattn.list_backbones():
        assert table.count(f"| `{name}` |") == 1
    assert "| `swin_tiny` | 224x224 | 28,288,354 | 4.5 | 81.2 |" in table
    assert "`swin_tiny_patch4_window7_224.ms_in1k`" in table


def test_the_command_writes_both(tmp_path, monkeypatch):
    page, readme = tmp_path / "models.md", tmp_path / "README.md"
    readme.write_text("before\n<!-- families -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["models", str(page), str(readme)])
    main()
    assert page.read_text(encoding="utf-8") == model_table()
    text = readme.read_text(encoding="utf-8")
    assert family_table() in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    monkeypatch.setattr("sys.argv", ["models"])
    with pytest.raises(SystemExit, match="usage"):
        main()
