"""scikit-learn's digits as files are the built-in data set, in a layout that is recognized."""

import numpy as np
import pytest
from PIL import Image

from visionattn.data.classification.sources import Digits, ImageFolder
from visionattn.data.classification.write_digits import write_digits
from visionattn.data.recognize import recognize
from visionattn.errors import DataError


def test_the_files_are_the_digits(tmp_path):
    summary = write_digits(tmp_path / "set", image_size=8)
    assert summary["splits"] == {"train": 1438, "val": 359}
    mark = recognize(tmp_path / "set")
    assert (mark.data, mark.root) == ("image_folder", tmp_path / "set")
    written, own = ImageFolder(str(tmp_path / "set")).open("val"), Digits(8).open("val")
    assert written.class_names == own.class_names
    assert len(written.ids) == len(own.ids)
    name = own.ids[0].rpartition("/")[2]
    with Image.open(tmp_path / "set" / "val" / str(own.labels[0]) / f"{name}.png") as image:
        assert np.array_equal(np.asarray(image), own.images[0])
    with pytest.raises(DataError, match="made with other settings"):
        write_digits(tmp_path / "set", image_size=16)
