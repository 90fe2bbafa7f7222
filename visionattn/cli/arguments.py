"""What was typed, taken apart. Everything that is not one of our own flags is an override and goes to Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visionattn.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from visionattn.config import BuildPolicy

# command -> (root configuration, module of visionattn.commands)
COMMANDS = {
    "train": ("train", "train"),
    "compare": ("compare", "compare"),
    "evaluate": ("evaluate", "evaluate"),
    "export": ("export", "export"),
    "predict": ("predict", "predict"),
    "inspect": ("inspect", "inspect"),
    "explain": ("explain", "explain"),
    "benchmark": ("benchmark", "benchmark"),
    "data": ("make_data", "data"),
    "data convert": ("convert", "convert"),
    "data doctor": ("doctor", "doctor"),
}
# command -> the group that a bare word after it chooses from: `visionattn benchmark kernels`
WORDS = {"benchmark": "benchmark", "explain": "backbone"}
OTHERS = {"fit": "train", "test": "evaluate", "val": "evaluate", "validate": "evaluate", "eval": "evaluate"}
OTHERS |= {
    "infer": "predict",
    "detect": "predict",
    "convert": "export",
    "summary": "explain",
    "info": "explain",
    "visualize": "inspect",
    "attention": "inspect",
}
"""Words of other tools -> commands."""
NAMES = (*(name for name in COMMANDS if " " not in name), "list", "keys", "completion")
SWITCHES = {"-m": "multirun", "--multirun": "multirun", "--dry-run": "dry_run", "--resolve": "resolve"}
SWITCHES |= {"-h": "help", "--help": "help"}
DOCUMENTS = {"list": False, "evaluate": True, "benchmark": True, "data doctor": False}
"""Commands that print JSON alone with ``--json`` -> whether that is their results, which a job prints."""
_SHOWN = 12
VALUES = {"--config-dir": "config_dirs", "-cd": "config_dirs", "--cfg": "cfg", "-c": "cfg"}


@dataclass
class Request:
    """One command line.

    Attributes:
        typed: as it was typed.
        command: what to run; None: nothing was named.
        overrides: for Hydra.
        config_dirs: the user's folders of YAML.
        folders: words without ``=`` of a command that takes folders.
        again: the command that goes on where this one was interrupted; empty: follows from what was typed.
        allow: packages of the user's own that targets may name; only the command line fills it.
        multirun: whether ``-m`` was given.
        dry_run: whether ``--dry-run`` was given.
        cfg: which configuration to print: ``job``, ``hydra`` or ``all``.
        resolve: whether it is printed with all references filled in.
        help: whether ``--help`` was given.
        version: whether ``--version`` was given.
    """

    typed: str
    command: str | None = None
    overrides: list[str] = field(default_factory=list)
    config_dirs: list[str] = field(default_factory=list)
    allow: tuple[str, ...] = ()
    multirun: bool = False
    dry_run: bool = False
    cfg: str | None = None
    resolve: bool = False
    help: bool = False
    version: bool = False
    folders: list[str] = field(default_factory=list)
    again: str = ""

    @property
    def config_name(self) -> str:
        """The root configuration of the command."""
        return COMMANDS[str(self.command)][0]

    @property
    def sweeping(self) -> bool:
        """Whether the command line asks for a sweep; a file may do so too."""
        return self.multirun or any(word.replace(" ", "") == "hydra.mode=MULTIRUN" for word in self.overrides)

    @property
    def policy(self) -> BuildPolicy:
        """What the command's configurations may build."""
        from visionattn.config import BuildPolicy

        return BuildPolicy(self.allow)


