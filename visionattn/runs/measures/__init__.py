"""Measures of a trained model beyond its score: other image sizes, shifts, corruptions."""

from __future__ import annotations

from visionattn.runs.measures.measures import MEASURES, check_measures, measure
from visionattn.runs.measures.show import print_measures, sections

__all__ = ["MEASURES", "check_measures", "measure", "print_measures", "sections"]
