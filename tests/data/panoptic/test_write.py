"""Panoptic maps as files."""

import json

from visionattn.data.panoptic.write import PanopticFile, write_panoptic


def test_images_of_one_name_keep_a_map_each(tmp_path):
    files = [PanopticFile(number, "a.png", bytes([number]), []) for number in (1, 2, 3)]
    assert write_panoptic(tmp_path / "maps", tmp_path / "file.json", files, []) == 3
    names = [one["file_name"] for one in json.loads((tmp_path / "file.json").read_text())["annotations"]]
    assert names == ["a.png", "a_2.png", "a_3.png"]
    assert [(tmp_path / "maps" / name).read_bytes() for name in names] == [b"\1", b"\2", b"\3"]