def parse(arguments: Sequence[str], typed: str = "visionattn") -> Request:
    """The :class:`Request` of a command line.

    Raises:
        ConfigError: an unknown word, with the nearest known one.
    """
    request = Request(typed)
    rest = iter(arguments)
    for word in rest:
        if word == "--version":
            request.version = True
            return request
        if request.command == "completion":  # a line that was begun may hold anything
            request.overrides.append(word)
        elif word.startswith("-"):
            _flag(request, word, rest)
        elif request.command is None:
            request.command = _command(word)
        elif word.lstrip("+").startswith("allow="):
            request.allow += _packages(word.partition("=")[2])
        elif f"{request.command} {word}" in COMMANDS:
            request.command = f"{request.command} {word}"
        elif request.command in WORDS and "=" not in word and not word.startswith("~"):
            request.overrides.append(f"{WORDS[request.command]}={word}")
        elif request.command == "compare" and "=" not in word and not word.startswith("~"):
            request.folders.append(word)
        elif request.command not in ("list", "keys") and "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word!r} is not an override; write key=value, for example backbone=swin_pico")
        else:
            request.overrides.append(word)
    _finish(request)
    return request


def _finish(request: Request) -> None:
    """Spell the overrides as Hydra reads them, and check what can be checked without composing."""
    if not request.help and request.command != "completion":
        from visionattn.config.composing import readable

        request.overrides = [readable(word) for word in request.overrides]
    if "json=true" in request.overrides and request.command not in ("completion", None):
        _document(request)
    if request.allow:
        from visionattn.config.targets import check_allow

        check_allow(request.allow)
    if request.command in WORDS and not request.help:
        _check_word(request, WORDS[request.command])


def _document(request: Request) -> None:
    """Spell ``--json`` as the command has it, which may stand anywhere in the line.

    Raises:
        ConfigError: the command prints no document.
    """
    if request.command == "explain":
        request.overrides = ["format=json" if word == "json=true" else word for word in request.overrides]
    elif request.command not in DOCUMENTS and not request.help:
        raise ConfigError(f"{request.command} prints no JSON; these do: {', '.join((*DOCUMENTS, 'explain'))}")


def _flag(request: Request, word: str, rest: Iterator[str]) -> None:
    name, equals, value = word.partition("=")
    if word == "--json":
        request.overrides.append("json=true")
    elif name in SWITCHES and not equals:
        setattr(request, SWITCHES[name], True)
    elif name in VALUES:
        value = value if equals else next(rest, "")
        if not value:
            raise ConfigError(f"{name} needs a value")
        if name in ("--config-dir", "-cd"):
            request.config_dirs.append(value)
        elif value in ("job", "hydra", "all"):
            request.cfg = value
        else:
            raise ConfigError(f"{name} must be job, hydra or all, got {value}")
    else:
        raise ConfigError(f"unknown option {word}{_option_hint(name, value)}")


def _command(word: str) -> str:
    if word not in NAMES:
        hint = f"; did you mean {OTHERS[word]}?" if word in OTHERS else did_you_mean(word, NAMES, cutoff=0.5)
        raise ConfigError(f"unknown command {word}{hint} (commands: {', '.join(NAMES)})")
    return word


def _check_word(request: Request, group: str) -> None:
    from visionattn.config.aliases import current_override

    request.overrides = [current_override(word) for word in request.overrides]
    if not any(word.startswith(f"{group}=") for word in request.overrides):
        from visionattn.config.catalog import choices, kind_of

        known = choices(group, request.config_dirs)
        if len(known) > _SHOWN:
            known = [*known[:_SHOWN], f"... (`visionattn list {kind_of(group)}` lists all {len(known)})"]
        raise ConfigError(
            f"{request.command} needs a name: visionattn {request.command} NAME; names: {', '.join(known)}"
        )


def _packages(text: str) -> tuple[str, ...]:
    names = text.strip().removeprefix("[").removesuffix("]").split(",")
    return tuple(name.strip().strip("'\"") for name in names if name.strip())


def _option_hint(name: str, value: str) -> str:
    """For ``--epochs 5``: our settings have no dashes."""
    from visionattn.config.spelling import WORDS

    known = WORDS.get(name.lstrip("-").replace("-", "_"))
    if known:
        return f"; settings are written without dashes: {known[-1]}={value or 'VALUE'}"
    return did_you_mean(name, (*SWITCHES, *VALUES, "--version"), cutoff=0.5)
