"""`visionattn compare` from the command line to its table: one small comparison that all tests share."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from visionattn.cli import main
from visionattn.comparison.plan import Plan

TINY = [
    *("backbone=swin_pico", "backbone.dims=[16,32,64]", "backbone.depths=[1,1,1]", "logger=csv", "callbacks=no_ema"),
    *(
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=1",
        "trainer.accelerator=cpu",
    ),
    *("data.batch_size=8", "data.eval_batch_size=64"),
]
DIVERGING = "[mixer=window,optim.lr=1e30,schedule.warmup_epochs=0,trainer.limit_train_batches=4]"
ENTRIES = ["mixers=[window,pooling]", "entries={broken:" + DIVERGING + "}", "seeds=2", "measure=0.1"]
COMMAND = ["compare", *ENTRIES, *TINY, "dir=comparison"]
BROKEN = "the loss is nan"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder that holds the comparison, and what was printed."""
    import contextlib
    import io

    place, printed = tmp_path_factory.mktemp("compared"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(place)
        code = main(COMMAND)
    return place, code, printed.getvalue()


@pytest.fixture
def there(compared, monkeypatch):
    monkeypatch.chdir(compared[0])
    return compared[0] / "comparison"


def test_one_table_tells_results_costs_failures_and_a_verdict(compared):
    _, code, printed = compared
    assert code == 1  # an entry failed; the others were trained all the same
    text = printed[printed.index("val/top1 over 2 seeds") :]
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert re.search(rf"broken, seeds 0 and 1: .*{BROKEN}", " ".join(text.split()))
    assert "cannot be told apart with 2 seeds" in text
    assert "broken has no result" in text
    assert re.search(r"train/s +infer/s +MiB\n", text)
    plan = printed[: printed.index("6 trainings")]
    assert re.search(r"pooling: [\d,]+ parameters, [\d.e-]+ GMACs; [\d,]+ \(\d+ %\) start as in window", plan)


def test_its_files_hold_the_same(there):
    names = {path.name for path in there.iterdir() if path.is_file()}
    assert names == {
        *("comparison.csv", "comparison.json", "comparison.md", "comparison.tex"),
        *("plan.json", "reference.yaml", "report.html"),
    }
    contents = json.loads((there / "comparison.json").read_text())
    entries = {one["name"]: one for one in contents["entries"]}
    assert list(entries) == ["window", "pooling", "broken"]
    for seed in ("0", "1"):
        results = json.loads((there / "pooling" / f"seed_{seed}" / "results.json").read_text())["results"]
        assert entries["pooling"]["values"][seed] == results["val/top1"]
        assert entries["pooling"]["params"] == results["parameters"]
    assert entries["window"]["training_images_per_second"] > 0
    assert entries["window"]["peak_memory_bytes"] > 4 * entries["window"]["params"]
    assert entries["broken"]["values"] == {}
    rows = list(csv.DictReader((there / "comparison.csv").read_text().splitlines()))
    assert float(rows[1]["val/top1 mean"]) == pytest.approx(sum(entries["pooling"]["values"].values()) / 2)
    assert len((there / "report.html").read_bytes()) < 5_000_000


def test_the_runs_are_ordinary_ones_of_one_recipe(there):
    configs = {}
    for name in ("window", "pooling"):
        assert (there / name / "seed_1" / "checkpoints" / "last.ckpt").is_file()
        configs[name] = yaml.safe_load((there / name / "seed_1" / "config.yaml").read_text())
    assert configs["window"]["start_as"] is None
    assert Path(configs["pooling"]["start_as"]) == there / "reference.yaml"
    for part in ("data", "optim", "schedule", "trainer", "callbacks", "seed"):
        one, other = ({**configs[name]}[part] for name in configs)
        assert json.dumps(one).replace("window/", "") == json.dumps(other).replace("pooling/", "")


@pytest.mark.heavy
def test_the_reference_is_trained_as_by_train(there, tmp_path):
    assert main(["train", *TINY, "mixer=window", "seed=1", f"hydra.run.dir={tmp_path}/bare"]) == 0
    own, bare = (
        json.loads(path.read_text())["results"]
        for path in (there / "window/seed_1/results.json", tmp_path / "bare/results.json")
    )
    assert (own["val/loss"], own["train/loss"]) == (bare["val/loss"], bare["train/loss"])


def test_the_same_command_trains_what_is_left(there, capfd):
    shutil.rmtree(there / "pooling" / "seed_1")
    kept = (there / "window" / "seed_0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    before = json.loads((there / "comparison.json").read_text())["entries"][1]["values"]
    assert main([*COMMAND, "measure=0"]) == 1
    printed = capfd.readouterr().out
    assert "6 trainings, 3 of them done before" in printed
    assert "training 2 of 3: pooling, seed 1" in printed
    assert (there / "window" / "seed_0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == kept
    contents = json.loads((there / "comparison.json").read_text())
    assert contents["entries"][1]["values"] == before  # to the last bit
    assert contents["entries"][1]["training_images_per_second"] is not None  # measured the first time


def test_results_are_told_where_measuring_fails(there, capsys, monkeypatch):
    def fails(*_):
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr("visionattn.commands.compare.measure", fails)
    runs = [f"comparison/{name}/seed_0" for name in ("window", "pooling")]
    assert main(["compare", *runs, "measure=1"]) == 0
    told = capsys.readouterr()
    assert "could not be measured: CUDA out of memory" in told.err
    assert "minus mixer=window" in told.out


def test_a_folder_of_another_comparison_is_kept(there, capsys):
    assert main([*COMMAND, "seeds=3"]) == 2
    assert "holds another comparison (seeds: was [0, 1], is now [0, 1, 2])" in capsys.readouterr().err
    assert main([*COMMAND[:-1], f"dir={there}/window"]) == 2
    assert "holds other files and no comparison" in capsys.readouterr().err
    assert Plan.read(there).seeds == (0, 1)


def test_runs_that_exist_are_compared(there, capsys):
    assert (
        main(["compare", *(f"comparison/{name}/seed_{seed}" for name in ("window", "pooling") for seed in (0, 1))]) == 0
    )
    printed = capsys.readouterr().out
    assert "mixer=window" in printed
    assert "minus mixer=window" in printed
    assert "cannot be told apart with 2 seeds" in printed
    assert main(["compare", "comparison"]) == 0
    assert "broken has no result" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda cfg: cfg["task"].update(monitor="val/top5"), "are of different metrics"),
        (lambda cfg: cfg["task"].update(_target_="visionattn.tasks.DetectionTask"), "are of different tasks"),
        (lambda cfg: cfg["data"].update(num_classes=3), "are of different numbers of classes"),
        (lambda cfg: cfg["data"]["source"].update(_target_="my.Source"), "are of different data"),
        (lambda cfg: cfg.pop("task"), "is no run of `visionattn train`"),
    ],
)
def test_runs_of_different_things_are_refused(there, tmp_path, capsys, change, says):
    other = shutil.copytree(there / "pooling" / "seed_0", tmp_path / "other", ignore=shutil.ignore_patterns("*.ckpt"))
    cfg = yaml.safe_load((other / "config.yaml").read_text())
    change(cfg)
    (other / "config.yaml").write_text(yaml.safe_dump(cfg))
    assert main(["compare", "comparison/window/seed_0", str(other)]) == 2
    assert says in capsys.readouterr().err


