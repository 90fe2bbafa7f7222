"""Reading checkpoints: safely, and with every name accounted for."""

from visionattn.weights.formats import Format, Rule
from visionattn.weights.from_timm import timm_weights
from visionattn.weights.load import classifier_width, load_model, load_weights, resize_table
from visionattn.weights.read import read_checkpoint, read_state_dict
from visionattn.weights.report import Report
from visionattn.weights.sources import Source, checkpoint_file, open_source

__all__ = [
    "Format",
    "Report",
    "Rule",
    "Source",
    "checkpoint_file",
    "classifier_width",
    "load_model",
    "load_weights",
    "open_source",
    "read_checkpoint",
    "read_state_dict",
    "resize_table",
    "timm_weights",
]
