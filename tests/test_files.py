"""Files are there as a whole or not at all."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from visionattn.errors import ConfigError
from visionattn.files import near_file, whole, whole_folder, write_rows, write_whole
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


def test_a_folder_takes_the_place_of_another(tmp_path):
    for name in ("old", "new"):
        with whole_folder(tmp_path / "out.d") as draft:
            (draft / name).write_text(name)
            assert draft.suffix == ".d"
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["out.d", "out.d/new"]


def test_the_folder_that_a_command_runs_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path("."), tmp_path):
        with pytest.raises(ConfigError, match="is the folder that the command runs in"), whole_folder(path):
            pytest.fail("nothing is written")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_take_the_place_leaves_the_other(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    replace = type(tmp_path).replace

    def once(path, target):
        monkeypatch.setattr(type(path), "replace", refuse_new)
        return replace(path, target)

    def refuse_new(path, target):
        return full() if not path.name.endswith("-old") else replace(path, target)

    monkeypatch.setattr(type(tmp_path), "replace", once)
    with pytest.raises(OSError, match="No space left"), whole_folder(tmp_path / "out") as draft:
        (draft / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


KILLED = """
import os, signal, sys
from pathlib import Path
from visionattn.files import whole
with whole(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="asks the system for processes")
def test_the_draft_of_a_killed_process_goes_with_the_next_one(tmp_path):
    path = tmp_path / "last.ckpt"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (killed,) = tmp_path.iterdir()
    mine = tmp_path / f".last.ckpt.{socket.gethostname()}-{os.getppid()}.ckpt"
    elsewhere = tmp_path / ".last.ckpt.another-host-1.ckpt"
    other = tmp_path / ".last.ckpt.new"
    for file in (mine, elsewhere, other):
        file.touch()
    write_whole(path, "whole")
    assert killed.exists()  # it might still be written to
    for file in (killed, mine, elsewhere, other):
        os.utime(file, (0, os.path.getmtime(file) - 3600))
    write_whole(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, mine, elsewhere, other])
    os.utime(elsewhere, (0, 0))
    write_whole(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, mine, other])


def test_a_folder_is_listed_once_by_a_process(tmp_path, monkeypatch):
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: listed.append(folder) or iterdir(folder))
    for name in "aba":
        write_whole(tmp_path / name, "whole")
    assert listed == [tmp_path]


def test_rows_are_written_as_csv(tmp_path):
    write_rows(tmp_path / "a.csv", [["name", "value"], ["a,b", 0.5], ["\udcff", ""]])
    assert (tmp_path / "a.csv").read_bytes() == b'name,value\r\n"a,b",0.5\r\n\\udcff,\r\n'


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("pets/vall/0.jpg", ", and no {}/pets/vall; did you mean {}/pets/val?"),
        ("pest/val/0.jpg", ", and no {}/pest; did you mean {}/pets?"),
        ("pets/val/1.jpg", "; did you mean {}/pets/val/0.jpg?"),
        ("other/x", ", and no {}/other"),
    ],
)
def test_what_is_missing_first_is_named(asked, hint, tmp_path, monkeypatch):
    (tmp_path / "pets" / "val").mkdir(parents=True)
    (tmp_path / "pets" / "val" / "0.jpg").touch()
    assert near_file(tmp_path / asked) == hint.format(tmp_path, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert near_file(Path(asked)) == hint.replace("{}/", "")
