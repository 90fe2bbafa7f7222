"""Reading checkpoints: safely, and with every name accounted for."""

from visionattn.weights.formats import Format, Rule
from visionattn.weights.from_timm import timm_weights
from visionattn.weights.load import load_weights
from visionattn.weights.read import read_checkpoint, read_state_dict
from visionattn.weights.resize import resize_table

__all__ = ["Format", "Rule", "load_weights", "read_checkpoint", "read_state_dict", "resize_table", "timm_weights"]
