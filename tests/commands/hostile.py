"""Files that a stranger might send, one function each: they are written into a folder and named."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from visionattn import config
from visionattn.config.messages import open_keys, unresolved_plain

WORDS = ("backbone=swin_pico", "run_dir=x", "name=x", "backbone_name=swin_pico")


class Leaves:
    """Leaves a folder when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


SETTLED: dict[str, Any] = {
    "batch_size": 2,
    "num_workers": 0,
    "in_chans": 3,
    "drop_path_rate": 0.0,
    "precision": "32-true",
    "crop": False,
    "crop_size": [64, 64],
    "short_edges": [64],
    "short_edge": 64,
    "long_edge": 1333,
    "stride": 20,
    "hflip": 0.5,
    "flip": 0.5,
}
"""Values where a configuration says ``auto`` and no data are at hand that could tell."""


def contents(*words: str) -> dict[str, Any]:
    """What a checkpoint of ours holds, of a model that was never trained."""
    cfg = config.compose("train", [*WORDS, *words])
    for key in list(open_keys(unresolved_plain(cfg))):
        if (name := key.rpartition(".")[2]) in SETTLED:
            OmegaConf.update(cfg, key, SETTLED[name])
    task = config.instantiate(cfg.task)
    return {
        "config": OmegaConf.to_yaml(cfg, resolve=True),
        "state_dict": task.state_dict(),
        "class_facts": {"names": [str(i) for i in range(int(cfg.data.num_classes))]},
        **{name: {} for name in ("optimizer_states", "loops", "position")},
    }


def pickled(folder: Path, mark: Path) -> Path:
    torch.save(contents() | {"extra": Leaves(mark)}, folder / "pickled.ckpt")
    return folder / "pickled.ckpt"


def old_pickle(folder: Path, mark: Path) -> Path:
    (folder / "old.pth").write_bytes(pickle.dumps(Leaves(mark)))
    return folder / "old.pth"


def old_torch_file(folder: Path, mark: Path) -> Path:
    torch.save({"state_dict": Leaves(mark)}, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    return folder / "legacy.pth"


def instantiator(folder: Path, mark: Path) -> Path:
    given = {"_instantiator": "os.mkdir", "_class_path": "os.mkdir", "path": str(mark)}
    torch.save(contents() | {"hyper_parameters": given}, folder / "instantiator.ckpt")
    return folder / "instantiator.ckpt"


def climbing(folder: Path, mark: Path) -> Path:
    with zipfile.ZipFile(folder / "climbing.ckpt", "w") as archive:
        archive.writestr(f"../{mark.name}", "x")
        archive.writestr("climbing/data.pkl", pickle.dumps({}))
    return folder / "climbing.ckpt"


def bomb(folder: Path, mark: Path) -> Path:
    """A megabyte that unpacks to a gigabyte."""
    with zipfile.ZipFile(folder / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb/data/0", "w", force_zip64=True) as entry:
            for _ in range(64):
                entry.write(bytes(1 << 24))
        archive.writestr("bomb/data.pkl", pickle.dumps({}))
    return folder / "bomb.ckpt"


def long_header(folder: Path, mark: Path) -> Path:
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 10 * 2**30) + b"{}")
    return folder / "header.safetensors"


def lying_header(folder: Path, mark: Path) -> Path:
    """A tensor of a terabyte in a file of a hundred bytes."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}).encode()
    (folder / "lying.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder / "lying.safetensors"


def infinite(folder: Path, mark: Path) -> Path:
    torch.save([1, 2, 3], folder / "list.ckpt")
    return folder / "list.ckpt"


WEIGHTS = [pickled, old_pickle, old_torch_file, instantiator, climbing, bomb, long_header, lying_header, infinite]
"""Refused by whoever reads weights: nothing of them is used."""


def _with_config(folder: Path, name: str, change: Any) -> Path:
    whole = contents()
    whole["config"] = change(whole["config"])
    torch.save(whole, folder / f"{name}.ckpt")
    return folder / f"{name}.ckpt"


def _target(target: str, argument: str) -> Any:
    def change(text: str) -> str:
        cfg = OmegaConf.create(text)
        cfg.task.backbone = {"_target_": target, "_args_": [argument]}
        return OmegaConf.to_yaml(cfg)

    return change


def runs_a_command(folder: Path, mark: Path) -> Path:
    return _with_config(folder, "command", _target("os.system", f"mkdir {mark}"))


def runs_one_by_an_alias(folder: Path, mark: Path) -> Path:
    return _with_config(folder, "alias", _target("logging.os.system", f"mkdir {mark}"))


def reads_a_pickle(folder: Path, mark: Path) -> Path:
    old_pickle(folder, mark)
    return _with_config(folder, "loads", _target("torch.load", str(folder / "old.pth")))


def unfolds(folder: Path, mark: Path) -> Path:
    """Nine lines of YAML that mean ten to the ninth values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    return _with_config(folder, "unfolds", lambda text: text + "\n".join(lines) + "\n")


def nested(folder: Path, mark: Path) -> Path:
    return _with_config(folder, "nested", lambda text: "[" * 20000)


def no_text(folder: Path, mark: Path) -> Path:
    return _with_config(folder, "number", lambda text: 3)


CONFIGS = [runs_a_command, runs_one_by_an_alias, reads_a_pickle, unfolds, nested, no_text]
"""Refused by whoever builds what a checkpoint describes."""


def hub_folder(folder: Path, mark: Path) -> Path:
    """A folder in the Hub's form, whose weights are a pickle that acts."""
    where = folder / "hub_pickle"
    where.mkdir()
    torch.save({"state_dict": Leaves(mark)}, where / "pytorch_model.bin")
    (where / "config.json").write_text(json.dumps({"architecture": "va_swin_pico"}))
    return where


def hub_json(folder: Path, mark: Path) -> Path:
    """The same with weights that are in order, and a description that cannot be read."""
    where = folder / "hub_json"
    where.mkdir()
    save_file({"a": torch.zeros(1)}, where / "model.safetensors")
    (where / "config.json").write_text("[" * 100000)
    return where


FOLDERS = [hub_folder, hub_json]


def picture_bomb(folder: Path) -> Path:
    """A PNG of 60,000 by 60,000 pixels in a few megabytes."""
    side = 60000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze, rows = zlib.compressobj(9), io.BytesIO()
    for _ in range(side // 100):
        rows.write(squeeze.compress(bytes(100 * (side // 8 + 1))))
    rows.write(squeeze.flush())
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    picture = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows.getvalue()) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(picture)
    return folder / "bomb.png"
