"""The table of a sweep shows what differs in full, on the screen and in files."""

import csv

from visionattn.runs.sweep_table import differing, print_table, shortened, write_table

OUTCOMES = [
    {
        "number": number,
        "overrides": ["seed=1", "trainer.max_epochs=5", *(f"mixer@backbone.mixers.s{i}={name}" for i in (1, 2, 3))],
        "seconds": 12.3456,
        "results": {"val/loss": 0.5, "val/top1": 91.2345, "parameters": 1003670, "images/s training": 433.1},
        "error": "",
    }
    for number, name in enumerate(["dinat/11_2", "locally_enhanced"])
]
FAILED = {
    "number": 2,
    "overrides": ["seed=1", "trainer.max_epochs=9"],
    "seconds": 0.1,
    "results": None,
    "error": "no x",
}


def test_keys_are_cut_to_what_differs():
    assert differing(OUTCOMES) == [["s1,s2,s3=dinat/11_2"], ["s1,s2,s3=locally_enhanced"]]
    assert shortened(["optim.lr", "data.batch_size"]) == ["lr", "batch_size"]
    assert shortened(["head.pyramid.channels", "head.regions.channels"]) == ["pyramid.channels", "regions.channels"]
    assert shortened(["mixer@backbone.mixers.s1", "+optim.x"]) == ["s1", "x"]
    assert differing(OUTCOMES[:1])[0][0] == "seed=1"


def test_the_differing_choice_is_printed_in_full_within_80_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    print_table([*OUTCOMES, FAILED], tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    for part in ("s1,s2,s3=locally_enhanced", "91.23", "failed: no x", "12.35"):
        assert any(part in line for line in lines), part


def test_many_metrics_leave_room_for_the_choices(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    many = {f"val/figure_{i}": i / 7 for i in range(12)}
    print_table([{**one, "results": many} for one in OUTCOMES], tmp_path)
    printed = capsys.readouterr().out
    assert "s1,s2,s3=locally_enhanced" in printed
    assert "more columns in" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80


def test_the_table_is_written_as_csv_and_markdown(tmp_path):
    files = write_table([*OUTCOMES, FAILED], tmp_path)
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [row["outcome"] for row in rows] == ["done", "done", "failed: no x"]
    assert float(rows[0]["val/top1"]) == 91.2345
    assert rows[0]["choices"] == "max_epochs=5 s1,s2,s3=dinat/11_2"
    text = files[1].read_text()
    assert "| 0 | max_epochs=5 s1,s2,s3=dinat/11_2 | 91.23 | 0.5 | 12.35 | done |" in text
    assert "All jobs: `seed=1`" in text
