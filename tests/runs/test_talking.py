"""What a training says while it runs, and what it leaves in numbers and words."""

import json
import re

import pytest

from visionattn.runs.talking import duration, rate_in_words


def test_the_log_has_what_was_said_before_the_first_step_and_a_line_for_each_epoch(trained):
    lines = (trained / "train.log").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("Epoch"))
    told = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines[:first])}
    assert told["task"] == "classification, head classification"
    assert told["backbone"] == "dinat_pico, mixers s1 dinat/3_2, s2 dinat/3_2, s3 swin/4"
    assert told["data set"] == "digits"
    assert told["data"] == "1,438 training images, 359 validation images, 10 classes, 32x32 pixels"
    assert not [name for name in told if name == "recipe"]  # the recipe's values stand in the same block
    assert [line for line in lines if line.startswith("recipe ")] == ["recipe digits"]
    assert told["device"] == "cpu, precision 32-true, 1 process, 0 loader workers"
    assert "training 2 epochs, 4 batches an epoch" in lines
    rate = r"loss \d[\d.]*, val/top1 \d+\.\d\d, [\d,]+ images/s"
    epochs = [line for line in lines if line.startswith("Epoch")]
    assert re.fullmatch(rf"Epoch 1/2: {rate}, \d+ s left", epochs[0])
    assert re.fullmatch(rf"Epoch 2/2: {rate}, last epoch", epochs[1])
    assert len(epochs) == 2
    assert any(line.startswith("│ val/top1 (last epoch)") for line in lines)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("rate", "told"), [(1234.5, "1,234"), (10.4, "10"), (9.96, "10"), (7.44, "7.4"), (0.0667, "0.067"), (0.0, "0")]
)
def test_a_slow_model_is_not_one_that_does_nothing(rate, told):
    assert rate_in_words(rate) == told


def test_results_are_numbers(trained):
    results = json.loads((trained / "results.json").read_text())["results"]
    texts = {name for name, value in results.items() if not isinstance(value, int | float)}
    assert texts == {"model"}
    assert results["parameters"] == 1004054
    assert (results["images per step"], results["learning rate"]) == (16, 0.002)
    assert (results["epochs"], results["steps"]) == (2, 8)


def test_the_card_says_what_was_trained(trained):
    card = (trained / "README.md").read_text()
    assert card.startswith("# dinat_pico, mixers s1 dinat/3_2, s2 dinat/3_2, s3 swin/4; classification, head classif")
    for row in ("| data set | digits |", "| classes | 10 |", "| weights | none, trained from the start |"):
        assert row in card
    assert "| recipe | optim=adamw, schedule=cosine" in card


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3 s"), (200, "3 min"), (7500, "2 h 5 min"), (200000, "2 d 7 h"), (89.6, "90 s")]
)
def test_lengths_of_time(seconds, text):
    assert duration(seconds) == text
