"""Relevance and importance for a detection, a class of a segmentation, and a query; what is not predicted is named."""

import pytest
import torch

import visionattn
from tests.tasks.detection.test_task import build as detector
from tests.tasks.segmentation.test_task import task as segmenter
from visionattn import analysis
from visionattn.analysis.inspection import Choice, Wanted, inspect_image
from visionattn.analysis.relevances import backward, score_of
from visionattn.errors import ConfigError
from visionattn.tasks.inspection import class_number, place_number
from visionattn.tasks.predict import as_rgb

IMAGE = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64).sin()


def of(task, target=None, point=(0.5, 0.5)):
    return backward(task, IMAGE, score_of(task, IMAGE, target, point))


def every_layer_has_a_gradient(done):
    calls = [call for _, _, part in done.kept.parts() for call in part.matrices]
    assert all(float(done.gradients[id(call)].abs().sum()) > 0 for call in calls)
    values = analysis.relevances.relevance_of(done).values
    torch.testing.assert_close(values.sum(), torch.tensor(1.0))


def test_a_detection_has_its_relevance():
    task = detector().eval()
    task.head.roi_heads.score_thresh = 0.0
    first, second = of(task), of(task, "1")
    every_layer_has_a_gradient(first)
    assert set(first.direct) == {0, 1, 2}  # the pyramid reads every map
    assert first.scored.score >= second.scored.score
    assert "object 1: " in second.scored.about
    left, top, right, bottom = first.scored.box
    assert 0 <= left < right <= 64
    assert 0 <= top < bottom <= 64
    with pytest.raises(ConfigError, match="target=cat is no object: they are counted from 0"):
        of(task, "cat")


def test_a_detector_that_sees_nothing_is_inspected_all_the_same():
    task = detector().eval()
    task.head.roi_heads.score_thresh = 1.0
    picture = as_rgb((IMAGE[0] * 100 + 120).to(torch.uint8))
    wanted = Wanted(((0.5, 0.5),), Choice(), ("attention", "relevance", "statistics"))
    found = inspect_image(task, IMAGE, picture, "a", wanted)
    assert found.relevance is None
    assert found.maps
    assert found.statistics[0].importance is None
    assert found.notes == [
        "No relevance and no importance of heads: the model predicts no object here, so that there is nothing to trace "
        "back."
    ]
    with pytest.raises(ConfigError, match="predicts no object here"):
        inspect_image(task, IMAGE, picture, "a", Wanted(((0.5, 0.5),), Choice(), ("relevance",), target=0))


def test_a_class_of_a_segmentation_has_its_relevance():
    task = segmenter(visionattn.create_backbone("swin_pico", num_classes=0)).eval()
    done = of(task, point=(0.1, 0.9))
    every_layer_has_a_gradient(done)
    with torch.no_grad():
        classes = task(IMAGE)[0][0].argmax(0)
    assert done.scored.mask.shape == classes.shape
    label = int(classes[int(0.1 * classes.shape[0]), int(0.9 * classes.shape[1])])
    assert torch.equal(done.scored.mask, classes == label)
    never = next((k for k in range(4) if k not in classes), None)
    if never is not None:
        with pytest.raises(ConfigError, match="the model gives no pixel of this image to"):
            of(task, never)


def test_a_query_has_its_relevance():
    pytest.importorskip("transformers")
    from tests.tasks.panoptic.test_task import INFO, SMALL
    from visionattn.heads.panoptic import Mask2Former
    from visionattn.tasks import PanopticTask

    torch.manual_seed(0)
    task = PanopticTask(
        visionattn.create_backbone("swin_pico", num_classes=0),
        lambda feature_info, num_classes: Mask2Former(feature_info, num_classes, **SMALL),
        torch.optim.AdamW,
        num_classes=3,
        monitor="val/PQ",
    ).eval()
    task.class_info = INFO
    done = of(task, 1)
    every_layer_has_a_gradient(done)
    assert "(place 1)" in done.scored.about
    assert done.scored.mask.dtype == torch.bool
    with pytest.raises(ConfigError, match="target=999 is no query"):
        of(task, 999)


def test_targets_are_numbers_or_names():
    assert class_number(None, ["cat", "dog"], 2) is None
    assert class_number("dog", ["cat", "dog"], 2) == 1
    assert class_number(0, ["cat", "dog"], 2) == 0
    assert class_number("1", [], 2) == 1
    with pytest.raises(ConfigError, match="a class is 0 to 1, or a name such as cat"):
        class_number("cow", ["cat", "dog"], 2)
    assert place_number(None, 3, "object") == 0
    with pytest.raises(ConfigError, match="target=3 is no object: they are counted from 0, and there are 3"):
        place_number(3, 3, "object")
