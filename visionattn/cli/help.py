"""The help texts. They read the names of the YAML files and nothing else."""

from __future__ import annotations

OVERVIEW = """\
visionattn: train, compare and export hierarchical vision transformers

  visionattn train       train a model on a data set
  visionattn compare     train attentions, backbones or settings alike over seeds, and tell which is better
  visionattn evaluate    score a checkpoint or published weights
  visionattn export      write a model for timm and the Hub, or as a graph (ONNX, torch.export)
  visionattn predict     draw a model's predictions on your images
  visionattn inspect     draw what a model sees: attention maps, receptive fields, relevance
  visionattn explain     print a model from stem to head, with shapes and costs
  visionattn benchmark   measure kernels, backbones, heads and loaders beside other libraries
  visionattn data        draw a small data set; data doctor: check one; data convert: write one in another format
  visionattn list        list backbones, mixers, heads, data, experiments ...
  visionattn keys        every setting with its default, its type and a sentence
  visionattn completion  the tab key in bash, zsh and fish

Every setting is key=value, and every part of a run can be exchanged:

  visionattn train                                              train dinat_pico on handwritten digits
  visionattn train data=my_folder                               your own images or labels: the layout is recognized
  visionattn train backbone=swin_pico trainer.max_epochs=5
  visionattn train mixer=window                                 another attention in every stage
  visionattn train backbone.mixers.s2=window                    another attention in the second stage
  visionattn train -m backbone=swin_pico,dinat_pico             one run for each
  visionattn evaluate ckpt=outputs/.../checkpoints/best.ckpt
  visionattn list backbones 'swin*'

Options:
  -m, --multirun      run every combination of the choices (a=1,2)
  --dry-run           build everything, read labels, then stop before images are read
  --cfg job           print the configuration instead of running (--resolve: with all references resolved)
  --config-dir DIR    add your own YAML files to the groups
  allow=[my_package]  allow configurations to name classes of your package
  --help, --version   visionattn COMMAND --help explains a command
"""

