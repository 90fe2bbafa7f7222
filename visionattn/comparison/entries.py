"""What a comparison compares: its keys as they were given, and the entries that they stand for.

Nothing here imports torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionattn.config.messages import nearest
from visionattn.errors import ConfigError

MATCHES = ("none", "flops", "params", "time")
CHANGES = ("depth", "width")
_LISTS = ("mixers", "backbones", "heads")


@dataclass(frozen=True)
class Entry:
    """One thing that is compared.

    Attributes:
        name: in tables and of its folder.
        words: overrides of ``visionattn train``.
    """

    name: str
    words: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Its name as that of a folder."""
        return re.sub(r"[^\w.=+-]+", "_", self.name).strip("._") or "entry"


@dataclass(frozen=True)
class Question:
    """The keys of a comparison, checked; see ``conf/compare.yaml``."""

    mixers: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    further: tuple[Entry, ...] = ()
    stages: tuple[str, ...] = ()
    reference: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    match: str = "none"
    change: str = "depth"
    tolerance: float = 0.05

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Question:
        """Check the values of the keys.

        Args:
            keys: those of ``conf/compare.yaml``, plain.

        Raises:
            ConfigError: a value that says nothing; names the key and what it takes.
        """
        tolerance = keys["tolerance"]
        if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
            raise ConfigError(f"tolerance is a part between 0 and 1, such as 0.05, not {tolerance}")
        return cls(
            **{key: _names(key, keys[key]) for key in _LISTS},
            further=tuple(_further(keys["entries"])),
            stages=_names("stages", keys["stages"]),
            reference=None if keys["reference"] is None else str(keys["reference"]),
            seeds=seeds_of(keys["seeds"]),
            match=_one_of("match", keys["match"], MATCHES),
            change=_one_of("change", keys["change"], CHANGES),
            tolerance=float(tolerance),
        )

    def entries(self) -> list[Entry]:
        """The entries, the reference first.

        Raises:
            ConfigError: fewer than two, two of one name, stages without mixers, or a reference that is no entry.
        """
        if self.stages and not self.mixers:
            raise ConfigError(
                f"stages=[{','.join(self.stages)}] says where mixers are exchanged; give mixers=[...] too"
            )
        lists = [values for values in (self.backbones, self.mixers, self.heads) if values]
        made = [self._made(choice) for choice in itertools.product(*lists)] if lists else []
        entries = [*made, *self.further]
        if len(entries) < 2:
            told = f"only {entries[0].name}" if entries else "nothing"
            raise ConfigError(f"a comparison needs two entries or more, and {told} is given; {_EXAMPLE}")
        for attribute in ("name", "words", "folder"):
            values = [getattr(entry, attribute) for entry in entries]
            twice = next((entry for i, entry in enumerate(entries) if values[i] in values[:i]), None)
            if twice:
                raise ConfigError(f"the entry {twice.name} stands there twice")
        if self.reference is None:
            return entries
        names = [entry.name for entry in entries]
        if self.reference not in names:
            raise ConfigError(
                f"reference={self.reference} is no entry{nearest(self.reference, names)} (entries: {', '.join(names)})"
            )
        return sorted(entries, key=lambda entry: entry.name != self.reference)

    def _made(self, choice: Sequence[str]) -> Entry:
        values = iter(choice)
        words: list[str] = [f"backbone={next(values)}"] if self.backbones else []
        if self.mixers:
            mixer = next(values)
            words += [f"backbone.mixers.{stage}={mixer}" for stage in self.stages] or [f"mixer={mixer}"]
        words += [f"head={next(values)}"] if self.heads else []
        return Entry(" ".join(choice), tuple(words))


_EXAMPLE = "for example: visionattn compare mixers=[window,neighborhood] seeds=3"


def seeds_of(value: Any) -> tuple[int, ...]:
    """Seeds of a number of them, or of a list.

    Raises:
        ConfigError: none, one twice, or something that is no seed.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = list(range(value)) if value > 0 else []
    elif isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, list) or not all(
        isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in value
    ):
        raise ConfigError(f"seeds is a number of seeds or a list of them, such as 3 or [0,1,2], not {value}")
    if not value:
        raise ConfigError("seeds names no seed; give their number or a list, such as seeds=3 or seeds=[0,1,2]")
    if len(set(value)) < len(value):
        raise ConfigError(f"seeds={value} names a seed twice, which would train the same again")
    return tuple(value)


def _names(key: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    names = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(name, (str, int)) and str(name) for name in names):
        raise ConfigError(f"{key} is a list of names, such as {key}=[a,b], not {value}")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ConfigError(f"{key} names {twice} twice")
    return tuple(map(str, names))


def _one_of(key: str, value: Any, known: Sequence[str]) -> str:
    word = "none" if value is None else str(value)
    if word not in known:
        raise ConfigError(f"{key} is {', '.join(known[:-1])} or {known[-1]}, not {word}{nearest(word, known)}")
    return word


def _further(value: Any) -> Iterator[Entry]:
    """Entries of lists of overrides, with their names or without."""
    if isinstance(value, str):
        value = parsed(value)
    named = value.items() if isinstance(value, Mapping) else ((None, words) for words in value or ())
    for name, words in named:
        words = [words] if isinstance(words, str) else words
        if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and "=" in word for word in words):
            raise ConfigError(
                f"entries holds lists of overrides, such as entries=[[optim.lr=0.001],[optim.lr=0.002]], not {words}"
            )
        if name is None and not words:
            name = "unchanged"
        yield Entry(", ".join(map(_short, words)) if name is None else str(name), tuple(words))


def _short(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key.rpartition('.')[2].rpartition('@')[2]}={value}"


def parsed(text: str) -> Any:
    """``[[a=1,b=[2,3]],[c=4]]`` or ``{x:[a=1],y:[c=4]}`` as typed on the command line, in lists and dicts of texts.

    Hydra's grammar has no place for ``=`` inside of lists.

    Raises:
        ConfigError: brackets without their other half.
    """
    text = text.strip()
    if text[:1] == "{" and text[-1:] == "}":
        pairs = [part.partition(":") for part in _split(text[1:-1])]
        return {name.strip(): parsed(value) for name, _, value in pairs}
    if text[:1] == "[" and text[-1:] == "]":
        return [parsed(part) for part in _split(text[1:-1])]
    return text.strip("'\"") if text[:1] == text[-1:] else text


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
        else:
            depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise ConfigError(f"entries={text}: a bracket or a quote has no other half")
    return [part for part in map(str.strip, parts) if part]
