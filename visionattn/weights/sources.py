"""Where weights come from: a file, a folder, a run of ours, timm, the Hugging Face Hub.

Of a folder and of a repository on the Hub only the weights are read, and what ``config.json`` says about images and the
model: that is a stranger's, and nothing here builds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
from timm.models import get_pretrained_cfg

from visionattn.errors import CheckpointError, did_you_mean
from visionattn.files import near_file
from visionattn.weights.described import described, metadata, text_of, words
from visionattn.weights.distributed import is_distributed
from visionattn.weights.from_timm import check_published, check_reach, refuse, timm_weights
from visionattn.weights.reach import why_out_of_reach
from visionattn.weights.read import StateDict, read_checkpoint
from visionattn.weights.timm_names import networks
from visionattn.weights.unwrap import Unwrapped, unwrapped

FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin", "model.pth")
"""Names under which a folder or a repository on the Hub has its weights, the first that is there."""
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""The same for a run of ours."""
_HUB, _FOLDER, _TIMM = ("hf-hub", "hf_hub"), "local-dir", "timm"
_HELD = 6
ENDINGS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")
"""How files with weights end."""


@dataclass(frozen=True)
class Source:
    """Weights, and where they came from.

    Attributes:
        found: the weights, as :func:`visionattn.weights.unwrap.unwrapped` gives them.
        origin: a description for messages, such as ``the file x.pth``.
        facts: timm's facts about the images they expect (``pretrained_cfg``); empty where there are none.
        config: the configuration of the run of ours that they come from, as text; None: of none.
        architecture: what an export of ours in timm's form says of its backbone: ``name``, and ``changes`` as a
            configuration where it is not the published one; None: it is no such export.
        network: the network of timm that a folder in the Hub's form is of: ``name`` and ``arguments``; None: of none.
        class_names: names of the classes, in label order; empty where nothing names them.
        class_facts: what else a run of ours knows of its classes, as its checkpoints hold it.
    """

    found: Unwrapped
    origin: str
    facts: Mapping[str, Any]
    config: str | None = None
    architecture: Mapping[str, Any] | None = None
    network: Mapping[str, Any] | None = None
    class_names: Sequence[str] = ()
    class_facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> StateDict:
        """The weights."""
        return self.found.state


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
        written = metadata(file)
        classes, names = written.get("class_facts"), written.get("class_names")
        config = text_of(beside) if beside.is_file() else config
    source = Source(
        unwrapped(contents),
        f"the file {file}",
        {},
        config=config if isinstance(config, str) else None,
        class_names=words(names),
        class_facts=classes if isinstance(classes, Mapping) else {},
    )
    beside = file.parent / "config.json"
    return replace(source, **described(beside)) if file.name in FILES and beside.is_file() else source


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
    return Source(Unwrapped(state), f"timm's {name}", published.to_dict() if published is not None else {})


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
