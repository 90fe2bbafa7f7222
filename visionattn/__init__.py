"""visionattn: train, compare and ship hierarchical vision transformers."""

__version__ = "0.1.0"
