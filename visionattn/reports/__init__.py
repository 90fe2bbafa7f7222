"""Reports: plain data in, one self-contained HTML file out.

A :class:`Report` is a title and a list of sections; :meth:`Report.write` makes one file of them that loads nothing:
text escaped, images embedded, charts drawn by the file's own script. Smaller images keep it under a number of bytes.
"""

from visionattn.reports.charts import Bars, Curves, Matrix, Series
from visionattn.reports.embedding import shrink_map
from visionattn.reports.images import Layer, Picture, Sample, Samples, thumbnail
from visionattn.reports.report import Report
from visionattn.reports.sections import Cell, Change, Column, Differences, Facts, Panels, Section, Table, Text
from visionattn.reports.tokens import TokenMap

__all__ = [
    "Bars",
    "Cell",
    "Change",
    "Column",
    "Curves",
    "Differences",
    "Facts",
    "Layer",
    "Matrix",
    "Panels",
    "Picture",
    "Report",
    "Sample",
    "Samples",
    "Section",
    "Series",
    "Table",
    "Text",
    "TokenMap",
    "shrink_map",
    "thumbnail",
]
