"""Command lines as people type them: mistakes that get one sentence, and natural spellings that work.

Words in braces are filled in: ``{coco}``, ``{panoptic}``, ``{masks}``, ``{ade20k}``, ``{folder}`` are healthy trees,
``{run}`` is a finished classifier, ``{ckpt}`` its checkpoint, ``{tmp}`` an empty folder.
"""

from __future__ import annotations

from dataclasses import dataclass

DRY = "--dry-run"


@dataclass(frozen=True)
class Line:
    """One command line.

    Attributes:
        typed: the words, separated by blanks.
        says: a regular expression for what is said.
        code: the exit code.
    """

    typed: str
    says: str
    code: int = 2


WRONG_VALUES = [
    Line("train trainer.max_epochs=abc", "trainer.max_epochs"),
    Line("train trainer.max_epochs=-5", "trainer.max_epochs"),
    Line("train trainer.max_epochs=1.5", "trainer.max_epochs"),
    Line("train seed=abc", "seed"),
    Line("train seed=-1", "seed"),
    Line("train optim.lr=abc", r"optim\.lr"),
    Line("train optim.lr=-1", r"optim\.lr|learning rate"),
    Line("train optim.weight_decay=much", r"optim\.weight_decay"),
    Line("train data.batch_size=0", r"data\.batch_size|batch_size"),
    Line("train data.batch_size=many", r"data\.batch_size|batch_size"),
    Line("train data.num_workers=-1", "num_workers"),
    Line("train data.image_size=big", "image_size"),
    Line("train data.image_size=0", "image_size"),
    Line("train data.image_size=[32]", "image_size"),
    Line("train data.std=[0.5,0,0.5]", "std"),
    Line("train data.num_classes=0", "num_classes"),
    Line("train data.num_classes=many", "num_classes"),
    Line("train task.label_smoothing=7", "label_smoothing"),
    Line("train task.mixup_alpha=-1", "mixup_alpha"),
    Line("train task.layer_decay=2", "layer_decay"),
    Line("train task.compile=perhaps", r"task\.compile|compile"),
    Line("train task.monitor=val/top_1", r"val/top1"),
    Line("train task.monitor_mode=larger", "monitor_mode"),
    Line("train task.nonfinite=ignore", "nonfinite"),
    Line("train backbone.drop_path_rate=3", "drop_path_rate"),
    Line("train backbone.in_chans=0", "in_chans"),
    Line("train trainer.precision=fp8", r"trainer\.precision|precision"),
    Line("train trainer.accelerator=abacus", r"trainer\.accelerator|accelerator"),
    Line("train trainer.devices=99 trainer.accelerator=gpu", r"(?i)gpu|trainer\.devices|devices|process"),
    Line("train trainer.devices=none", r"trainer\.devices|devices"),
    Line("train trainer.strategy=magic", r"trainer\.strategy|strategy"),
    Line("train trainer=gpu", "(?i)gpu"),
    Line("train trainer.gradient_clip_val=-1", "gradient_clip_val"),
    Line("train +trainer.gradient_clip_algorithm=cut", "gradient_clip_algorithm"),
    Line("train trainer.limit_train_batches=-3", "limit_train_batches"),
    Line("train trainer.limit_val_batches=7.5", "limit_val_batches"),
    Line("train trainer.overfit_batches=-1", "overfit_batches"),
    Line("train trainer.accumulate_grad_batches=0", "accumulate_grad_batches"),
    Line("train trainer.check_val_every_n_epoch=0", "check_val_every_n_epoch"),
    Line("train +trainer.max_time=soon", "max_time"),
    Line("train schedule.warmup_epochs=-2", "warmup"),
    Line("train schedule.min_lr=5", "min_lr"),
    Line("train callbacks.ema.decay=1.5", "decay"),
    Line("train weights=nowhere.pth", "nowhere.pth", 1),
    Line("train weights=timm", "(?i)weights|timm"),
    Line("train ckpt=nowhere.ckpt", "nowhere.ckpt", 1),
    Line("train resume=maybe", "resume|maybe", 1),
    Line("train resume=/nowhere/at/all", "nowhere", 1),
    Line("train logger=mlflow", "logger"),
    Line("train experiment=nothing", "experiment"),
    Line("train debug=everything", "debug"),
]

