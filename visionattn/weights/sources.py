"""Where weights come from: a file, a folder, a run of ours, timm, the Hugging Face Hub.

Of a folder and of a repository on the Hub only the weights are read, and what ``config.json`` says about images and the
model: that is a stranger's, and nothing here builds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
from safetensors import safe_open
from timm.models import get_pretrained_cfg

from visionattn.errors import CheckpointError, did_you_mean
from visionattn.files import near_file
from visionattn.weights.distributed import is_distributed
from visionattn.weights.from_timm import check_published, check_reach, refuse, timm_weights
from visionattn.weights.reach import why_out_of_reach
from visionattn.weights.read import StateDict, read_checkpoint, read_state_dict
from visionattn.weights.timm_names import OURS, networks

FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin", "model.pth")
"""Names under which a folder or a repository on the Hub has its weights, the first that is there."""
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""The same for a run of ours."""
_HUB, _FOLDER, _TIMM = ("hf-hub", "hf_hub"), "local-dir", "timm"
_LARGEST_CONFIG, _HELD = 10 * 2**20, 6
ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")
"""How files with weights end."""


@dataclass(frozen=True)
class Source:
    """Weights, and where they came from.

    Attributes:
        state: as :func:`visionattn.weights.read_state_dict` gives it.
        origin: a description for messages, such as ``the file x.pth``.
        facts: timm's facts about the images they expect (``pretrained_cfg``); empty where there are none.
        config: the configuration of the run of ours that they come from, as text; None: of none.
        architecture: what an export of ours in timm's form says of its backbone: ``name``, and ``changes`` as a
            configuration where it is not the published one; None: it is no such export.
        network: the network of timm that a folder in the Hub's form is of: ``name`` and ``arguments``; None: of none.
        class_names: names of the classes, in label order; empty where nothing names them.
        class_facts: what else a run of ours knows of its classes, as its checkpoints hold it.
    """

    state: StateDict
    origin: str
    facts: Mapping[str, Any]
    config: str | None = None
    architecture: Mapping[str, Any] | None = None
    network: Mapping[str, Any] | None = None
    class_names: Sequence[str] = ()
    class_facts: Mapping[str, Any] = field(default_factory=dict)


