"""The digits are read from scikit-learn's file as scikit-learn reads it, without its code."""

import subprocess
import sys

import numpy as np
import pytest

from visionattn.data.classification.sources import digits
from visionattn.errors import DataError

WITHOUT = """
import sys
from visionattn.data.classification.sources.digits import Digits
print(len(Digits().open("val").labels), "sklearn" in sys.modules, "scipy" in sys.modules)
"""


def test_scans_and_labels_are_scikit_learns():
    from sklearn.datasets import load_digits

    theirs = load_digits()
    scans, labels = digits.read_scans()
    assert np.array_equal(scans, theirs.images)
    assert np.array_equal(labels, theirs.target)
    assert digits.Digits().open("val").class_names == [str(name) for name in theirs.target_names]


def test_scikit_learn_is_not_imported():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout == "359 False False\n"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="scikit-learn, which is not installed"):
        digits.Digits().open("train")
