"""What is concluded from results: rows, pairs, verdicts, and the table and files that show them."""

import csv
import io
import json
from pathlib import Path

import pytest

from visionattn.comparison import files, table
from visionattn.comparison.page import page
from visionattn.comparison.results import Result
from visionattn.comparison.statistics import estimate
from visionattn.comparison.summary import Cost, Facts, summarize
from visionattn.comparison.verdict import difference, rounded, sentences

SCORES = {
    "window": [80.0, 80.4, 80.2],
    "neighborhood": [80.9, 81.2, 81.1],
    "cross_shaped & 50 %_wide": [80.1, 80.3, 80.3],
}


def made(scores=SCORES, mode="max", failed=(), **facts):
    results = [
        Result(name, seed, Path(name, str(seed)), {"val/top1": value, "val/loss": 1.0 + seed, "seconds": 3.0})
        if (name, seed) not in failed
        else Result(name, seed, Path(name, str(seed)), error="the loss is nan. Lower the rate.")
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]
    known = {name: Facts(1000, 0.5, 400, "widths [8] to [12]", 0.012, Cost(10.0, 20.0, 2**20)) for name in scores}
    return summarize(results, "val/top1", mode, known | facts, ["a note"], {"data": "digits"}, "visionattn compare")


def test_the_verdict_says_who_beats_whom_and_who_is_alike():
    found = made()
    assert sentences(found) == [
        "neighborhood beats cross_shaped & 50 %_wide by 0.83 ± 0.14 and window by 0.87 ± 0.14",
        "cross_shaped & 50 %_wide and window cannot be told apart with 3 seeds",
    ]
    pair = found.pair("window", "neighborhood")
    expected = estimate([0.9, 0.8, 0.9])
    assert pair.difference.mean == pytest.approx(expected.mean)
    assert pair.p == pytest.approx(3 * expected.p) or pair.p == pytest.approx(2 * expected.p)  # Holm


def test_where_less_is_better_the_least_wins():
    assert sentences(made(mode="min"))[0].startswith("window beats neighborhood")


def test_one_seed_tells_nothing():
    found = made({"a": [1.0], "b": [9.0]})
    assert [pair.told_apart for pair in found.pairs] == [False]
    assert sentences(found) == [
        "a difference of one seed has no interval: nothing can be told of it; give seeds=3 or more"
    ]


def test_entries_that_are_not_neighbors_can_be_alike_too():
    close = {"a": [5.0, 1.0, 9.0], "b": [4.9, 0.9, 8.89], "c": [3.0, 3.1, 3.0]}
    texts = sentences(made(close))
    assert texts[0].startswith("a beats b by 0.10")
    assert set(texts[1:]) == {f"{name} and c cannot be told apart with 3 seeds" for name in "ab"}


def test_pairs_are_paired_by_the_seeds_that_both_have():
    found = made(failed=[("window", 0)])
    assert found.pair("window", "neighborhood").difference.count == 2
    assert found.rows[0].failed == {0: "the loss is nan. Lower the rate."}


def test_an_entry_without_results_is_told():
    found = made(failed=[("window", seed) for seed in range(3)])
    assert sentences(found)[0] == "window has no result"
    text = "\n".join(table.lines(found))
    assert "window, seeds 0, 1 and 2: the loss is nan" in text
    assert "0 (3 missing)" in text
    assert "Lower" not in text
    assert "window" in page(found).html()


def test_the_table_is_80_wide_and_names_entries_in_full():
    long = {f"{'very ' * 12}long name {i}": values for i, values in enumerate(SCORES.values())}
    for scores in (SCORES, long):
        lines = list(table.lines(made(scores)))
        assert max(map(len, lines)) <= 80
        text = " ".join(" ".join(lines).split())
        assert all(" ".join(name.split()) in text for name in scores)
    assert "80.20 ± 0.50" in "\n".join(table.lines(made()))
    assert "+0.87 ± 0.14" in "\n".join(table.lines(made()))


def test_the_csv_has_every_metric_in_full():
    rows = list(csv.DictReader(io.StringIO(files.as_csv(made()))))
    assert [row["entry"] for row in rows] == list(SCORES)
    window, neighborhood, _ = rows
    assert float(window["val/top1 mean"]) == pytest.approx(80.2)
    assert float(window["val/loss mean"]) == 2.0
    assert float(neighborhood["val/top1 minus window mean"]) == pytest.approx(0.8667, abs=1e-4)
    assert window["val/top1 minus window mean"] == ""
    assert (window["parameters"], window["shared parameters"], window["peak memory bytes"]) == (
        "1000",
        "400",
        "1048576",
    )


def test_latex_is_escaped_and_whole():
    text = files.as_latex(made())
    assert r"cross\_shaped \& 50 \%\_wide &" in text
    assert r"$\pm$" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {
        text[text.index("{tabular}{") :].split("}")[1].count("r")
    }
    assert files.escaped("a~b^c\\") == r"a\textasciitilde{}b\textasciicircum{}c\textbackslash{}"


def test_markdown_and_json_hold_the_verdict():
    found = made()
    assert sentences(found)[0] in files.as_markdown(found)
    contents = json.loads(json.dumps(files.as_dict(found)))
    assert contents["verdict"] == sentences(found)
    assert contents["entries"][1]["values"] == {"0": 80.9, "1": 81.2, "2": 81.1}
    assert len(contents["runs"]) == 9
    assert contents["pairs"][0]["told_apart"] is True


def test_what_was_measured_is_read_again(tmp_path):
    files.write(made(), tmp_path)
    assert files.costs_in(tmp_path)["window"] == Cost(10.0, 20.0, 2**20, None)
    assert files.costs_in(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    ("values", "told"), [([0.8, 0.5, 1.1], "0.80 ± 0.75"), ([-12.0, -30.0], "21.0 ± 114.4"), ([0.0012], "0.0012")]
)
def test_differences_have_two_digits(values, told):
    assert difference(estimate(values)) == told


def test_large_rates_have_no_exponent_and_no_digits_behind_the_point():
    assert [rounded(value) for value in (11_472.6, 1_709.4, 812.44, 0.00096952, None)] == [
        "11,473",
        "1,709",
        "812.4",
        "0.0009695",
        "",
    ]