WORDS_OF_OTHERS = [
    Line("train epochs=5", r"trainer\.max_epochs"),
    Line("train max_epochs=5", r"trainer\.max_epochs"),
    Line("train imgsz=64", r"data\.image_size"),
    Line("train img_size=64", r"data\.image_size"),
    Line("train batch=8", r"data\.batch_size"),
    Line("train batch_size=8", r"data\.batch_size"),
    Line("train lr=0.1", r"optim\.lr"),
    Line("train lr0=0.1", r"optim\.lr"),
    Line("train optim.learning_rate=0.1", r"optim\.lr"),
    Line("train learning_rate=0.1", r"optim\.lr"),
    Line("train optimizer=adamw", r"optim=|optim\b"),
    Line("train arch=swin_tiny", "backbone"),
    Line("train model=swin_tiny", "backbone"),
    Line("train pretrained=true", "weights"),
    Line("train workers=2", r"data\.num_workers"),
    Line("train device=cpu", r"trainer\.accelerator"),
    Line("train amp=true", r"trainer\.precision"),
    Line("train work_dir=x", r"hydra\.run\.dir"),
    Line("train load_from=x", "weights"),
    Line("train resume_from=x", "resume"),
    Line("train samples_per_gpu=2", r"data\.batch_size"),
    Line("train drop_path=0.1", r"backbone\.drop_path_rate"),
    Line("train weight_decay=0.1", r"optim\.weight_decay"),
    Line("train dataset=coco", "data"),
    Line("train data.dir=x data=image_folder", r"data\.root"),
    Line("train data.path=x data=image_folder", r"data\.root"),
    Line("train --epochs 5", "epochs"),
    Line("train --lr=0.1", "lr"),
    Line("trian", "train"),
    Line("fit", "train"),
    Line("test", "evaluate|test"),
    Line("val", "evaluate|val"),
    Line("train backbone=swin_tinny", "swin_tiny"),
    Line("train backbone=vit_base", "backbone"),
    Line("train head=maskrcnn", "mask_rcnn"),
    Line("train data=imagenett", "data"),
    Line("train backbone.mixers.s9=window", "s9|mixers"),
    Line("train mixer=attention", "mixer|attention"),
]

PAIRS = [
    Line("train task=segmentation data=digits head=upernet", "(?i)data"),
    Line("train task=detection data=digits", "(?i)data"),
    Line("train task=panoptic data=digits", "(?i)data"),
    Line("train task=segmentation head=mask_rcnn data=ade20k data.root={ade20k}", "(?i)head"),
    Line("train task=detection head=upernet data=coco data.root={coco}", "(?i)head"),
    Line("train task=classification head=mask_rcnn", "(?i)head"),
    Line("train task=classification data=coco data.root={coco}", "(?i)data|task"),
    Line("train task=panoptic data=coco data.root={coco}", "(?i)panoptic"),
    Line("train task=detection data=ade20k data.root={ade20k}", "(?i)data|task"),
    Line("train task=panoptic head=mask_rcnn data=coco_panoptic data.root={panoptic}", "(?i)head"),
    Line("train task=segmentation data=image_folder data.root={folder} head=upernet", "(?i)data|task"),
    Line("train head=mask_rcnn data=digits", "(?i)data|head|task"),
    Line("train head=upernet data=image_folder data.root={folder}", "(?i)data|head|task"),
    Line("train data=image_folder", r"data\.root"),
    Line("train data=coco", r"data\.root"),
    Line("train data=image_folder data.root=/nowhere", "/nowhere", 1),
    Line("train data=coco data.root=/nowhere", "/nowhere", 1),
    Line("train data=coco data.root={folder}", "(?i)annotation|json", 1),
    Line("train data=image_folder data.root={coco}", "(?i)train|class", 1),
    Line("train data=ade20k data.root={coco}", "(?i)images|training", 1),
    Line("train data=coco_panoptic data.root={coco}", "(?i)panoptic", 1),
]

