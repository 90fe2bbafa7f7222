"""Reading checkpoints: safely, and with every name accounted for."""

from visionattn.weights.formats import Format, Rule
from visionattn.weights.from_timm import timm_weights
from visionattn.weights.load import classifier_width, load_weights
from visionattn.weights.read import read_checkpoint, read_state_dict
from visionattn.weights.resize import resize_table

__all__ = [
    "Format",
    "Rule",
    "classifier_width",
    "load_weights",
    "read_checkpoint",
    "read_state_dict",
    "resize_table",
    "timm_weights",
]
