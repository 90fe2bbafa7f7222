"""A checkpoint is there whole or not at all."""

import json
import os
import shutil

import pytest
import torch

from visionattn.errors import CheckpointError
from visionattn.training.checkpoints import AtomicCheckpointIO, damage, replacing, rotate
from visionattn.weights.distributed import checksums


def write(path, number=0):
    AtomicCheckpointIO().save_checkpoint({"number": number, "weights": torch.arange(1000.0)}, path)
    return path


def number(path):
    return AtomicCheckpointIO().load_checkpoint(path)["number"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_damaged(tmp_path, share):
    path = write(tmp_path / "a.ckpt")
    contents = path.read_bytes()
    path.write_bytes(contents[: int(share * len(contents))])
    assert damage(path)
    with pytest.raises(CheckpointError, match=r"a\.ckpt is damaged"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_a_flipped_bit_in_the_weights_is_damage(tmp_path):
    path = write(tmp_path / "a.ckpt")
    contents = bytearray(path.read_bytes())
    where = contents.index(torch.arange(500.0, 504.0).numpy().tobytes())
    contents[where] ^= 1
    assert not damage(path)
    path.write_bytes(contents)
    assert "checksum" in damage(path)


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = write(tmp_path / "a.ckpt", 1)
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])
    assert number(path) == 1
    assert os.listdir(tmp_path) == ["a.ckpt"]
    assert number(write(path, 2)) == 2


@pytest.mark.parametrize("links", [True, False])
def test_the_one_before_is_kept(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for count in (1, 2, 3):
        rotate(write(tmp_path / "new", count), last, previous)
    assert (number(last), number(previous)) == (3, 2)


def test_folders_of_distributed_checkpoints_rotate_too(tmp_path):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for count in (1, 2, 3):
        folder = tmp_path / "new"
        folder.mkdir()
        contents = [folder / ".metadata", folder / "meta.pt"]
        for path in contents:
            path.write_text(str(count))
        (folder / "checksums.json").write_text(json.dumps(checksums(contents)))
        rotate(folder, last, previous)
    assert [(path / ".metadata").read_text() for path in (last, previous)] == ["3", "2"]
    (last / ".metadata").unlink()
    assert damage(last)
    assert not damage(previous)
    shutil.rmtree(last)
