"""Other spellings of keys: those that are rewritten, and the words of other tools, which are answered with ours.

``mixer=window`` chooses a mixer for every stage, and ``backbone.mixers.s3=window`` for one; Hydra's own spelling is
``mixer@backbone.mixers.s3=window``. ``backbone=timm/NAME`` is ``backbone=timm backbone.model=NAME``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from visionattn.config.aliases import current_override

WORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("epochs", "max_epochs", "epoch", "num_epochs"), ("trainer.max_epochs",)),
    **dict.fromkeys(("steps", "max_steps", "iters", "max_iters", "iterations"), ("trainer.max_steps",)),
    **dict.fromkeys(("imgsz", "img_size", "image_size", "input_size", "img_scale", "resolution"), ("data.image_size",)),
    **dict.fromkeys(("batch", "batch_size", "samples_per_gpu", "bs"), ("batch_size", "data.batch_size")),
    **dict.fromkeys(("workers", "num_workers", "workers_per_gpu"), ("num_workers", "data.num_workers")),
    **dict.fromkeys(("lr", "lr0", "learning_rate", "base_lr"), ("optim.lr",)),
    **dict.fromkeys(("min_lr", "lrf", "eta_min"), ("schedule.min_lr",)),
    **dict.fromkeys(("weight_decay", "wd", "opt_wd"), ("optim.weight_decay",)),
    **dict.fromkeys(("momentum",), ("optim.momentum", "optim.betas")),
    **dict.fromkeys(("warmup", "warmup_epochs"), ("schedule.warmup_epochs", "schedule.warmup_steps")),
    **dict.fromkeys(("drop_path", "drop_path_rate", "stochastic_depth"), ("backbone.drop_path_rate",)),
    **dict.fromkeys(("amp", "precision", "half", "fp16", "bf16"), ("trainer.precision",)),
    **dict.fromkeys(("device", "accelerator"), ("device", "trainer.accelerator")),
    **dict.fromkeys(("gpus", "devices", "nproc", "num_gpus"), ("trainer.devices",)),
    **dict.fromkeys(("clip_grad", "grad_clip", "max_norm"), ("trainer.gradient_clip_val",)),
    **dict.fromkeys(("accumulate", "grad_accum_steps", "accum_iter"), ("trainer.accumulate_grad_batches",)),
    **dict.fromkeys(("work_dir", "project", "output", "out", "output_dir", "log_dir"), ("dir", "hydra.run.dir")),
    **dict.fromkeys(("resume_from", "resume", "auto_resume"), ("resume", "ckpt")),
    **dict.fromkeys(("load_from", "pretrained", "finetune", "initial_checkpoint"), ("weights",)),
    **dict.fromkeys(("checkpoint", "ckpt_path", "model_path"), ("ckpt",)),
    **dict.fromkeys(("model", "arch", "architecture", "net", "backbone_name"), ("backbone", "ckpt")),
    **dict.fromkeys(("optimizer", "opt"), ("optim",)),
    **dict.fromkeys(("scheduler", "lr_scheduler", "sched", "param_scheduler"), ("schedule",)),
    **dict.fromkeys(("dataset", "data_set"), ("data",)),
    **dict.fromkeys(("dir", "path", "data_dir", "data_path", "dataset_dir", "data_root", "root"), ("data.root",)),
    **dict.fromkeys(("num_classes", "nc", "classes"), ("data.num_classes",)),
    **dict.fromkeys(("mixup", "mixup_alpha"), ("task.mixup_alpha",)),
    **dict.fromkeys(("cutmix", "cutmix_alpha"), ("task.cutmix_alpha",)),
    **dict.fromkeys(("smoothing", "label_smoothing"), ("task.label_smoothing",)),
    **dict.fromkeys(("ema", "model_ema", "ema_decay"), ("callbacks.ema.decay",)),
    **dict.fromkeys(("layer_decay",), ("task.layer_decay",)),
    **dict.fromkeys(("grad_checkpointing", "with_cp"), ("task.grad_checkpointing",)),
    **dict.fromkeys(("compile", "torchcompile"), ("task.compile",)),
    **dict.fromkeys(("conf", "score_thr", "threshold"), ("options.score",)),
    **dict.fromkeys(("kernel_size",), ("backbone.mixers.s1.kernel_size",)),
    **dict.fromkeys(("window_size",), ("backbone.mixers.s1.window_size",)),
    **dict.fromkeys(("attention", "attn", "token_mixer"), ("mixer",)),
}
"""A word of timm, mmdetection, Ultralytics or of everyday speech -> keys and groups of ours, the likeliest first."""
_EXAMPLES = {"weights": "timm", "resume": "auto", "trainer.precision": "bf16-mixed", "hydra.run.dir": "DIR"}
_NO_VALUES = ("", "true", "false", "none", "null")
_STAGE = re.compile(r"(backbone\.mixers\.s\d+)=([A-Za-z]\w*(?:[/,]\w+)*)")
_OF_A_MIXER = re.compile(r"[+~]*(\w+\.)*mixers\.")
_PRETRAINED = {"backbone.pretrained=true": "weights=timm", "backbone.pretrained=false": "weights=null"}
"""timm's word, and ours. As a key of the backbone it would fetch weights whenever a run is opened."""
_OF_TIMM = re.compile(r"backbone=(timm)/([\w.-]+)", re.ASCII)
"""A network of timm, by its name."""
_EVERY_STAGE = re.compile(r"mixer=([A-Za-z]\w*(?:/\w+)*)")