def open_source(
    text: str | Path, card: Mapping[str, Any] | None = None, num_classes: int | None = None, in_chans: int = 3
) -> Source:
    """Finds weights by what a person writes after ``weights=``.

    Args:
        text: a file (``.safetensors``, ``.pth``, ``.ckpt`` ...); a folder, one of ours with ``checkpoints/`` or one in
            the Hub's form; ``hf-hub:owner/name``; ``timm``, what the card names; ``timm:<name>`` or timm's name alone.
        card: of the backbone that is to take them.
        num_classes: classes of the model that is to take them, which timm makes a fresh classifier for; 0: none; None:
            the published ones.
        in_chans: its image channels; timm adapts its own first layers.

    Raises:
        CheckpointError: there is nothing, it cannot be read or fetched, or it is not data.
    """
    text = str(text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _HUB:
        return _from_hub(rest)
    if colon and scheme == _FOLDER:
        return _from_folder(Path(rest).expanduser())
    name = timm_name_in(text, card)
    if text == _TIMM or name is not None:
        return _from_timm(_with_name(card, name) if name else card or {}, num_classes, in_chans)
    path = Path(text).expanduser()
    if path.is_dir() and not is_distributed(path):
        return _from_folder(path)
    _check_path(path)
    return _from_file(path)


def check_source(text: str | Path, card: Mapping[str, Any] | None = None) -> None:
    """Refuse what :func:`open_source` would not find on a network or in a cache; nothing is fetched.

    Args:
        text: as for :func:`open_source`.
        card: of the backbone that is to take them.

    Raises:
        CheckpointError: there is nothing of that name, or it is out of reach, which is said within seconds.
    """
    text, (scheme, colon, rest) = str(text), str(text).partition(":")
    if colon and scheme in _HUB:
        repository, _, revision = rest.partition("@")
        refuse(why_out_of_reach(repository, repository, FILES, revision=revision or None, asked=True))
        return
    name = timm_name_in(text, card)
    if name is not None:
        check_published(name)
        check_reach(name)
    elif text != _TIMM:
        _check_path(Path(text.removeprefix(f"{_FOLDER}:")).expanduser())


def _check_path(path: Path) -> None:
    if not path.exists() and path.suffix not in ENDINGS:
        hint = near_file(path) or did_you_mean(path.name, networks() if path.name == str(path) else [])
        hint = hint or "; for the Hub: hf-hub:owner/name"
        raise CheckpointError(f"weights={path} is not a file, a folder or a timm model{hint}")


def timm_name_in(text: str, card: Mapping[str, Any] | None = None) -> str | None:
    """The name of timm's weights that a text stands for; None: it stands for others.

    Args:
        text: ``timm``, what the card names; ``timm:<name>`` or the name alone.
        card: of the backbone that is to take them.
    """
    scheme, colon, rest = text.partition(":")
    if text == _TIMM:
        name: str | None = ((card or {}).get("weights") or {}).get("timm")
        return name
    if colon and scheme == _TIMM:
        return rest
    path = Path(text).expanduser()
    known = not path.exists() and path.suffix not in ENDINGS and timm.is_model(text.partition(".")[0])
    return text if known else None


def checkpoint_file(text: str | Path) -> Path:
    """What ``ckpt=`` stands for: the best checkpoint of a run whose folder is given, else the path itself."""
    path = Path(text).expanduser()
    return _first_of(path, CHECKPOINTS) or path


def weights_file(text: str | Path) -> Path | None:
    """The one file that :func:`open_source` reads, where it is on this machine and is one."""
    path = Path(str(text).removeprefix(f"{_FOLDER}:")).expanduser()
    files = [path / name for name in (*CHECKPOINTS, *FILES) if (path / name).is_file()]
    return path if path.is_file() else files[0] if files else None


def _from_folder(folder: Path) -> Source:
    names = (*CHECKPOINTS, *FILES)
    file = _first_of(folder, names)
    if file is None:
        held = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        weights = [name for name in held if name.endswith(ENDINGS)]
        first = weights or held
        told = f"; it holds {', '.join(first[:_HELD])}{', ...' if len(first) > _HELD else ''}" if first else ""
        told += f": name the file, weights={folder / weights[0]}" if weights else ""
        raise CheckpointError(f"there are no weights in the folder {folder} by a name that is known{told}")
    return _from_file(file)


def _from_file(file: Path) -> Source:
    """A file, with what a run of ours wrote into it, and what an export of ours or of the Hub's form has beside it."""
    contents = read_checkpoint(file)
    config, classes, beside = contents.get("config"), contents.get("class_facts"), file.parent / "config.yaml"
    names = classes.get("names") if isinstance(classes, Mapping) else None
    if file.suffix == ".safetensors":
        written = _metadata(file)
        classes, names = written.get("class_facts"), written.get("class_names")
        config = _text(beside) if beside.is_file() else config
    source = Source(
        read_state_dict(contents),
        f"the file {file}",
        {},
        config=config if isinstance(config, str) else None,
        class_names=_words(names),
        class_facts=classes if isinstance(classes, Mapping) else {},
    )
    described = file.parent / "config.json"
    return replace(source, **_described(described)) if file.name in FILES and described.is_file() else source


def _first_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first that is there, as a file or as a folder with a distributed checkpoint."""
    paths = (folder / name for name in names)
    return next((path for path in paths if path.is_file() or is_distributed(path)), None)


def _with_name(card: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """A card that names other weights of timm's, for a network of the same arguments."""
    return {"weights": {"timm": name, "arguments": ((card or {}).get("weights") or {}).get("arguments")}}


def _from_timm(card: Mapping[str, Any], num_classes: int | None, in_chans: int) -> Source:
    state = timm_weights(card, num_classes, in_chans)
    name = card["weights"]["timm"]
    published = get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
    return Source(state, f"timm's {name}", published.to_dict() if published is not None else {})


def _from_hub(repository: str) -> Source:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = repository.partition("@")
    fetched: dict[str, Path] = {}
    for file in (*FILES, "config.json", "config.yaml"):
        if fetched and file in FILES:
            continue
        try:
            fetched[file] = Path(hf_hub_download(name, file, revision=revision or None))
        except LocalEntryNotFoundError as error:
            raise CheckpointError(f"cannot reach the Hub for {name}, and it is not in the cache") from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise CheckpointError(f"{name} cannot be fetched from the Hub: {reason}") from error
    weights = next((path for file, path in fetched.items() if file in FILES), None)
    if weights is None:
        raise CheckpointError(f"there are no weights in {name} on the Hub: none of {', '.join(FILES)}")
    return replace(_from_file(weights), origin=f"{name} on the Hub")


def _text(path: Path) -> str:
    """The text of a small file.

    Raises:
        CheckpointError: it is larger than any such file.
    """
    if path.stat().st_size > _LARGEST_CONFIG:
        raise CheckpointError(f"{path} is larger than any description of a model: {path.stat().st_size} bytes")
    return path.read_text(encoding="utf-8", errors="replace")


def _described(path: Path) -> dict[str, Any]:
    """What a ``config.json`` says: the facts about images, as far as they are those of timm's own, and classes.

    Raises:
        CheckpointError: it is no JSON, or larger than any such file.
    """
    try:
        contents = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(contents, dict):
        return {}
    described: dict[str, Any] = {"facts": _facts(contents), "class_names": _words(contents.get("label_names"))}
    name, arguments = contents.get("architecture"), contents.get("model_args")
    if isinstance(name, str) and name.startswith(OURS):
        changes = arguments.get("architecture") if isinstance(arguments, dict) else None
        described["architecture"] = {"name": name.removeprefix(OURS), "changes": changes}
    elif isinstance(name, str) and timm.is_model(name):
        described["network"] = {"name": name, "arguments": arguments if isinstance(arguments, dict) else {}}
    return described


def _metadata(file: Path) -> dict[str, Any]:
    """What an export of ours wrote about classes into a ``.safetensors`` file; empty where it is no such JSON."""
    with safe_open(file, framework="pt") as opened:
        written = opened.metadata() or {}
    try:
        return {name: json.loads(written[name]) for name in ("class_names", "class_facts") if name in written}
    except (ValueError, RecursionError):
        return {}


def _words(names: Any) -> list[str]:
    return [str(name) for name in names] if isinstance(names, list) else []


def _facts(contents: Mapping[str, Any]) -> dict[str, Any]:
    given = contents.get("pretrained_cfg")
    if not isinstance(given, dict):
        return {}
    kept: dict[str, Any] = {name: given[name] for name in ("crop_mode", "interpolation") if _is_word(given.get(name))}
    kept |= {name: tuple(given[name]) for name in ("input_size", "mean", "std") if _is_triple(given.get(name))}
    if isinstance(given.get("crop_pct"), (int, float)) and 0 < given["crop_pct"] <= 1:
        kept["crop_pct"] = float(given["crop_pct"])
    if isinstance(contents.get("num_classes"), int):
        kept["num_classes"] = contents["num_classes"]
    return kept


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isalpha()


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(number, (int, float)) for number in value)
