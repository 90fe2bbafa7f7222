"""The help texts. They read the names of the YAML files, nothing else."""

from __future__ import annotations

OVERVIEW = """\
visionattn: train, compare and ship hierarchical vision transformers

  visionattn train       train a model on a data set
  visionattn evaluate    score a checkpoint
  visionattn export      write a model for timm and the Hub, or as a graph (ONNX, torch.export)
  visionattn predict     draw a model's answers on pictures of your own
  visionattn benchmark   measure kernels and backbones side by side
  visionattn data        write a small data set in a real layout; data doctor: check a data set
  visionattn list        what there is: backbones, mixers, heads, data, experiments ...

Everything is set by key=value, and every part can be exchanged:

  visionattn train                                              train dinat_pico on scanned digits
  visionattn train backbone=swin_pico trainer.max_epochs=5
  visionattn train mixer@backbone.mixers.s2=window              another attention in the second stage
  visionattn train -m backbone=swin_pico,dinat_pico             one run for each
  visionattn evaluate ckpt=outputs/.../checkpoints/best.ckpt
  visionattn list backbones 'swin*'

Options:
  -m, --multirun      try every combination of the choices (a=1,2)
  --dry-run           build everything, then stop before the data are read
  --cfg job           print the configuration instead of running (with --resolve: all references filled in)
  --config-dir DIR    add your own YAML files to the groups
  allow=[my_package]  let configurations name classes of your own package
  --help, --version   visionattn COMMAND --help says more about a command
"""

COMMANDS = {
    "train": (
        "visionattn train [key=value ...] [-m] [--dry-run]\n\nTrains a model. Results: outputs/<task>/<name>/<time>/.",
        "visionattn train data=image_folder data.dir=/path/to/imagenet backbone=swin_tiny\n"
        "visionattn train debug=overfit\n"
        "visionattn train trainer=ddp trainer.devices=2 trainer.accelerator=cpu",
    ),
    "evaluate": (
        "visionattn evaluate ckpt=PATH [key=value ...]\n\nScores a checkpoint and writes the result as JSON.",
        "visionattn evaluate ckpt=outputs/.../checkpoints/best.ckpt",
    ),
    "export": (
        "visionattn export ckpt=PATH format=timm|safetensors|onnx|torch_export|aot_inductor [key=value ...]\n\n"
        "Writes the model for use elsewhere, loads what it wrote, and compares.",
        "visionattn export ckpt=outputs/.../checkpoints/best.ckpt format=timm options.push_to_hub=OWNER/NAME\n"
        "visionattn export ckpt=outputs/.../checkpoints/best.ckpt format=onnx",
    ),
    "predict": (
        "visionattn predict ckpt=PATH source=IMAGE|DIR [key=value ...]\n\nDraws boxes, masks, class maps; writes JSON.",
        "visionattn predict ckpt=outputs/.../checkpoints/best.ckpt source=photos options.score=0.3",
    ),
    "benchmark": (
        "visionattn benchmark WHAT [key=value ...]\n\nMeasures side by side, writes its rows.\n"
        "WHAT is backbones, detection, kernels, loading, segmentation, simulate or training.",
        "visionattn benchmark kernels cases=swin_tiny.* repeats=5",
    ),
    "data": (
        "visionattn data make=shapes layout=imagenet|coco|coco_panoptic|ade20k dir=DIR\n\n"
        "Writes a small data set in a real layout.\n"
        "\nvisionattn data doctor data=NAME data.root=DIR\n\nLooks for what is wrong with a data set.",
        "visionattn data make=shapes layout=coco dir=data/shapes\n"
        "visionattn data doctor data=ade20k data.root=/path/to/ADEChallengeData2016",
    ),
    "data doctor": (
        "visionattn data doctor data=NAME data.root=DIR [key=value ...]\n\nReports what is wrong with a data set.",
        "visionattn data doctor data=ade20k data.root=/path/to/ADEChallengeData2016",
    ),
    "list": (
        "visionattn list KIND [PATTERN]\n\nLists what can be chosen.",
        "visionattn list backbones\nvisionattn list mixers 'window*'",
    ),
}


def show_help(command: str | None) -> int:
    """Prints the overview, or one command's usage, examples and groups."""
    if command is None:
        print(OVERVIEW, end="")
        return 0
    from visionattn.config.catalog import choices, groups

    usage, examples = COMMANDS[command]
    lines = [usage, "", "Examples:", *(f"  {line}" for line in examples.splitlines())]
    if command not in ("list", "data", "data doctor"):
        lines += ["", "Groups (group=choice):"]
        lines += [f"  {group:<12} {_few(choices(group))}" for group in groups() if choices(group)]
        lines += ["", f"Every key: visionattn {command} --cfg job"]
    print("\n".join(lines))
    return 0


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")
