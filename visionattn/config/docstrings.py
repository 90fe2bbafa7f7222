"""What the docstrings of targets say of their arguments, read from the files without importing them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_SECTION = re.compile(r"^(Args|Attributes):\s*$")
_ENTRY = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?: (.*)$")
_SEE = re.compile(r":class:`~?(?:[\w.]*\.)?(\w+)`")
_ROLE = re.compile(r":\w+:`~?([^`]*)`")
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Argument:
    """An argument of a target.

    Attributes:
        sentence: of the docstring; empty where there is none.
        type: the annotation; empty where there is none.
    """

    sentence: str = ""
    type: str = ""


@dataclass
class _Told:
    sentences: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    see: list[str] = field(default_factory=list)


@cache
def argument(target: str, name: str) -> Argument:
    """What is known of an argument of a target of this package, in the target itself or in what it refers to."""
    return _look(target, name, set())


@cache
def first_line(target: str) -> str:
    """What a target of this package is, in the first line of its docstring."""
    found = _definition(target) if target.startswith("visionattn.") else None
    text = ast.get_docstring(found[1]) if found else None
    return _plain(text.splitlines()[0]) if text else ""


def _look(target: str, name: str, seen: set[str]) -> Argument:
    if target in seen or not target.startswith("visionattn."):
        return Argument()
    seen.add(target)
    found = _definition(target)
    if found is None:
        return Argument()
    module, node = found
    told = _told(node)
    sentence, type_ = told.sentences.get(name, ""), told.types.get(name, "")
    bases = [ast.unparse(base).partition("[")[0] for base in node.bases] if isinstance(node, ast.ClassDef) else []
    for other in [*told.see, *bases]:
        if sentence and type_:
            break
        inner = _look(_home(module, other), name, seen)
        sentence, type_ = sentence or inner.sentence, type_ or inner.type
    return Argument(sentence, type_)


def _told(node: Definition) -> _Told:
    told = _Told()
    bodies = [node]
    if isinstance(node, ast.ClassDef):
        bodies += [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        told.types = {
            one.target.id: ast.unparse(one.annotation)
            for one in node.body
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
    for one in bodies:
        text = ast.get_docstring(one) or ""
        told.see += re.findall(r"[Aa]rguments as for :func:`(\w+)`", text)
        for name, sentence in _entries(text):
            told.see += _SEE.findall(sentence)
            told.sentences.setdefault(name.lstrip("*"), _plain(sentence))
        if isinstance(one, ast.FunctionDef):
            for arg in (*one.args.args, *one.args.kwonlyargs):
                if arg.annotation is not None:
                    told.types.setdefault(arg.arg, ast.unparse(arg.annotation))
            if one.args.kwarg is not None and one.args.kwarg.annotation is not None:
                told.see += re.findall(r"Unpack\[(\w+)\]", ast.unparse(one.args.kwarg.annotation))
    return told


def _entries(text: str) -> list[tuple[str, str]]:
    """Name and text of every entry of the sections of arguments and attributes."""
    entries: list[tuple[str, str]] = []
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if line and not line.startswith(" "):
            inside, names = _SECTION.match(line) is not None, []
        elif inside and (entry := _ENTRY.match(line)):
            names = entry[1].split(", ")
            entries += [(name, entry[2]) for name in names]
        elif inside and names and line.strip():
            count = len(names)
            entries[-count:] = [(name, f"{said} {line.strip()}") for name, said in entries[-count:]]
    return entries


def _plain(sentence: str) -> str:
    return _ROLE.sub(r"\1", sentence).replace("``", "").strip()


@cache
def _definition(target: str) -> tuple[str, Definition] | None:
    """The module and the definition of a target, followed through the faces of packages."""
    module, _, name = target.rpartition(".")
    tree = _tree(module)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return module, node
    home = _home(module, name)
    return None if home == target else _definition(home)


def _home(module: str, name: str) -> str:
    """The dotted name that a name in a module stands for."""
    tree = _tree(module)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return f"{node.module}.{name}"
    return f"{module}.{name}"


@cache
def _tree(module: str) -> ast.Module | None:
    root, *parts = module.split(".")
    spec = find_spec(root)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