def word_of_another_tool(key: str, value: str, known: Collection[str]) -> str:
    """What to type instead of a key that does not exist, such as ``trainer.max_epochs=5``; empty where nobody knows.

    Args:
        key: as it was typed.
        value: typed for it.
        known: the keys and groups that exist.
    """
    tail = key.rpartition(".")[2].lower().replace("-", "_")
    for candidate in WORDS.get(tail, ()):
        elsewhere = "." in key and _OF_A_MIXER.match(candidate)  # another stage's key helps nobody
        if candidate in known and candidate != key and not elsewhere:
            given = value if value.lower() not in _NO_VALUES else _EXAMPLES.get(candidate, "VALUE")
            return f"{candidate}={given}"
    return ""


def ours(overrides: Sequence[str]) -> list[str]:
    """The overrides in Hydra's spelling: old group names, networks and ``pretrained`` of timm, a mixer per stage."""
    words = []
    for word in (_PRETRAINED.get(word.lower(), word) for word in map(current_override, overrides)):
        stage, network = _STAGE.fullmatch(word), _OF_TIMM.fullmatch(word)
        if network:
            words += [f"backbone={network[1]}", f"backbone.model={network[2]}"]
            continue
        words.append(f"mixer@{stage[1]}={stage[2]}" if stage and stage[2] not in _NO_VALUES else word)
    return words


def typed_choices(cfg: Any, choices: Mapping[str, Any]) -> dict[str, str]:
    """Group -> what was chosen for it, a network of timm as it is typed: ``timm/resnet18``.

    Args:
        cfg: a composed configuration; its card of the backbone may name it.
        choices: group -> file, as Hydra has them; those of nothing are left out.
    """
    typed = {str(group): str(choice) for group, choice in choices.items() if choice}
    name = ((cfg.get("backbone") or {}).get("card") or {}).get("name") if "backbone" in typed else None
    return typed | ({"backbone": str(name)} if name else {})


def for_every_stage(overrides: Sequence[str]) -> bool:
    """Whether an override chooses one mixer for all stages."""
    return any(_EVERY_STAGE.fullmatch(word) for word in overrides)


def without_every_stage(overrides: Sequence[str]) -> list[str]:
    """The overrides without a mixer for all stages, and without keys of mixers, which may be those of that one."""
    return [word for word in overrides if not _EVERY_STAGE.fullmatch(word) and not _OF_A_MIXER.match(word)]


def with_every_stage(overrides: Sequence[str], choices: Mapping[str, Any]) -> list[str]:
    """The overrides with a mixer for each stage in place of one for all; one that is chosen for a stage stays.

    Args:
        overrides: as typed.
        choices: group@package -> choice of the composition without the mixer for all.
    """
    own = {word.partition("=")[0] for word in overrides}
    places = [name for name in map(str, choices) if re.fullmatch(r"mixer@(\w+\.)*mixers\.s\d+", name)]
    words: list[str] = []
    for word in overrides:
        every = _EVERY_STAGE.fullmatch(word)
        if every and places:
            words += [f"{place}={every[1]}" for place in places if place not in own]
        else:
            words.append(word)
    return words
