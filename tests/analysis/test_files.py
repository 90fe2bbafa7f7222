"""The files of an inspection, for mixers whose maps lie in different ways over the image."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from tests.analysis.test_maps import MIXERS, WITHOUT, backbone
from visionattn.analysis.choosing import choose
from visionattn.analysis.files import write_files
from visionattn.analysis.inspection import Wanted, as_measures, inspect_image
from visionattn.analysis.page import _canvas, _token_maps, write_page
from visionattn.attention import Parallel, Pooling, WindowAttention
from visionattn.errors import ConfigError
from visionattn.tasks.predict import as_rgb

CASES = {name: MIXERS[name] for name in ("strips_padded", "carriers", "strip_self")}
CASES |= {"pooling": WITHOUT["pooling"]}
CASES |= {"half": Parallel([Pooling, partial(WindowAttention, window_size=4)])}


@pytest.mark.parametrize("name", CASES)
def test_every_picture_and_the_page_are_written(name, tmp_path):
    model = backbone(CASES[name], dims=(16,))
    pixels = torch.randint(0, 255, (3, 36, 28), dtype=torch.uint8)
    images = pixels[None].double() / 128 - 1
    wanted = Wanted(
        ((0.5, 0.5), (1.0, 0.0)), choose(model), as_measures(["attention", "rollout", "statistics", "bias"])
    )
    found = inspect_image(model, images, as_rgb(pixels), "folder/a", wanted)
    record = json.loads(json.dumps(write_files(found, tmp_path / "folder/a")))
    assert {one["kind"] for one in record["attention"]} == {"implicit" if name == "pooling" else "attention"}
    for one in record["attention"]:
        assert all(0 <= share <= 1.000001 for share in [*one["padding"], *one["carriers"]])
    assert any(sum(one["carriers"]) for one in record["attention"]) == (name == "carriers")
    page = write_page(tmp_path, [found], "a model", "visionattn inspect")
    assert ("What a token attends to" in page.read_text()) == (name != "pooling" or found.rollout is not None)
    assert _canvas(found) == (36, 28)
    for title, values in _token_maps(found):
        assert values.shape[:2] == (9, 7)
        sums = values.sum((2, 3))
        assert sums.max() < 1.001
        if name in ("strip_self", "half") or "rollout" in title:
            np.testing.assert_allclose(sums.max(), 1, rtol=1e-4)


def test_measures_are_checked():
    assert as_measures(None)[0] == "attention"
    assert as_measures("bias") == ("bias",)
    with pytest.raises(ConfigError, match="got saliency"):
        as_measures(["saliency"])
