"""Files are there as a whole or not at all."""

import pytest

from visionattn.files import whole, write_whole
from visionattn.reports import Report


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("failing", ["pathlib.Path.write_text", "pathlib.Path.replace"])
@pytest.mark.parametrize("write", [write_whole, lambda path, text: Report(text).write(path)])
def test_a_full_disk_leaves_what_was_there_and_no_draft(write, failing, tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.html"
    write(path, "first")
    before = path.read_text(encoding="utf-8")
    monkeypatch.setattr(failing, full)
    with pytest.raises(OSError, match="No space left"):
        write(path, "second")
    assert path.read_text(encoding="utf-8") == before
    assert "first" in before
    assert [one.name for one in path.parent.iterdir()] == ["file.html"]


def test_what_stops_a_block_leaves_nothing(tmp_path):
    def interrupted():
        with whole(tmp_path / "file") as draft:
            draft.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
