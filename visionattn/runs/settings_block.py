"""What a training is made of as one block of text: what is trained, then every value under where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from omegaconf import OmegaConf

from visionattn.config.messages import plain
from visionattn.config.recipes import OWN
from visionattn.runs.settings import Setting

WIDTH, KEY, VALUE, ABOUT = 80, 34, 12, 17
ORDER = ("yours", "inferred", "experiment", "recipe", "default")
TITLE = "what is trained; KEY=VALUE on the command line changes any value"


def block(found: Sequence[Setting], recipe: str | None, about: Mapping[str, str] | None = None) -> list[str]:
    """The settings as lines of at most 80 characters, under where they come from.

    Args:
        found: the settings.
        recipe: name of the recipe; None: there is none.
        about: name -> text, what is trained, which comes first; None: it is told elsewhere.
    """
    lines = [TITLE, *(line for name, text in about.items() for line in _wrapped(name, text))] if about else []
    title = f"recipe {recipe}" if recipe and recipe != OWN else "no recipe: the experiment states its values"
    lines.append(title if recipe else "no recipe for this task")
    origins = dict.fromkeys(one.origin for one in found)
    for origin in sorted(origins, key=lambda name: ORDER.index(name.partition(" ")[0])):
        lines.append(f"  {origin}")
        for one in (one for one in found if one.origin == origin):
            lines += _lines(one)
    return lines


def _wrapped(name: str, text: str) -> Iterator[str]:
    """A name with a text of any length."""
    parts = wrap(text, WIDTH - ABOUT - 2, break_on_hyphens=False, break_long_words=False) or [""]
    yield f"  {f'{name}:':<{ABOUT}}{parts[0]}".rstrip()
    yield from (" " * (ABOUT + 2) + part for part in parts[1:])


def _lines(one: Setting) -> list[str]:
    value = _short(one.value)
    text = f"{value:<{VALUE}}  {one.note}".rstrip() if one.note else value
    parts = wrap(text, WIDTH - KEY - 4, break_on_hyphens=False, drop_whitespace=True) or [""]
    if one.note and len(parts) == 1:
        parts = [text]
    key = f"    {one.key:<{KEY}}"
    if len(one.key) >= KEY:
        return [f"    {one.key}", *(" " * (KEY + 4) + part for part in parts)]
    return [key + parts[0], *(" " * (KEY + 4) + part for part in parts[1:])]


def _short(value: Any) -> str:
    """A value as it is typed, in few characters; of a long list the ends."""
    if OmegaConf.is_config(value):
        value = plain(value)
    if isinstance(value, list):
        kept = [_short(one) for one in (value if len(value) <= 4 else [*value[:2], value[-1]])]
        return f"[{', '.join(kept if len(value) <= 4 else [*kept[:2], '...', kept[2]])}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_short(one)}' for key, one in value.items())}}}"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