RIGHT = [
    Line("train data=coco data.root={coco}", "(?i)detection", 0),
    Line("train data=coco_panoptic data.root={panoptic}", "(?i)panoptic", 0),
    Line("train data=image_mask data.root={masks}", "(?i)segmentation", 0),
    Line("train data=ade20k data.root={ade20k}", "(?i)segmentation", 0),
    Line("train data=image_folder data.root={folder}", "(?i)class", 0),
    Line("train head=mask_rcnn data=coco data.root={coco}", "(?i)detection", 0),
    Line("train head=upernet data=image_mask data.root={masks}", "(?i)segmentation", 0),
    Line("train mixer=window", "(?i)window", 0),
    Line("train backbone.mixers.s3=neighborhood", "(?i)neighborhood", 0),
    Line("train backbone=swin_pico mixer=neighborhood", "(?i)neighborhood", 0),
    Line(
        "train experiment=finetune/classification data=image_folder data.root={folder} backbone=swin_tiny weights=null",
        "",
        0,
    ),
]

OTHER_COMMANDS = [
    Line("--version", r"visionattn \d", 0),
    Line("train --version", r"visionattn \d", 0),
    Line("--help", "train", 0),
    Line("train --help", r"data\.root", 0),
    Line("evaluate --help", "ckpt", 0),
    Line("predict --help", "source", 0),
    Line("export --help", "format", 0),
    Line("benchmark --help", "kernels", 0),
    Line("keys optim", r"optim\.lr", 0),
    Line("keys trainer.max_epochs", "epoch", 0),
    Line("list backbones", "swin_tiny", 0),
    Line("list nonsense", "nonsense"),
    Line("evaluate", "ckpt"),
    Line("evaluate ckpt={tmp}", "(?i)checkpoint", 1),
    Line("evaluate ckpt={run}/config.yaml", "(?i)config.yaml", 1),
    Line("evaluate ckpt=/nowhere/best.ckpt", "nowhere", 1),
    Line("evaluate ckpt={run} data=coco data.root={coco}", "(?i)task|classif|detect"),
    Line("evaluate ckpt={run} data=image_folder data.root={folder}", "(?i)class", 1),
    Line("evaluate ckpt={run} data.nonsense=5", "nonsense"),
    Line("evaluate backbone=swin_tiny", "weights"),
    Line("predict ckpt={run}", "source"),
    Line("predict ckpt={run} source=/nowhere", "nowhere", 1),
    Line("predict ckpt={run} source={tmp}", "(?i)image", 1),
    Line("export ckpt={run} format=tflite", "format"),
    Line("export", "ckpt"),
    Line("export ckpt=/nowhere", "nowhere", 1),
    Line("data doctor data=coco data.root={coco}", "", 0),
    Line("data doctor data=coco_panoptic data.root={panoptic}", "", 0),
    Line("data doctor data=image_mask data.root={masks}", "", 0),
    Line("data doctor data=image_folder data.root={folder}", "", 0),
    Line("data doctor", "data"),
    Line("data doctor data=coco data.root=/nowhere", "nowhere", 1),
    Line("data make=nothing layout=coco dir={tmp}/x", "nothing|make"),
    Line("benchmark nothing", "nothing|benchmark"),
    Line("explain nothing", "nothing|backbone"),
    Line("explain swin_tiny image_size=abc", "image_size"),
]

DRY_LINES = [*WRONG_VALUES, *PAIRS, *RIGHT]
LINES = [*WORDS_OF_OTHERS, *OTHER_COMMANDS]
