"""Reading checkpoints: safely, and with every name accounted for."""

from visionattn.weights.load import load_weights
from visionattn.weights.read import read_checkpoint, read_state_dict

__all__ = ["load_weights", "read_checkpoint", "read_state_dict"]
