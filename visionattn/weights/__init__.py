"""Reading checkpoints: safely, and with every name accounted for."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.weights.filling import fill
    from visionattn.weights.formats import Format, Rule
    from visionattn.weights.from_timm import timm_weights
    from visionattn.weights.load import classifier_width, load_model, load_weights
    from visionattn.weights.read import read_checkpoint
    from visionattn.weights.report import Report
    from visionattn.weights.resizing import resize_table
    from visionattn.weights.sources import Source, checkpoint_file, open_source
    from visionattn.weights.unwrap import read_state_dict

__all__ = [
    "Format",
    "Report",
    "Rule",
    "Source",
    "checkpoint_file",
    "classifier_width",
    "fill",
    "load_model",
    "load_weights",
    "open_source",
    "read_checkpoint",
    "read_state_dict",
    "resize_table",
    "timm_weights",
]

__getattr__ = face(
    __name__,
    {
        "Format": "formats",
        "Report": "report",
        "Rule": "formats",
        "Source": "sources",
        "checkpoint_file": "sources",
        "classifier_width": "load",
        "fill": "filling",
        "load_model": "load",
        "load_weights": "load",
        "open_source": "sources",
        "read_checkpoint": "read",
        "read_state_dict": "unwrap",
        "resize_table": "resizing",
        "timm_weights": "from_timm",
    },
)
