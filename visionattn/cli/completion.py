"""``visionattn completion SHELL``: completion of commands, groups, choices and keys for bash, zsh and fish.

The script of a shell asks ``visionattn completion words`` what fits, which is answered without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visionattn.cli.arguments import COMMANDS, NAMES, WORDS
from visionattn.config.catalog import choices, groups, kind_of
from visionattn.errors import ConfigError

_BASH = """_visionattn() {
    local IFS=$'\\n' word="${COMP_LINE:0:COMP_POINT}"
    word="${word##* }"
    COMPREPLY=($(visionattn completion words "${COMP_LINE:0:COMP_POINT}" 2> /dev/null))
    if [[ $word == *=* ]]; then COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}"); fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _visionattn visionattn"""
_ZSH = """_visionattn() {
    local -a found=("${(@f)$(visionattn completion words "${BUFFER[1,CURSOR]}" 2> /dev/null)}")
    [[ -n $found ]] && compadd -Q -S '' -- $found || _files
}
compdef _visionattn visionattn"""
_FISH = "complete -c visionattn -a '(visionattn completion words (commandline -cp) 2> /dev/null)'"
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_INSTALL = {
    "bash": 'eval "$(visionattn completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(visionattn completion zsh)"  # in ~/.zshrc, after compinit',
    "fish": "visionattn completion fish > ~/.config/fish/completions/visionattn.fish",
}


def show_completion(words: Sequence[str]) -> int:
    """Print the script of a shell, or what completes a line that was begun.

    Raises:
        ConfigError: no shell, or one that is not known.
    """
    if words and words[0] == "words":
        print(*fitting(" ".join(words[1:])), sep="\n")
        return 0
    if len(words) != 1 or words[0] not in SCRIPTS:
        ways = "\n".join(f"  {way}" for way in _INSTALL.values())
        raise ConfigError(f"completion needs a shell, {', '.join(SCRIPTS)}:\n{ways}")
    print(SCRIPTS[words[0]])
    return 0


def fitting(line: str) -> list[str]:
    """What may stand in place of the last word of a line; after a space the last word is empty."""
    words = line.split(" ")
    last, before = words[-1], [word for word in words[1:-1] if word]
    return sorted({word for word in _words(before, last) if word.startswith(last)})


def _words(before: Sequence[str], last: str) -> Iterator[str]:
    command = before[0] if before else None
    if command is None:
        yield from NAMES
    elif command == "list":
        yield from [kind_of(group) for group in groups()] if len(before) == 1 else choices(_group_of(before[1]))
    elif command == "completion":
        yield from SCRIPTS
    elif "=" in last:
        key = last.partition("=")[0]
        yield from (f"{key}={choice}" for choice in choices(_group_of(key)))
    else:
        yield from _keys(command, last)


def _group_of(key: str) -> str:
    """The group that a key chooses from: ``backbone``, ``mixer@backbone.mixers.s1``, ``backbone.mixers.s1``, a kind."""
    name = key.lstrip("+~").partition("@")[0]
    if ".mixers." in name:
        return "mixer"
    return next((group for group in groups() if name in (group, kind_of(group))), name)


def _keys(command: str, last: str) -> Iterator[str]:
    from visionattn.config.composing import compose
    from visionattn.config.keys import keys_of, own_keys

    if "." in last and command in ("train", "compare"):
        cfg = compose("train", [], return_hydra_config=True, sweep=True)
        yield from (f"{key.name}=" for key in keys_of(cfg, "train"))
        return
    if command in WORDS:
        yield from choices(WORDS[command])
    yield from (word.partition(" ")[2] for word in COMMANDS if word.startswith(f"{command} "))
    yield from ("--help", "--cfg", "--config-dir", "--dry-run")
    for word, (root, _) in COMMANDS.items():
        if word.split()[0] == command:
            yield from (f"{key.name}=" for key in own_keys(root))
            if root in ("train", "compare"):
                yield from (f"{group}=" for group in groups())
