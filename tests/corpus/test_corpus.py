"""Every case of the corpus: it trains with a counted report, or is refused in one sentence."""

from __future__ import annotations

import pytest

from tests.corpus import coco_cases, folder_cases, format_cases, mask_cases, panoptic_cases, yolo_cases
from tests.corpus.cases import Case

CASES = [
    *coco_cases.CASES,
    *panoptic_cases.CASES,
    *yolo_cases.CASES,
    *format_cases.CASES,
    *mask_cases.CASES,
    *folder_cases.CASES,
]


def _parameters() -> list[object]:
    """Every third case is in the suite; the others are heavy."""
    return [
        pytest.param(case, id=f"{case.kind}-{case.name}", marks=pytest.mark.heavy if case.heavy or number % 3 else ())
        for number, case in enumerate(CASES)
    ]


@pytest.mark.parametrize("case", _parameters())
def test_case(case: Case, tmp_path, capfd):
    case.run(tmp_path, capfd)


def test_no_case_is_told_twice():
    names = [f"{case.kind}-{case.name}" for case in CASES]
    assert len(set(names)) == len(names)
