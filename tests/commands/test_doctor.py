"""The doctor as a command: exit status, text and JSON."""

import json

from tests.data.helpers import make_tree
from visionattn.cli import main


def test_text_json_and_exit_status(tmp_path, capsys):
    root = make_tree(tmp_path / "tree", {"train": 3, "val": 2})
    words = ["data", "doctor", "data=image_folder", f"data.root={root}", "data.num_classes=3"]
    assert main([*words, f"hydra.run.dir={tmp_path}/a"]) == 0
    assert "no problems found" in capsys.readouterr().out
    (root / "train" / "ant" / "same.jpg").write_bytes((root / "train" / "ant" / "0.jpg").read_bytes())
    assert main([*words, f"hydra.run.dir={tmp_path}/b", "--json"]) == 0  # a warning
    document = json.loads(capsys.readouterr().out)
    assert (document["errors"], document["warnings"]) == (0, 1)
    assert document["findings"][0]["kind"] == "images that occur twice"
    assert document == json.loads((tmp_path / "b" / "doctor.json").read_text())
    (root / "val" / "bee" / "0.jpg").write_bytes(b"no image")
    assert main([*words, f"hydra.run.dir={tmp_path}/c", "json=true"]) == 1
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["errors"], document["findings"][1]["severity"]) == (1, "error")
    assert "val/bee/0.jpg" in document["findings"][1]["examples"][0]
    assert "visionattn: data doctor found 1 error; see " in shown.err
