"""The keys of a comparison and the entries that they stand for."""

import pytest

from visionattn.comparison.entries import Entry, Question, parsed, seeds_of
from visionattn.config.catalog import read, source_file
from visionattn.errors import ConfigError

DEFAULTS = {name: value for name, value in read(source_file("compare.yaml")).items() if name != "hydra"}


def question(**keys):
    return Question.of(DEFAULTS | keys)


def test_mixers_stand_in_every_stage_or_in_the_named_ones():
    every = question(mixers=["window", "swin/4"]).entries()
    assert [(entry.name, entry.words, entry.folder) for entry in every] == [
        ("window", ("mixer=window",), "window"),
        ("swin/4", ("mixer=swin/4",), "swin_4"),
    ]
    (first, _) = question(mixers=["window", "full"], stages=["s2", "s3"]).entries()
    assert first.words == ("backbone.mixers.s2=window", "backbone.mixers.s3=window")


def test_several_lists_give_every_combination_and_further_entries_follow():
    entries = question(
        backbones=["swin_pico", "dinat_pico"], mixers=["window", "full"], entries={"fast": ["optim.lr=0.1"]}
    ).entries()
    names = ["swin_pico window", "swin_pico full", "dinat_pico window", "dinat_pico full", "fast"]
    assert [entry.name for entry in entries] == names
    assert entries[1].words == ("backbone=swin_pico", "mixer=full")


def test_the_reference_comes_first():
    assert [entry.name for entry in question(mixers=["a", "b", "c"], reference="c").entries()] == ["c", "a", "b"]


def test_entries_as_typed():
    assert parsed("[[optim.lr=0.1,backbone.dims=[8,16]],[optim.lr=0.2]]") == [
        ["optim.lr=0.1", "backbone.dims=[8,16]"],
        ["optim.lr=0.2"],
    ]
    entries = question(entries="{slow:[optim.lr=0.1],fast:[optim.lr=0.2,name='a,b']}").entries()
    assert entries == [Entry("slow", ("optim.lr=0.1",)), Entry("fast", ("optim.lr=0.2", "name='a,b'"))]
    unnamed = question(entries=[["optim.lr=0.1", "seed_of.x=1"], []]).entries()
    assert [entry.name for entry in unnamed] == ["lr=0.1, x=1", "unchanged"]


def test_seeds_are_a_number_or_a_list():
    assert seeds_of(3) == (0, 1, 2)
    assert seeds_of([4, 7]) == (4, 7)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"mixers": ["window"]}, "two entries or more, and only window is given"),
        ({}, "nothing is given"),
        ({"mixers": ["window", "window"]}, "mixers names window twice"),
        ({"mixers": {"a": 1}}, "mixers is a list of names"),
        ({"mixers": ["a", "b"], "seeds": 0}, "seeds names no seed"),
        ({"mixers": ["a", "b"], "seeds": [1, 1]}, "names a seed twice"),
        ({"mixers": ["a", "b"], "seeds": -2}, "seeds names no seed"),
        ({"mixers": ["a", "b"], "seeds": ["x"]}, "a number of seeds or a list"),
        ({"mixers": ["a", "b"], "seeds": True}, "a number of seeds or a list"),
        ({"mixers": ["a", "b"], "match": "flop"}, "did you mean flops"),
        ({"mixers": ["a", "b"], "change": "size"}, "change is depth or width"),
        ({"mixers": ["a", "b"], "tolerance": 5}, "between 0 and 1"),
        ({"mixers": ["window", "full"], "reference": "ful"}, "no entry; did you mean full"),
        ({"heads": ["a", "b"], "stages": ["s1"]}, "give mixers"),
        ({"mixers": ["a/b", "a_b"]}, "twice"),
        ({"mixers": ["a", "b"], "entries": [["window"]]}, "lists of overrides"),
        ({"entries": "[[a=1]"}, "no other half"),
    ],
)
def test_mistakes_are_named(keys, says):
    with pytest.raises(ConfigError, match=says):
        question(**keys).entries()