def test_what_differs_beside_the_model_is_told(there, tmp_path, capsys):
    other = shutil.copytree(there / "pooling" / "seed_0", tmp_path / "other", ignore=shutil.ignore_patterns("*.ckpt"))
    cfg = yaml.safe_load((other / "config.yaml").read_text())
    cfg["trainer"]["max_epochs"] = 9
    (other / "config.yaml").write_text(yaml.safe_dump(cfg))
    assert main(["compare", "comparison/window/seed_0", str(other)]) == 0
    assert "differ beside the model: trainer.max_epochs 1 and 9" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["comparison/window/seed_0", "comparison/window/seed_1"], "all 2 runs are of one configuration"),
        (["comparison/window/seed_0"], "holds one run"),
        (["comparison/window/seed_0", "comparison/window/seed_0"], "is named twice"),
        (["comparison/window/seed_0/plots"], "holds no run"),
        (["nowhere"], "is no folder"),
        (["comparison", "optim.lr=1"], "is for trainings"),
        (["mixers=[window,windw]"], "in the entry windw: unknown mixer windw; did you mean window?"),
        (["mixers=[window,full]", "stages=[s4]"], "has no stage s4"),
        (["mixers=[window,full]", "optim.lr=0.1,0.2"], "entries=[[optim.lr=0.1],[optim.lr=0.2]]"),
        (["mixers=[window,full]", "seed=1"], "seeds=[0,1,2] names the seeds"),
        (["mixers=[window,full]", "-m"], "-m is for train"),
        (["mixers=[window,full]", "overwrite=true"], "overwrites nothing"),
        (["mixers=[window,full]", "measure=soon"], "a number of seconds"),
    ],
)
def test_mistakes_are_named_before_anything_trains(there, capsys, words, says):
    assert main(["compare", *words]) == 2
    assert says in capsys.readouterr().err


def test_weights_that_are_not_there_are_named_before_anything_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "weights=none.pt"]) == 1
    assert "in the entry window: there is no checkpoint at none.pt" in capsys.readouterr().err
    assert not list(tmp_path.rglob("train.log"))


def test_a_sweep_that_repeats_seeds_gets_the_same_table(there, tmp_path, capsys):
    """From the outcomes alone: the jobs of a sweep are those of the comparison."""
    from visionattn.commands.compare import of_sweep

    for number, (name, seed) in enumerate((name, seed) for name in ("window", "pooling") for seed in (0, 1)):
        shutil.copytree(there / name / f"seed_{seed}", tmp_path / str(number), ignore=shutil.ignore_patterns("*.ckpt"))
    (tmp_path / "sweep.csv").touch()
    of_sweep(tmp_path)
    assert "mixer=pooling" in capsys.readouterr().out
    assert (tmp_path / "comparison.tex").is_file()


def test_an_experiment_that_is_a_comparison(there, tmp_path, capsys):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults: [{override /backbone: swin_pico}]\ncompare: {mixers: [window, full]%s}\n"
    (folder / "own_league.yaml").write_text(text % "")
    own = ["experiment=own_league", f"--config-dir={tmp_path}/conf"]
    assert main(["train", *own]) == 2
    assert "is a comparison of several: visionattn compare experiment=own_league" in capsys.readouterr().err
    assert main(["compare", *own, *TINY[1:3], "seeds=2", "--dry-run"]) == 0
    assert "2 entries, 2 seeds" in capsys.readouterr().out
    (folder / "own_league.yaml").write_text(text % ", mixer: full")
    assert main(["compare", *own]) == 2
    assert "compare.mixer is no key of a comparison; did you mean mixers?" in capsys.readouterr().err
