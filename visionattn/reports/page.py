"""The page of a report: templates filled, style and script put into it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from visionattn.reports.embedding import Embedding
from visionattn.reports.sections import Section

if TYPE_CHECKING:
    from jinja2 import Environment

_SCRIPTS = ("page", "tables", "curves", "matrix", "samples", "tokens")


def render(sections: Sequence[Section], images: Embedding, usual_edge: int, **given: Any) -> str:
    """Fill the page.

    Args:
        sections: in their order.
        images: how images are embedded.
        usual_edge: of images where nothing had to be made smaller.
        **given: title, subtitle, command, headline, links, status, refresh, written: see the report.
    """
    environment = _environment()

    def drawn(section: Section, level: int = 2) -> Markup:
        template = environment.get_template(f"{section.kind}.html")
        facts = {"section": section, "level": level, "drawn": drawn, "note": getattr(section, "note", "")}
        return Markup(template.render(facts | section.view(images)))

    body = [(anchor, section, drawn(section)) for anchor, section in _anchored(sections)]
    script = _asset(*(f"{name}.js" for name in _SCRIPTS))
    return environment.get_template("report.html").render(
        body=body,
        reduced=_reduced(images, usual_edge),
        style=Markup(_asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **given,
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("visionattn.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(*names: str) -> str:
    """The text of files of the package, one after another."""
    folder = files("visionattn.reports").joinpath("assets")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def _anchored(sections: Sequence[Section]) -> list[tuple[str, Section]]:
    """Sections with names for links, each different."""
    named: dict[str, Section] = {}
    for section in sections:
        word = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        anchor = word if word not in named else f"{word}-{len(named)}"
        named[anchor] = section
    return list(named.items())


def _reduced(images: Embedding, usual_edge: int) -> str:
    """A sentence about images that are smaller or fewer than usual; empty: they are not."""
    told_of = []
    if images.edge < usual_edge:
        told_of.append(f"images are {images.edge} pixels wide in place of {usual_edge}")
    if images.left_out:
        told_of.append(f"{images.left_out} of them are left out")
    return f"To keep this file small, {' and '.join(told_of)}." if told_of else ""