COMMANDS = {
    "train": (
        "visionattn train [key=value ...] [-m] [--dry-run]\n\nTrains a model. Results: outputs/<task>/<name>/<time>/.",
        "visionattn train data=my_folder --dry-run\n"
        "visionattn train data=image_folder data.root=/path/to/imagenet backbone=swin_tiny\n"
        "visionattn train debug=overfit\n"
        "visionattn train trainer=ddp trainer.devices=2 trainer.accelerator=cpu",
    ),
    "compare": (
        "visionattn compare mixers=[NAME,NAME,...] [seeds=3] [match=flops|params|time] [key=value of train ...]\n"
        "visionattn compare backbones=[...] | heads=[...] | entries=[[key=value,...],[...]] [key=value ...]\n"
        "visionattn compare RUN RUN ... | SWEEP | COMPARISON\n\n"
        "Trains every entry with every seed under the same recipe, with the same order of data and the same first\n"
        "weights where parameters agree, and writes a table with intervals and a verdict. The same command again goes\n"
        "on where it stopped. Runs that exist are compared as they are. An experiment may hold the keys (compare:).",
        "visionattn compare mixers=[window,neighborhood,cross_shaped] seeds=3 backbone=swin_pico\n"
        "visionattn compare mixers=[window,full] stages=[s2,s3] match=flops change=width\n"
        "visionattn compare backbones=[swin_tiny,dinat_tiny] data=image_folder data.root=/path/to/images\n"
        "visionattn compare entries=[[optim.lr=0.001],[optim.lr=0.002]]\n"
        "visionattn compare outputs/.../2026-01-31_12-00-00 outputs/.../2026-01-31_13-00-00",
    ),
    "evaluate": (
        "visionattn evaluate ckpt=PATH [key=value ...] [--json]\n"
        "visionattn evaluate backbone=NAME weights=timm|FILE data=NAME [key=value ...]\n\n"
        "Scores a checkpoint or published weights and writes result.json; --json prints it, and nothing else.",
        "visionattn evaluate ckpt=outputs/.../checkpoints/best.ckpt\n"
        "visionattn evaluate ckpt=outputs/.../checkpoints/best.ckpt measures=[sizes,shifts,corruptions]\n"
        "visionattn evaluate backbone=swin_tiny weights=timm data=image_folder data.root=/path/to/imagenet",
    ),
    "export": (
        "visionattn export ckpt=PATH format=timm|safetensors|onnx|torch_export|aot_inductor [key=value ...]\n"
        "visionattn export backbone=NAME weights=timm|FILE format=... [key=value ...]\n\n"
        "Writes a trained model for use elsewhere, loads the result and compares it with the model.",
        "visionattn export ckpt=outputs/.../checkpoints/best.ckpt format=timm options.push_to_hub=OWNER/NAME\n"
        "visionattn export ckpt=outputs/.../checkpoints/best.ckpt format=onnx\n"
        "visionattn export ckpt=outputs/.../checkpoints/best.ckpt format=onnx quantize=int8",
    ),
    "predict": (
        "visionattn predict ckpt=PATH source=IMAGE|DIR [key=value ...]\n\n"
        "Draws boxes, masks or class maps on images and writes the predictions as JSON.",
        "visionattn predict ckpt=outputs/.../checkpoints/best.ckpt source=photos options.score=0.3",
    ),
    "inspect": (
        "visionattn inspect ckpt=PATH source=IMAGE|DIR [key=value ...]\n"
        "visionattn inspect backbone=NAME weights=timm|FILE source=IMAGE|DIR [key=value ...]\n\n"
        "Draws what a model sees: attention maps of every stage, block and head, receptive fields, rollout,\n"
        "relevance for one prediction, statistics of heads and position biases; as pictures, numbers and report.html.",
        "visionattn inspect ckpt=outputs/.../checkpoints/best.ckpt source=photo.jpg\n"
        "visionattn inspect backbone=swin_tiny weights=timm source=photo.jpg points=[[0.4,0.6]] stages=[s3,s4]\n"
        "visionattn inspect ckpt=outputs/.../checkpoints/best.ckpt source=photos measures=[relevance] target=cat",
    ),
    "explain": (
        "visionattn explain BACKBONE [key=value ...]\n\n"
        "Prints a model from stem to head: stages, blocks, mixers with their arguments, shapes, parameters, GMACs.",
        "visionattn explain swin_tiny\n"
        "visionattn explain swin_tiny size=[640,960] backbone.mixers.s3=neighborhood\n"
        "visionattn explain dinat_tiny depth=9        every layer\n"
        "visionattn explain dinat_tiny format=json",
    ),
    "benchmark": (
        "visionattn benchmark WHAT [key=value ...] [--json]\n\n"
        "Measures methods side by side, prints a table and writes its rows; --json prints the rows, and nothing else.\n"
        "WHAT is backbones, detection, kernels, lengths, loading, pixels, scan, segmentation, simulate or training.",
        "visionattn benchmark kernels cases=swin_tiny.* repeats=5",
    ),
    "data": (
        "visionattn data make=shapes layout=imagenet|coco|coco_panoptic|ade20k dir=DIR\n"
        "visionattn data make=digits|mazes|scrambled dir=DIR\n\n"
        "Writes a small data set in a common layout: scanned digits, or drawn images. Mazes and scrambled\n"
        "images are solved by models that see the whole image at once, and by no local one.\n"
        "\nvisionattn data doctor data=NAME data.root=DIR\n\n"
        "Checks every sample of a data set and reports the problems.\n"
        "\nvisionattn data convert from=coco to=yolo root=DIR dir=OUT\n\n"
        "Writes a data set in another format.",
        "visionattn data make=shapes layout=coco dir=data/shapes\n"
        "visionattn data make=mazes dir=outputs/probes/mazes num_train=2000 num_val=1000\n"
        "visionattn data doctor data=ade20k data.root=/path/to/ADEChallengeData2016",
    ),
    "data convert": (
        "visionattn data convert from=coco|yolo|voc to=coco|yolo|voc root=DIR dir=OUT [key=value ...]\n\n"
        "Writes boxes, polygons, classes and splits of a data set in another format, into a new folder.\n"
        "What the format does not hold is counted and printed first; --dry-run prints it and writes nothing.",
        "visionattn data convert from=coco to=yolo root=/data/coco dir=/data/coco_yolo\n"
        "visionattn data convert from=voc to=coco root=/data/VOC2012 dir=/data/voc_coco images=link",
    ),
    "data doctor": (
        "visionattn data doctor data=NAME data.root=DIR [key=value ...] [--json]\n\n"
        "Checks every sample of a data set, images in both splits included, and reports the problems. It fails where\n"
        "there is an error; warnings do not count. --json prints one JSON document.",
        "visionattn data doctor data=image_folder data.root=/path/to/images\n"
        "visionattn data doctor data=ade20k data.root=/path/to/ADEChallengeData2016 --json",
    ),
    "keys": (
        "visionattn keys [PREFIX ...] [group=choice ...]\n\n"
        "Prints keys with their defaults, types and a sentence each: those of train, or of another command.",
        "visionattn keys optim\n"
        "visionattn keys data.source data=coco\n"
        "visionattn keys task task=segmentation\n"
        "visionattn keys evaluate",
    ),
    "completion": (
        "visionattn completion bash|zsh|fish\n\nPrints what lets the tab key complete commands, groups and keys.",
        'eval "$(visionattn completion bash)"      # in ~/.bashrc; zsh likewise, after compinit\n'
        "visionattn completion fish > ~/.config/fish/completions/visionattn.fish",
    ),
    "list": (
        "visionattn list KIND [PATTERN] [--json]\n\nLists the choices of a configuration group.",
        "visionattn list backbones\nvisionattn list mixers 'dinat/*'\nvisionattn list experiments imagenet/swin_tiny",
    ),
}


