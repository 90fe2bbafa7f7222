"""A report: title, headline figures and sections, written as one HTML file that loads nothing."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionattn.files import write_whole
from visionattn.reports.embedding import Embedding
from visionattn.reports.page import render
from visionattn.reports.sections import Section, told

MOST_BYTES = 5_000_000
"""Size that a report stays under."""
_LADDER = ((320, 1.0), (256, 1.0), (208, 1.0), (160, 1.0), (160, 0.5), (128, 0.25), (128, 0.0))


@dataclass
class Report:
    """Plain data that become one page.

    Attributes:
        title: of the page.
        subtitle: the line below it.
        command: that makes it again; empty: none.
        headline: name -> figure, the few that a reader wants first.
        links: name -> file beside the report, relative to it.
        status: what is going on, for instance ``training, epoch 3 of 10``; empty: it is done.
        refresh: seconds after which the page loads itself again; 0: it does not.
        sections: in the order of the page.
    """

    title: str
    subtitle: str = ""
    command: str = ""
    headline: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    status: str = ""
    refresh: int = 0
    sections: list[Section] = field(default_factory=list)

    def add(self, *sections: Section) -> Report:
        """Append sections and return the report."""
        self.sections += sections
        return self

    def html(self, most_bytes: int = MOST_BYTES) -> str:
        """Return the page; its images are made smaller, then fewer, until it is small enough, and it says so.

        Args:
            most_bytes: size of the page in UTF-8.

        Raises:
            ValueError: text and numbers alone are larger.
        """
        facts = {name: getattr(self, name) for name in ("title", "subtitle", "command", "links", "status", "refresh")}
        facts["headline"] = {name: told(value) for name, value in self.headline.items()}
        facts["written"] = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        for edge, share in _LADDER:
            page = render(self.sections, Embedding(edge, share), _LADDER[0][0], **facts)
            if len(page.encode()) <= most_bytes:
                return page
        raise ValueError(
            f"the text of report {self.title!r} takes {len(page.encode()):,} bytes without any image, more than the "
            f"{most_bytes:,} allowed: leave sections out or raise most_bytes"
        )

    def write(self, path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> Path:
        """Write the page beside its place and move it there, so that a reader never finds half of it.

        Args:
            path: the file.
            most_bytes: see :meth:`html`.

        Raises:
            OSError: it cannot be written; what was there before stays.
        """
        return write_whole(Path(path), self.html(most_bytes))
