"""compose: anywhere, nested, with the user's own folders, and with errors that say what to type."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton

from tests.config.conftest import write_tree
from visionattn.config import check_complete, compose
from visionattn.config.composing import readable
from visionattn.errors import ConfigError


def test_composes_and_leaves_no_hydra_behind(conf):
    cfg = compose("train", ["trainer=gpu", "seed=3"])
    assert cfg.trainer.accelerator == "gpu"
    assert cfg.seed == 3
    assert "hydra" not in cfg
    assert GlobalHydra not in Singleton._instances or not GlobalHydra.instance().is_initialized()


def test_hydra_node_on_request(conf):
    assert compose("train", return_hydra_config=True).hydra.runtime.choices.backbone == "tiny"


def test_inside_a_running_application(conf, tmp_path):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    other = write_tree(tmp_path / "other", {"app.yaml": "value: 1\n"})
    with initialize_config_dir(str(other), version_base="1.3"):
        before = GlobalHydra.instance()
        assert compose("train").trainer.max_epochs == 2
        assert GlobalHydra.instance() is before
        assert hydra_compose("app").value == 1  # the outer application still finds its own files


def test_inside_itself(conf):
    from visionattn.config.application import isolated_hydra
    from visionattn.config.composing import compose_in

    with isolated_hydra() as outer:
        inner = compose("train", ["trainer=gpu"])
        assert compose_in(outer, "train", []).trainer.accelerator == "cpu"
    assert inner.trainer.accelerator == "gpu"


def test_outer_state_returns_after_an_error(conf, tmp_path):
    from hydra import initialize_config_dir

    other = write_tree(tmp_path / "other", {"app.yaml": "value: 1\n"})
    with initialize_config_dir(str(other), version_base="1.3"):
        before = GlobalHydra.instance()
        with pytest.raises(ConfigError):
            compose("train", ["backbone=nothing"])
        assert GlobalHydra.instance() is before
        assert before.is_initialized()


def test_does_not_touch_the_running_jobs_own_config(conf):
    holder = HydraConfig.instance()
    before = holder.cfg
    compose("train", return_hydra_config=True)
    assert holder.cfg is before


def test_users_folder_adds_files(conf, tmp_path):
    mine = write_tree(tmp_path / "mine", {"experiment/mine.yaml": "# @package _global_\nseed: 42\n"})
    assert compose("train", ["experiment=mine"], [mine]).seed == 42
    assert compose("train", ["experiment=mine", f"hydra.searchpath=[file://{mine}]"]).seed == 42


def test_users_folder_may_not_replace_a_shipped_file(conf, tmp_path):
    mine = write_tree(tmp_path / "mine", {"mixer/window.yaml": "window_size: 8\n"})
    with pytest.raises(ConfigError, match=r"mixer/window\.yaml"):
        compose("train", [], [mine])


def test_missing_users_folder(conf, tmp_path):
    with pytest.raises(ConfigError, match="not a folder"):
        compose("train", [], [tmp_path / "nowhere"])


@pytest.mark.parametrize("place", ["allow: [os]\n", "# @package _global_\nallow: [my_package]\n"])
def test_a_file_cannot_allow(conf, tmp_path, place):
    mine = write_tree(tmp_path / "mine", {"experiment/mine.yaml": "# @package _global_\n" + place})
    with pytest.raises(ConfigError, match="can be allowed on the command line alone"):
        compose("train", ["experiment=mine"], [mine])


MISTAKES = {
    "trainer.max_epoch=3": "unknown key trainer.max_epoch; did you mean trainer.max_epochs?",
    "max_epochs=3": "unknown key max_epochs; did you mean trainer.max_epochs=3?",
    "backbone.mixers.s1.windowsize=3": "did you mean backbone.mixers.s1.window_size?",
    "backbon=small": "unknown key backbon; did you mean backbone?",
    "backbone=smal": "unknown backbone smal; did you mean small? Choices: small, tiny",
    "backbone=xyz": "unknown backbone xyz. Choices: small, tiny",
    "mixer@backbone.mixers.s2=windo": "unknown mixer windo; did you mean window? Choices: neighborhood, window",
    "mixr@backbone.mixers.s2=window": "unknown group mixr; did you mean mixer?",
    "mixer@backbone.mixer.s2=window": "did you mean mixer@backbone.mixers.s2?",
    "trainer=gpus": "unknown trainer gpus; did you mean gpu?",
    "experiment=lang": "unknown experiment lang; did you mean long?",
    "hydra/launcher=basicc": "unknown hydra/launcher basicc; did you mean basic? Choices: basic",
    "~trainer.max_epoch": "unknown key trainer.max_epoch; did you mean trainer.max_epochs?",
    "hydra.run.dri=x": "did you mean hydra.run.dir?",
    "trainer.zzzz=1": "trainer is trainer cpu; its keys: max_epochs, accelerator, precision",
    "a=b=[": "cannot read the override 'a=b=['",
    "trainer.max_epochs=1,2": "add -m to run each",
    "trainer.max_epochs=range(3)": "add -m to run each",
    "hydra.mode=fast": "hydra.mode=fast",
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.items(), ids=list(MISTAKES))
def test_mistakes_say_what_was_meant(conf, override, message):
    with pytest.raises(ConfigError) as caught:
        compose("train", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_key_of_another_mixer_after_a_swap(conf):
    compose("train", ["mixer@backbone.mixers.s2=neighborhood", "backbone.mixers.s2.kernel_size=13"])
    with pytest.raises(ConfigError) as caught:
        compose("train", ["mixer@backbone.mixers.s2=neighborhood", "backbone.mixers.s2.window_size=7"])
    assert "backbone.mixers.s2 is mixer neighborhood; its keys: kernel_size, dilation" in str(caught.value)
    assert "s1" not in str(caught.value)


def test_the_mistake_is_found_among_right_overrides(conf):
    with pytest.raises(ConfigError, match=r"did you mean seed\?"):
        compose("train", ["trainer=gpu", "trainer.max_epochs=5", "sed=1", "backbone=small"])


def test_unknown_root(conf):
    with pytest.raises(ConfigError, match=r"unknown configuration tarin\.yaml"):
        compose("tarin")


def test_mandatory_values_are_named_with_an_example(conf):
    cfg = compose("evaluate")
    with pytest.raises(ConfigError) as caught:
        check_complete(cfg, "evaluate")
    assert "ckpt" in str(caught.value)
    assert "visionattn evaluate ckpt=" in str(caught.value)
    assert "in_features" not in str(caught.value)  # a partial's open argument is its caller's
    check_complete(compose("evaluate", ["ckpt=x.ckpt"]), "evaluate")


def test_a_broken_file_is_named(conf, tmp_path):
    mine = write_tree(tmp_path / "mine", {"experiment/broken.yaml": "a: [1, 2\nb: }\n"})
    with pytest.raises(ConfigError, match=r"experiment/broken\.yaml.*line"):
        compose("train", ["experiment=broken"], [mine])


@pytest.mark.parametrize("kind", ["list", "mapping", "circle"])
def test_a_few_lines_that_hold_billions_are_refused_at_once(conf, tmp_path, kind):
    lines = ["# @package _global_", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 10):
        names = [f"*a{level - 1}"] * 9
        body = f"[{', '.join(names)}]"
        if kind == "mapping":
            body = "{" + ", ".join(f"k{place}: {name}" for place, name in enumerate(names)) + "}"
        lines.append(f"a{level}: &a{level} {body}")
    if kind == "circle":
        lines = ["# @package _global_", "a: &a [1, *a]"]
    mine = write_tree(tmp_path / "mine", {"experiment/bomb.yaml": "\n".join(lines)})
    with pytest.raises(ConfigError, match=r"expands to more than .* values through YAML aliases"):
        compose("train", ["experiment=bomb"], [mine])


def test_parts_of_configurations_are_no_choices():
    """Neither in a group nor in a folder of it."""
    from visionattn.config.catalog import choices

    assert "base" not in choices("backbone")
    found = choices("experiment")
    assert {"shapes/upernet", "imagenet/swin_tiny"} <= set(found)
    assert not {"shapes/_pico", "imagenet/base", "ade20k/base", "coco_panoptic/base"} & set(found)


@pytest.mark.parametrize(
    "value",
    ["фото/ä.jpg", "~/x", "photos/[ab]*.jpg", "http://h/a.jpg?x=1&y=2", "a=b.jpg", "C:\\dir\\", "it's", "(1)", "a\\'b"],
)
def test_a_value_that_the_grammar_cannot_read_is_text(conf, value):
    assert compose("train", [readable(f"name={value}")]).name == value


@pytest.mark.parametrize("word", ["seed=1,2", "seed=choice(1,2)", "name=[a", "name='a", "seed=range(1,3)", "~debug"])
def test_what_the_grammar_reads_stays(word):
    assert readable(word) == word
