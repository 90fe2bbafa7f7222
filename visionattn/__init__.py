"""visionattn: train, compare and export hierarchical vision transformers.

    visionattn.list_backbones("dinat*")
    model = visionattn.create_backbone("dinat_pico", num_classes=10)
    features = timm.create_model("va_dinat_pico", features_only=True)  # importing visionattn registers its backbones
    detector = visionattn.create_detector("swin_tiny", classes=["cat", "dog"])  # for a PyTorch loop of your own
    result = visionattn.load("outputs/run").predict("photo.jpg")  # of a trained model

The command line is ``visionattn train|evaluate|export|predict|inspect|explain|benchmark|data|list|keys``. Importing the
package is fast: torch and timm are loaded on first use, and the backbones are registered when timm is imported.
"""

from __future__ import annotations

from sys import modules
from typing import TYPE_CHECKING, Any

from visionattn.registration import register_when_timm_is_imported

if TYPE_CHECKING:
    from visionattn.api.creating import create_classifier, create_detector, create_segmenter
    from visionattn.api.loading import load
    from visionattn.api.training import train
    from visionattn.backbones.zoo import create_backbone, list_backbones
    from visionattn.weights import load_weights

__version__ = "0.2.0"
__all__ = [
    "__version__",
    "create_backbone",
    "create_classifier",
    "create_detector",
    "create_segmenter",
    "list_backbones",
    "load",
    "load_weights",
    "train",
]

_HOMES = {
    "create_classifier": "visionattn.api.creating",
    "create_detector": "visionattn.api.creating",
    "create_segmenter": "visionattn.api.creating",
    "load": "visionattn.api.loading",
    "train": "visionattn.api.training",
    "create_backbone": "visionattn.backbones.zoo",
    "list_backbones": "visionattn.backbones.zoo",
    "load_weights": "visionattn.weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=modules[__name__])


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


register_when_timm_is_imported()