def show_help(command: str | None) -> int:
    """Print the overview, or one command's usage, examples and groups."""
    if command is None:
        print(OVERVIEW, end="")
        return 0
    from visionattn.cli.arguments import COMMANDS as ROOTS
    from visionattn.cli.keys import lines as lines_of
    from visionattn.config.catalog import choices, groups
    from visionattn.config.keys import own_keys

    usage, examples = COMMANDS[command]
    lines = [usage, "", "Examples:", *(f"  {line}" for line in examples.splitlines())]
    if command in ROOTS:
        keys = [key for root in _roots(command) for key in own_keys(root)]
        lines += ["", "Keys (key=value):", *(f"  {line}" for line in lines_of(keys))]
    known = [group for group in groups() if choices(group)]
    if command in _GROUPS:
        known = [group for group in known if group in _GROUPS[command]]
        lines += ["", "Groups (group=choice):", *(f"  {group:<12} {_few(choices(group))}" for group in known)]
    elif command == "train":
        lines += ["", "Groups (group=choice):", *(f"  {group:<12} {_few(choices(group))}" for group in known)]
    if command == "train":
        lines += ["", "Every key with a sentence: visionattn keys [PREFIX], for example visionattn keys data.root"]
    print("\n".join(lines))
    return 0


_GROUPS = {
    "compare": ("mixer", "backbone", "head", "data", "experiment"),
    "evaluate": ("data", "backbone", "mixer", "inference", "evaluator", "trainer"),
    "export": ("data", "backbone"),
    "explain": ("backbone", "mixer"),
    "inspect": ("backbone", "mixer"),
    "data doctor": ("data",),
}
"""Commands besides train -> the groups that they choose from."""


def _roots(command: str) -> list[str]:
    """The root file of a command; of benchmarks, whose keys are those of the chosen one, each."""
    from visionattn.cli.arguments import COMMANDS as ROOTS
    from visionattn.config.catalog import choices

    if command == "benchmark":
        return [f"benchmark/{name}" for name in choices("benchmark")]
    return [ROOTS[command][0]]


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")
