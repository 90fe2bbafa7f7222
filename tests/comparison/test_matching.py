"""Entries made as large as the reference, on shapes alone."""

import copy
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from visionattn.comparison.building import checked, inferred, with_keys
from visionattn.comparison.entries import Question
from visionattn.comparison.matching import Matching
from visionattn.comparison.preparing import Composed, prepare
from visionattn.config import DEFAULT_POLICY, compose
from visionattn.errors import ConfigError
from visionattn.runs.infer import Inference, Inferred

SMALL = ["backbone=swin_pico", "backbone.dims=[16,32,64]", "backbone.depths=[1,1,2]", "trainer.accelerator=cpu"]
NAMED = ["backbone_name=x", "name=x"]


@pytest.fixture(scope="module")
def configs():
    return {name: compose("train", [*SMALL, *NAMED, f"mixer={name}"]) for name in ("window", "full", "pooling")}


@pytest.fixture(scope="module")
def models(configs):
    return {name: checked(inferred(cfg, DEFAULT_POLICY)[0], DEFAULT_POLICY) for name, cfg in configs.items()}


def gmacs(model):
    return model.gmacs


@pytest.mark.parametrize("change", ["depth", "width"])
def test_the_changed_model_costs_what_was_found(models, change):
    wanted = models["window"].gmacs
    found = Matching(models["pooling"], gmacs, wanted, DEFAULT_POLICY).by(change)
    assert abs(found.deviation) < (0.03 if change == "width" else 0.2)
    assert found.keys
    again = with_keys(models["pooling"], DEFAULT_POLICY, found.keys)
    assert (again.gmacs, again.gmacs / wanted - 1) == (pytest.approx(found.value), pytest.approx(found.deviation))


def test_no_other_depth_comes_nearer(models):
    wanted = models["window"].gmacs
    found = Matching(models["pooling"], gmacs, wanted, DEFAULT_POLICY).by("depth")
    (row,) = found.keys.values()
    beside = [
        with_keys(models["pooling"], DEFAULT_POLICY, {"backbone.depths": [1, 1, row[2] + step]}).gmacs
        for step in (-1, 1)
    ]
    assert abs(found.deviation) <= min(abs(value / wanted - 1) for value in beside)


def test_widths_stay_divisible_by_their_heads(models):
    search = Matching(models["full"], lambda model: float(model.params), 1e5, DEFAULT_POLICY)
    (dims,) = search.by("width").keys.values()
    assert all(dim % (2 * heads) == 0 for dim, heads in zip(dims, (2, 4, 8), strict=True))


def test_what_is_near_enough_stays_as_it_is(models):
    params = float(models["full"].params)
    found = Matching(models["full"], lambda model: float(model.params), 1.008 * params, DEFAULT_POLICY).by("width")
    assert (dict(found.keys), found.told) == ({}, "unchanged")


def prepared(configs, question, changes=None):
    entries = question.entries()
    made = [Composed(entry, copy.deepcopy(configs[entry.name])) for entry in entries]
    for key, value in (changes or {}).items():
        OmegaConf.update(made[1].cfg, key, value)
    return prepare(question, made, SMALL, DEFAULT_POLICY, {}, "")


def test_the_plan_counts_what_entries_share_and_fixes_what_was_inferred(configs):
    for cfg in (both := {name: copy.deepcopy(configs[name]) for name in ("window", "pooling")}).values():
        cfg.data.num_workers = "auto"
    plan, reference = prepared(both, Question(mixers=("window", "pooling")))
    window, pooling = plan.entries
    assert window.shared == window.params
    assert 0 < pooling.shared <= pooling.params < window.params
    assert (plan.metric, plan.mode) == ("val/top1", "max")
    workers = OmegaConf.create(reference).data.num_workers
    assert f"data.num_workers={workers}" in plan.train
    words = plan.words(pooling, 7, Path("/there"))
    assert {"seed=7", "start_as='/there/reference.yaml'", "hydra.sweep.subdir='pooling/seed_7'"} <= set(words)
    assert not any(word.startswith("start_as") for word in plan.words(window, 7, Path("/there")))


def test_inferred_values_are_written_as_overrides(monkeypatch, configs):
    """Texts quoted, lists in brackets; mappings follow from the data and are left out."""
    values = {
        "data.root": "a b,c",
        "data.size": [3, None],
        "data.files": {"train": "x"},
        "backbone.drop_path_rate": 0.1,
    }
    found = Inference([Inferred(key, value, "") for key, value in values.items()])
    monkeypatch.setattr("visionattn.comparison.building.infer", lambda *_: found)
    assert inferred(configs["full"], DEFAULT_POLICY)[1] == ["data.root='a b,c'", "data.size=[3,null]"]


def test_what_cannot_be_matched_is_refused_with_the_nearest_figures(configs):
    question = Question(mixers=("window", "pooling"), match="params", tolerance=0.0001)
    with pytest.raises(ConfigError, match=r"the nearest of pooling is [+-][\d.]+ % by change=depth .* by change=width"):
        prepared(configs, question)


def test_a_network_of_timm_is_what_the_others_are_matched_to(configs):
    """It has no depths and dims of ours, and stays as it is."""
    words = ["backbone=timm/test_resnet", "trainer.accelerator=cpu", "name=x", "backbone_name=x"]
    cfg = compose("train", words)
    network = checked(inferred(cfg, DEFAULT_POLICY)[0], DEFAULT_POLICY)
    assert Matching(network, gmacs, network.gmacs * 1.02, DEFAULT_POLICY).by("depth").told == "unchanged"
    with pytest.raises(
        ConfigError, match=r"timm is [+-][\d.]+ % and has no depths .*reference=timm matches the others"
    ):
        prepared({"window": configs["window"], "timm": cfg}, Question(mixers=("window", "timm"), match="flops"))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("backbone.dims", [15, 32, 64], r"in the entry full: .*15.*head"),
        ("data.source.size", 24, r"in the entry full: it is about other data than the reference"),
        ("task.monitor", "val/top5", r"in the entry full: it is about another metric"),
    ],
)
def test_an_entry_that_cannot_be_compared_is_named(configs, key, value, says):
    with pytest.raises(ConfigError, match=says):
        prepared(configs, Question(mixers=("window", "full")), {key: value})
