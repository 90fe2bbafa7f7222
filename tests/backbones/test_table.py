"""The table of models in the documentation is the one the cards give."""

from pathlib import Path

import pytest

import visionattn
from visionattn.backbones.table import main, model_table

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == model_table(), "run: python -m visionattn.backbones.table docs/models.md"


def test_every_backbone_has_one_row_and_its_exact_parameters():
    table = model_table()
    for name in visionattn.list_backbones():
        assert table.count(f"| `{name}` |") == 1
    assert "| `swin_tiny` | 224x224 | 28,288,354 | 4.5 | 81.2 |" in table
    assert "`swin_tiny_patch4_window7_224.ms_in1k`" in table


def test_the_command_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["models", str(tmp_path / "models.md")])
    main()
    assert (tmp_path / "models.md").read_text(encoding="utf-8") == model_table()
    monkeypatch.setattr("sys.argv", ["models"])
    with pytest.raises(SystemExit, match="usage"):
        main()
